package kubeupgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/config/defaults"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/fleet"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/manifest"
)

// healthLimit is how long it is waited for a cluster to be healthy before anything is changed.
const healthLimit = time.Minute

// flags are the flags of the command.
type flags struct {
	request
	endpoint      string
	dryRun        bool
	ignoreRemoved bool
	given         map[component]*string
	force         bool
	noPrune       bool
	policy        string
	rollout       time.Duration
	docs          bool
	examples      bool
}

// New returns the command.
func New(env command.Env) *cobra.Command {
	f := flags{given: map[component]*string{}}
	cmd := &cobra.Command{
		Use:   "upgrade-k8s",
		Short: "Bring the Kubernetes of the cluster to another version",
		Long: "Checks that the version can be reached from the present one and that the cluster is healthy; has every machine\n" +
			"fetch the images; then changes the configs, one machine after the other: API server, controller manager and\n" +
			"scheduler of the control plane, the manifests of kube-proxy, CoreDNS and the network, whose differences it\n" +
			"prints, and at last each kubelet. It waits for each to be ready before it goes on. Pods keep running.\n\n" +
			"If it is interrupted, the same command goes on where it was. --dry-run prints what it would do and changes\n" +
			"nothing.",
		Example: "  talosctl -n 10.5.0.2 upgrade-k8s --to " + defaults.Kubernetes + " --dry-run\n" +
			"  talosctl -n 10.5.0.2 upgrade-k8s --to " + defaults.Kubernetes,
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.from, "from", "", "the version that the cluster has (default: what its API servers say)")
	fl.StringVar(&f.to, "to", defaults.Kubernetes, "the version to bring it to")
	fl.StringVar(&f.endpoint, "endpoint", "", "the URL of the Kubernetes API (default: that of the kubeconfig)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what would be done, and change nothing")
	fl.BoolVar(&f.pull, "pre-pull-images", true, "have the machines fetch all images before anything is changed")
	fl.BoolVar(&f.kubelets, "upgrade-kubelet", true, "upgrade the kubelets too")
	fl.BoolVar(&f.ignoreRemoved, "ignore-removed-apis", false, "go on although somebody uses an API that the new version does not have")
	for c, name := range map[component]string{
		apiServer: "apiserver-image", controllerManager: "controller-manager-image", scheduler: "scheduler-image", proxy: "proxy-image", kubelet: "kubelet-image",
	} {
		f.given[c] = fl.String(name, "", fmt.Sprintf("the image of %s; without a tag it gets that of the version (default: as it is, with that tag)", c))
	}
	fl.BoolVar(&f.force, "manifests-force", false, "take over fields of the manifests' objects that somebody else has changed")
	fl.BoolVar(&f.noPrune, "manifests-no-prune", false, "keep objects that no manifest has any more")
	fl.StringVar(&f.policy, "manifests-inventory-policy", string(manifest.AdoptIfNoInventory), "which objects may be taken over: "+policies())
	fl.DurationVar(&f.rollout, "manifests-reconcile-timeout", 5*time.Minute, "how long the pods of the manifests may take to be new; 0 does not wait")
	fl.BoolVar(&f.docs, "with-docs", false, "put comments that explain the fields into the configs; those that are there stay in any case")
	fl.BoolVar(&f.examples, "with-examples", false, "put examples of fields that are not set into the configs, as comments")
	command.Complete(cmd, "manifests-inventory-policy", cobra.FixedCompletions(strings.Split(policies(), ", "), cobra.ShellCompDirectiveNoFileComp))
	n := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, errTo := parseVersion(f.to)
		_, errFrom := parseVersion(f.from)
		switch {
		case errTo != nil:
			return command.Usagef(cmd, "--to: %w", errTo)
		case f.from != "" && errFrom != nil:
			return command.Usagef(cmd, "--from: %w", errFrom)
		case !slices.Contains(manifest.Policies(), manifest.Policy(f.policy)):
			return command.Usagef(cmd, "expected --manifests-inventory-policy to be one of %s, got %q", policies(), f.policy)
		case f.rollout < 0:
			return command.Usagef(cmd, "expected --manifests-reconcile-timeout to be zero or more, got %s", f.rollout)
		}
		f.request.images = map[component]string{}
		for c, image := range f.given {
			f.request.images[c] = *image
		}
		return n.Run(cmd, func(ctx context.Context, s *nodes.Session) error { return f.run(ctx, s) })
	}
	return cmd
}

