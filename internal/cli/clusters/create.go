package clusters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/config/defaults"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/image"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/docker"
	"talos.internal/internal/provision/native"
	"talos.internal/internal/provision/qemu"
	"talos.internal/internal/vitals"
	"talos.internal/secret"
)

// createFlags are the flags of create.
type createFlags struct {
	wish                                wish
	containers                          containers
	variants                            variants
	cpus, memory                        string
	patches, controlPlane, workers      []string
	kubernetes                          string
	sans                                []string
	secrets                             string
	wait, skipKubeconfig                bool
	timeout                             time.Duration
	talosconfig                         string
	cpusOfControlPlane, cpusOfWorkers   string
	memoryControlPlane, memoryOfWorkers string
}

// aliases are other published spellings of flags.
var aliases = map[string]string{
	"masters": "controlplanes", "subnet": "cidr", "talosconfig-destination": "talosconfig",
	"config-patch-controlplanes": "config-patch-control-plane", "config-patch-control-planes": "config-patch-control-plane",
	"config-patch-workers": "config-patch-worker", "image-cache": "images",
}

func createCommand(b *base) *cobra.Command {
	cmd := createKind(b, "create", "")
	cmd.AddCommand(createKind(b, native.Name, native.Name), createKind(b, docker.Name, docker.Name), createKind(b, qemu.Name, qemu.Name))
	return cmd
}

// createKind returns the command that creates a cluster by a provisioner, or by the one of --provisioner if kind is "".
func createKind(b *base, use, kind string) *cobra.Command {
	f := &createFlags{}
	cmd := &cobra.Command{
		Use:   use,
		Short: "Make a cluster, and wait until it is healthy",
		Long: "Makes the machines and the network of a cluster, starts etcd, waits until everything is healthy, and merges the\n" +
			"credentials into ~/.talos/config and ~/.kube/config.\n\n" +
			"Machines are containers of Docker if its daemon answers; else, on Linux and as root, containers without Docker (native).\n" +
			"Those are reached at their addresses; of Docker's the APIs of the control plane are published on this computer as well.\n\n" +
			"If something does not come up, what was made stays for a look until 'talosctl cluster destroy'.",
		Example: "  talosctl cluster create\n" +
			"  talosctl cluster create --name demo --cidr 10.6.0.0/24 --controlplanes 3 --workers 3 --config-patch @all.yaml",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	if kind != "" {
		cmd.Short = "Make a cluster by the provisioner " + kind
		cmd.Example = "  talosctl cluster create " + kind
	}
	fl := cmd.Flags()
	fl.IntVar(&f.wish.controlPlane, "controlplanes", 1, "how many machines of the control plane")
	fl.IntVar(&f.wish.workers, "workers", 1, "how many workers")
	fl.StringVar(&f.cpus, "cpus", "2", "the share of CPUs of each machine; 0 for no limit")
	fl.StringVar(&f.cpusOfControlPlane, "cpus-controlplanes", "", "the same for the control plane")
	fl.StringVar(&f.cpusOfWorkers, "cpus-workers", "", "the same for workers")
	fl.StringVar(&f.memory, "memory", "2GiB", "the memory of each machine; 0 for no limit")
	fl.StringVar(&f.memoryControlPlane, "memory-controlplanes", "", "the same for the control plane")
	fl.StringVar(&f.memoryOfWorkers, "memory-workers", "", "the same for workers")
	fl.StringVar(&f.wish.cidr, "cidr", "10.5.0.0/24", "the network of the machines")
	fl.IntVar(&f.wish.mtu, "mtu", 1500, "the largest packet of the network in bytes")
	fl.StringVar(&f.wish.image, "image", image.NodeRef(buildinfo.Version), "the image of the machines")
	fl.StringVar(&b.images, "images", "", "the image cache, from which all images come (default: _out/images beside this program or in the checkout)")
	fl.StringVar(&f.kubernetes, "kubernetes-version", defaults.Kubernetes, "the version of Kubernetes")
	fl.StringArrayVar(&f.patches, "config-patch", nil, "a patch for all configs: @FILE, YAML, JSON, or a file's name; may be given several times")
	fl.StringArrayVar(&f.controlPlane, "config-patch-control-plane", nil, "a patch for the config of the control plane")
	fl.StringArrayVar(&f.workers, "config-patch-worker", nil, "a patch for the config of workers")
	fl.StringSliceVar(&f.sans, "additional-sans", nil, "more names and addresses for the certificates of the APIs")
	fl.StringVar(&f.secrets, "with-secrets", "", "the file with the cluster's secrets (default: new ones)")
	fl.BoolVar(&f.wait, "wait", true, "wait until the cluster is healthy")
	fl.DurationVar(&f.timeout, "wait-timeout", 20*time.Minute, "how long to wait")
	fl.BoolVar(&f.skipKubeconfig, "skip-kubeconfig", false, "do not merge the kubeconfig")
	fl.StringVar(&f.talosconfig, "talosconfig", "", "the client's configuration to merge into (default: $TALOSCONFIG, else ~/.talos/config)")
	f.variants.bind(fl)
	f.containers.bind(fl)
	own := &machines{}
	if kind == "" || kind == qemu.Name {
		own.bind(fl)
	}
	fl.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if other := cmp.Or(aliases[name], machineAliases[name], containerAliases[name]); other != "" {
			name = other
		}
		return pflag.NormalizedName(name)
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if kind != "" {
			if b.kind != "" && b.kind != kind {
				return command.Usagef(cmd, "--provisioner %s and 'create %s' do not go together", b.kind, kind)
			}
			b.kind = kind
		}
		b.machines = own
		return f.run(cmd, b)
	}
	return cmd
}

