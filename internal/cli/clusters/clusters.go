// Package clusters has the commands that make laboratory clusters on this computer, show and change them, and take them away.
//
// Machines come from a [provision.Provisioner]; what makes a cluster of them is here: secrets and configs, the wait for the
// machines' API, the start of etcd, the checks of internal/vitals, the contexts in the person's files. A cluster's folder gets
// the config of each type of node and the credentials of its administrator, from which later commands add nodes and ask
// those that there are; they go with the folder.
//
// Every wait has a deadline, shows what it waits for, and says at its end what it last saw. Whatever ends a create, what was
// made stays for a look, and the command that removes it is printed.
package clusters

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/docker"
	"talos.internal/internal/provision/native"
	"talos.internal/internal/provision/qemu"
)

// Opener returns the provisioner of a kind.
type Opener func(o native.Options) (provision.Provisioner, error)

// New returns the group of commands.
func New(env command.Env) *cobra.Command {
	return commands(env, doors{native.New, docker.New, func(ctx context.Context) error { return docker.Answers(ctx, docker.Options{}) }})
}

// NewWith is New with another way to get machines in place of native, and without docker.
func NewWith(env command.Env, open Opener) *cobra.Command {
	no := func(context.Context) error {
		return fmt.Errorf("provisioner %s: %w", docker.Name, provision.ErrNotSupported)
	}
	return commands(env, doors{open, func(ctx context.Context, _ docker.Options) (provision.Provisioner, error) { return nil, no(ctx) }, no})
}

func commands(env command.Env, d doors) *cobra.Command {
	b := &base{env: env, doors: d}
	group := command.Group("cluster", "Make laboratory clusters on this computer, change them, and take them away",
		createCommand(b),
		destroyCommand(b),
		forgetCommand(b),
		linkCommand(b),
		logsCommand(b),
		nodeCommand(b),
		scaleCommand(b),
		showCommand(b),
		snapshotCommand(b),
		switchCommand(b),
	)
	fl := group.PersistentFlags()
	fl.StringVar(&b.name, "name", "talos-default", "the name of the cluster")
	fl.StringVar(&b.state, "state", "", "the folder of clusters (default: ~/.talos/clusters)")
	fl.StringVar(&b.kind, "provisioner", "", "the way to get machines: docker, native or qemu (default: that of the cluster; for a new one docker if its daemon answers, else native)")
	command.Complete(group, "provisioner", cobra.FixedCompletions([]string{docker.Name, native.Name, qemu.Name}, cobra.ShellCompDirectiveNoFileComp))
	command.Complete(group, "name", b.completeNames)
	return group
}

// base is what all commands of the group have.
type base struct {
	env               command.Env
	doors             doors
	name, state, kind string
	images            string    // --images of create
	machines          *machines // flags of create; nil for other commands
}

// store is the folder of clusters.
func (b *base) store() (provision.Store, error) {
	if b.state != "" {
		dir, err := filepath.Abs(b.state)
		return provision.Store{Dir: dir}, err
	}
	if b.env.Home == "" {
		return provision.Store{}, errors.New("there is no home directory with a .talos/clusters: name the folder of clusters by --state")
	}
	return provision.Store{Dir: filepath.Join(b.env.Home, ".talos", "clusters")}, nil
}

// provisioner opens the provisioner. A cluster that is there was made by one, which is the one to go on with.
func (b *base) provisioner(cmd *cobra.Command) (provision.Provisioner, provision.Store, error) {
	store, err := b.store()
	if err != nil {
		return nil, store, err
	}
	if err := provision.CheckName(b.name); err != nil {
		return nil, store, command.Usagef(cmd, "--name: %w", err)
	}
	kind := b.kind
	if state, err := store.Load(b.name); kind == "" && err == nil && state != nil {
		kind = state.Provisioner
	}
	var p provision.Provisioner
	switch kind {
	case "":
		p, err = b.openDefault(cmd, store)
	case docker.Name:
		p, err = b.openDocker(cmd.Context(), store)
	case native.Name:
		p, err = b.openNative(store)
	case qemu.Name:
		p, err = b.openQEMU(cmd, store)
	default:
		err = command.Usagef(cmd, "there is no provisioner %q; there are %s, %s and %s", kind, docker.Name, native.Name, qemu.Name)
	}
	return p, store, err
}