func policies() string {
	var names []string
	for _, p := range manifest.Policies() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func (f *flags) run(ctx context.Context, s *nodes.Session) error {
	env := s.Env()
	log := steps.New(env.Stderr, env.Now, env.Getenv)
	node := s.Nodes()[0]
	all, err := fleet.Begin(ctx, log, s.Client(node), node, fleet.Options{Server: f.endpoint}, healthLimit)
	if err != nil {
		return err
	}
	defer all.Close()
	u := &upgrading{
		world: machines{all}, log: log, out: env.Stdout, rollout: f.rollout, docs: f.docs, examples: f.examples,
		sync: manifest.Options{Force: f.force, Prune: !f.noPrune, Policy: manifest.Policy(f.policy)},
	}
	var changes []manifest.Change
	err = log.Do("check what the new version asks for", func(l *steps.Step) error {
		found, used, err := look(ctx, all, f.to)
		if err != nil {
			return err
		}
		if u.plan, err = newPlan(found, f.request); err != nil {
			return err
		}
		for _, line := range used {
			l.Note("in use: %s", line)
		}
		if len(used) > 0 && !f.ignoreRemoved {
			return fmt.Errorf("somebody has used APIs that %s does not have, since the API servers were started: %s; find out who (the audit log in /var/log/audit/kube tells), or go on with --ignore-removed-apis", u.plan.to, strings.Join(used, "; "))
		}
		_, changes, err = u.compare(ctx, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if f.dryRun {
		return f.show(u, changes)
	}
	if _, err := fmt.Fprintf(env.Stdout, "from %s to %s\n", u.plan.from, u.plan.to); err != nil {
		return err
	}
	if err := u.run(ctx); err != nil {
		return err
	}
	err = log.Do("check that the cluster is healthy", func(s *steps.Step) error { return all.Healthy(ctx, s, 5*healthLimit) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "Kubernetes is %s\n", u.plan.to)
	return err
}

// show prints what would be done.
func (f *flags) show(u *upgrading, changes []manifest.Change) error {
	var b strings.Builder
	fmt.Fprintf(&b, "from %s to %s; this would be done:\n", u.plan.from, u.plan.to)
	for _, s := range u.plan.steps {
		fmt.Fprintf(&b, "  %s\n", u.plan.text(s))
	}
	fmt.Fprintf(&b, "manifests: %s\n", manifest.Summary(changes))
	if _, err := fmt.Fprint(u.out, b.String()); err != nil {
		return err
	}
	if err := u.show(changes); err != nil {
		return err
	}
	_, err := fmt.Fprintln(u.out, "Nothing was changed.")
	return err
}

// look returns what is known of the machines, and the APIs in use that a version does not have.
func look(ctx context.Context, all *fleet.Fleet, to string) (found []machine, used []string, err error) {
	target, err := parseVersion(to)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range all.Machines {
		one := machine{target: m.Target, name: m.Name, nodename: m.Nodename, controlPlane: m.ControlPlane}
		if one.name == "" {
			one.name = m.Target
		}
		one.read(m.Config)
		if m.ControlPlane {
			var gone []deprecated
			if one.running, gone, err = ask(ctx, all, m, one.port, target); err != nil {
				return nil, nil, fmt.Errorf("ask the API server of %s: %w", one.name, err)
			}
			for _, d := range gone {
				if !slices.Contains(used, d.String()) {
					used = append(used, d.String())
				}
			}
		}
		found = append(found, one)
	}
	return found, used, nil
}

// ask asks the API server of a machine for its version, and for what was asked of it.
func ask(ctx context.Context, all *fleet.Fleet, m fleet.Machine, port uint16, to version) (running string, gone []deprecated, err error) {
	c, err := all.APIServer(ctx, m, port)
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	text, err := c.Text(ctx, "/version")
	if err != nil {
		return "", nil, err
	}
	var v struct{ GitVersion string }
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.GitVersion == "" {
		return "", nil, errors.New("its version is no version")
	}
	metrics, err := c.Text(ctx, "/metrics")
	if err != nil {
		return "", nil, err
	}
	return v.GitVersion, removedAPIs(metrics, to), nil
}