// request checks the command line and makes the request and the configs for a provisioner.
func (f *createFlags) request(cmd *cobra.Command, b *base, provisioner string) (provision.ClusterRequest, configs, *secret.Bundle, error) {
	fail := func(err error) (provision.ClusterRequest, configs, *secret.Bundle, error) {
		return provision.ClusterRequest{}, configs{}, nil, err
	}
	if f.timeout <= 0 {
		return fail(command.Usagef(cmd, "expected --wait-timeout to be more than zero, got %s", f.timeout))
	}
	f.wish.name = b.name
	f.wish.cpus = map[string]string{provision.ControlPlane: f.cpus, provision.Worker: f.cpus}
	f.wish.memory = map[string]string{provision.ControlPlane: f.memory, provision.Worker: f.memory}
	for _, own := range []struct {
		to   map[string]string
		kind string
		text string
	}{
		{f.wish.cpus, provision.ControlPlane, f.cpusOfControlPlane}, {f.wish.cpus, provision.Worker, f.cpusOfWorkers},
		{f.wish.memory, provision.ControlPlane, f.memoryControlPlane}, {f.wish.memory, provision.Worker, f.memoryOfWorkers},
	} {
		if own.text != "" {
			own.to[own.kind] = own.text
		}
	}
	r, err := f.wish.request()
	if err != nil {
		return fail(command.Usagef(cmd, "%w", err))
	}
	if err := errors.Join(f.containers.apply(&r, provisioner), f.variants.request(&r)); err != nil {
		return fail(command.Usagef(cmd, "%w", err))
	}
	mode, disk, err := b.prepare(&r, provisioner)
	if err != nil {
		return fail(err)
	}
	in, err := input(r, nil, f.kubernetes, f.sans)
	if err != nil {
		return fail(command.Usagef(cmd, "%w", err))
	}
	if err := f.variants.input(&in); err != nil {
		return fail(command.Usagef(cmd, "%w", err))
	}
	in.InstallDisk = disk
	var p patches
	if p.all, err = clock(mode); err != nil {
		return fail(err)
	}
	variants, err := f.variants.patches()
	if err != nil {
		return fail(command.Usagef(cmd, "%w", err))
	}
	own, err := b.env.ReadPatches("--config-patch", f.patches)
	if err != nil {
		return fail(err)
	}
	p.all = slices.Concat(p.all, variants, own)
	if p.controlPlane, err = b.env.ReadPatches("--config-patch-control-plane", f.controlPlane); err != nil {
		return fail(err)
	}
	if p.workers, err = b.env.ReadPatches("--config-patch-worker", f.workers); err != nil {
		return fail(err)
	}
	if f.secrets == "" {
		in.Secrets, err = secret.NewBundle(b.env.Now(), nil)
	} else {
		in.Secrets, err = b.env.ReadSecrets(f.secrets)
	}
	if err != nil {
		return fail(err)
	}
	c, err := makeConfigs(in, p, f.wish.workers == 0, mode)
	if err != nil {
		return fail(err)
	}
	for i := range r.Nodes {
		r.Nodes[i].Config = c.of[r.Nodes[i].Type]
	}
	return r, c, in.Secrets, nil
}