// findImages returns the folder of the image cache: that of the flag, else the first that is there: beside this program, where
// make puts both, or in the checkout that the current folder is in. "" if there is none.
func (b *base) findImages() string {
	if b.images != "" {
		return b.images
	}
	var roots []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		roots = append(roots, filepath.Dir(exe))
	}
	if wd, err := os.Getwd(); err == nil {
		for dir := wd; ; dir = filepath.Dir(dir) {
			roots = append(roots, dir)
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return firstLayout(roots, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular()
	})
}

// firstLayout returns the first image cache in one of the folders.
func firstLayout(roots []string, isFile func(path string) bool) string {
	for _, root := range roots {
		for _, dir := range []string{filepath.Join(root, "images"), filepath.Join(root, "_out", "images")} {
			if isFile(filepath.Join(dir, "oci-layout")) {
				return dir
			}
		}
	}
	return ""
}

// findRunc returns the runc that was built beside the image cache; "" for the one in PATH.
func findRunc(images string) string {
	name := filepath.Join(filepath.Dir(images), "components", "runc", "runc")
	if info, err := os.Stat(name); images == "" || err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return name
}

// log returns a log of steps, which go to standard error.
func (b *base) log() *steps.Log { return steps.New(b.env.Stderr, b.env.Now, b.env.Getenv) }

// progress shows the steps of a provisioner.
func progress(l *steps.Log) provision.Progress {
	return func(name string) func(error) { return l.Begin(name).End }
}

// The files of a cluster's folder that are ours.
const (
	talosconfigFile = "talosconfig"
	kubeconfigFile  = "kubeconfig"
)

// configFile is the file with the config of a type of node.
func configFile(kind string) string { return kind + ".yaml" }

// save writes files into a cluster's folder.
func save(store provision.Store, cluster string, files map[string][]byte) error {
	for name, data := range files {
		if err := os.WriteFile(store.Path(cluster, name), data, 0o600); err != nil {
			return fmt.Errorf("keep %s of cluster %s: %w", name, cluster, err)
		}
	}
	return nil
}

// load reads a file of a cluster's folder.
func load(store provision.Store, cluster, name string) ([]byte, error) {
	data, err := os.ReadFile(store.Path(cluster, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cluster %s has no %s: it is not there, or its create did not get that far; see: talosctl cluster show --name %s: %w", cluster, name, cluster, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of cluster %s: %w", name, cluster, err)
	}
	return data, nil
}

// administrator returns the credentials of a cluster's administrator.
func administrator(store provision.Store, cluster string) (*talosconfig.Context, error) {
	data, err := load(store, cluster, talosconfigFile)
	if err != nil {
		return nil, err
	}
	c, _, err := talosconfig.Load(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", store.Path(cluster, talosconfigFile), err)
	}
	_, context, err := c.Lookup("")
	return context, err
}

func (b *base) completeNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	store, err := b.store()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := store.Names()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeNodes completes the name of a node.
func (b *base) completeNodes(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	store, err := b.store()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	state, err := store.Load(b.name)
	if err != nil || state == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, n := range state.Nodes {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// pick returns the node of a name, or of an address.
func pick(c *provision.Cluster, name string) (provision.Node, error) {
	i := slices.IndexFunc(c.Nodes, func(n provision.Node) bool { return n.Name == name || n.Address.String() == name })
	if i >= 0 {
		return c.Nodes[i], nil
	}
	var names []string
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	return provision.Node{}, fmt.Errorf("cluster %s has no node %s; it has %s: %w", c.Name, name, strings.Join(names, ", "), fs.ErrNotExist)
}

// removal is the command that removes a cluster.
func (b *base) removal() string {
	text := "talosctl cluster destroy"
	if b.name != "talos-default" {
		text += " --name " + b.name
	}
	if b.state != "" {
		text += " --state " + b.state
	}
	return text
}