func (f *createFlags) run(cmd *cobra.Command, b *base) error {
	ctx := cmd.Context()
	p, store, err := b.provisioner(cmd)
	if err != nil {
		return err
	}
	if state, err := store.Load(b.name); !errors.Is(err, fs.ErrNotExist) {
		phase := provision.Creating
		if state != nil {
			phase = state.Phase
		}
		return fmt.Errorf("cluster %s is there already (%s): choose another name by --name, or remove it with: %s: %w", b.name, phase, b.removal(), fs.ErrExist)
	}
	log := b.log()
	began := b.env.Now()
	var (
		r       provision.ClusterRequest
		c       configs
		secrets *secret.Bundle
	)
	if err := log.Do("make secrets and configs", func(*steps.Step) error {
		r, c, secrets, err = f.request(cmd, b, p.Name())
		return err
	}); err != nil {
		return err
	}
	for _, w := range c.warnings {
		b.env.Warn("warning: %s", nodes.OneLine(w))
	}
	made, err := p.Create(ctx, r, progress(log))
	if err != nil {
		// Nothing was made if the request was refused.
		if _, loadErr := store.Load(b.name); errors.Is(loadErr, fs.ErrNotExist) {
			if errors.Is(err, fs.ErrNotExist) && b.findImages() == "" {
				err = fmt.Errorf("%w; none is beside this program or in the checkout: make it with 'make image', or name it by --images", err)
			}
			return err
		}
		return b.left(ctx, p, nil, err)
	}
	g := &grown{base: b, log: log, p: p, store: store, cluster: made, skip: f.variants.skips(c.skips())}
	if err := f.finish(ctx, g, c, secrets); err != nil {
		return b.left(ctx, p, g, err)
	}
	b.env.Warn("%8s  in all\n", b.env.Now().Sub(began).Round(100*time.Millisecond))
	if made, err = p.Reflect(ctx, b.name); err != nil {
		return err
	}
	if err := showCluster(b.env.Stdout, made, nil); err != nil {
		return err
	}
	b.env.Warn("\nlook around:  talosctl dashboard, talosctl get members, kubectl get nodes -o wide\nremove it:    %s", b.removal())
	return nil
}

// finish makes a cluster of machines that were just made.
func (f *createFlags) finish(ctx context.Context, g *grown, c configs, secrets *secret.Bundle) error {
	endpoints := g.cluster.Endpoints()
	first := g.cluster.Nodes[0].Address.String()
	admin, err := g.env.Talosconfig(g.name, endpoints, secrets.OS, []string{secret.RoleAdmin}, defaults.AdminTalosconfigLifetime)
	if err != nil {
		return err
	}
	admin.Contexts[g.name].Nodes = []string{first}
	text, err := admin.Marshal()
	if err != nil {
		return err
	}
	files := map[string][]byte{talosconfigFile: text}
	for kind, data := range c.of {
		files[configFile(kind)] = data
	}
	if err := save(g.store, g.name, files); err != nil {
		return err
	}
	if err := f.mergeTalosconfig(g, text); err != nil {
		return err
	}
	if err := g.connect(admin.Contexts[g.name]); err != nil {
		return err
	}
	defer func() { _ = g.client.Close() }() // the client's Close has no error
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("--wait-timeout of %s is over", f.timeout))
	defer cancel()
	awaited := g.cluster.Nodes
	if !f.wait {
		awaited = awaited[:1]
	}
	// etcd may start while the others still boot.
	if err := g.awaitAPI(ctx, awaited[:1]); err != nil {
		return err
	}
	if err := g.bootstrap(ctx, first); err != nil {
		return err
	}
	if len(awaited) > 1 {
		if err := g.awaitAPI(ctx, awaited[1:]); err != nil {
			return err
		}
	}
	if f.wait {
		if err := g.awaitHealth(ctx); err != nil {
			return err
		}
	}
	if f.skipKubeconfig {
		return nil
	}
	return g.kubeconfig(ctx)
}

// mergeTalosconfig adds the cluster's context to the person's file.
func (f *createFlags) mergeTalosconfig(g *grown, text []byte) error {
	path, err := g.env.TalosconfigPath(f.talosconfig)
	if err != nil {
		return err
	}
	var renames []talosconfig.Rename
	err = g.log.Do("merge the context into "+path, func(*steps.Step) error {
		renames, err = changeTalosconfig(path, func(mine *talosconfig.Config) ([]talosconfig.Rename, error) {
			own, _, err := talosconfig.Load(text) // a copy: merged contexts are shared
			if err != nil {
				return nil, err
			}
			return mine.Merge(own), nil
		})
		return err
	})
	for _, r := range renames {
		g.env.Warn("          there is another context %s: the new one is called %s", r.From, r.To)
	}
	return err
}

// left is the error of a create that did not get to its end: what is there, what did not come up, and what to do.
func (b *base) left(ctx context.Context, p provision.Provisioner, g *grown, err error) error {
	if ctx.Err() != nil {
		b.env.Warn("interrupted; what was made is left as it is. Remove it with:\n  %s", b.removal())
		return err
	}
	// The context of the work may be over: this is a look at files.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer cancel()
	b.lastLines(ctx, p, g)
	b.env.Warn("the cluster is left for a look:\n  talosctl cluster show --name %s\n  talosctl cluster logs --name %[1]s NODE\nremove it with:\n  %[2]s\n", b.name, b.removal())
	return err
}

// lookTime bounds a look at what is there after a failure.
const lookTime = 20 * time.Second

// lastLines prints the ends of the logs of nodes that did not come up.
func (b *base) lastLines(ctx context.Context, p provision.Provisioner, g *grown) {
	c, err := p.Reflect(ctx, b.name)
	if err != nil {
		return // that is what the error of the create is about
	}
	const nodesShown, linesShown = 2, 15
	shown := 0
	for _, n := range c.Nodes {
		bad := n.Status == provision.Stopped || g != nil && slices.Contains(g.suspects, n.Name)
		if !bad || shown == nodesShown {
			continue
		}
		var text strings.Builder
		if err := p.Logs(ctx, b.name, n.Name, provision.LogOptions{Tail: linesShown}, &text); err != nil || text.Len() == 0 {
			continue
		}
		shown++
		b.env.Warn("the last lines of %s, which is %s:", n.Name, n.Status)
		for line := range strings.Lines(text.String()) {
			b.env.Warn("  %s", nodes.Clean(strings.TrimRight(line, "\r\n")))
		}
	}
}

// grown is a cluster whose machines are there, on its way to be healthy.
type grown struct {
	*base
	log     *steps.Log
	p       provision.Provisioner
	store   provision.Store
	cluster *provision.Cluster
	client  *client.Client
	skip    map[string]string // checks that do not apply
	// suspects are the names of nodes that did not do what was waited for.
	suspects []string
}

// connect makes the client. The caller closes it.
func (g *grown) connect(admin *talosconfig.Context) error {
	var err error
	g.client, err = client.New(client.Options{Context: admin})
	return err
}

// grown returns a cluster that was made before, with a client, which the caller closes.
func (b *base) grown(ctx context.Context, cmd *cobra.Command) (*grown, error) {
	p, store, err := b.provisioner(cmd)
	if err != nil {
		return nil, err
	}
	c, err := p.Reflect(ctx, b.name)
	if err != nil {
		return nil, err
	}
	g := &grown{base: b, log: b.log(), p: p, store: store, cluster: c}
	admin, err := administrator(store, b.name)
	if err != nil {
		return nil, err
	}
	return g, g.connect(admin)
}

// controlPlane are the addresses of the control plane's nodes that run.
func (g *grown) controlPlane() []string {
	var out []string
	for _, n := range g.cluster.Nodes {
		if n.Type == provision.ControlPlane && n.Status == provision.Running {
			out = append(out, n.Address.String())
		}
	}
	return out
}

// vitals is what a run of the checks needs.
func (g *grown) vitals() vitals.Options {
	return vitals.Options{
		Nodes: vitalNodes(g.cluster.Nodes), Machines: vitals.NewMachines(g.client),
		Kubernetes: vitals.Access(g.client, g.controlPlane(), g.published("")), Skip: g.skip,
	}
}
