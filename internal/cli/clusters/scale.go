package clusters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
)

// size is the flags of machines that are added.
type size struct {
	cpus, memory string
	wait         bool
	timeout      time.Duration
}

func (s *size) bind(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&s.cpus, "cpus", "2", "the share of CPUs of a new machine; 0 for no limit")
	fl.StringVar(&s.memory, "memory", "2GiB", "the memory of a new machine; 0 for no limit")
	fl.BoolVar(&s.wait, "wait", true, "wait until the cluster is healthy again")
	fl.DurationVar(&s.timeout, "wait-timeout", 20*time.Minute, "how long to wait")
}

func scaleCommand(b *base) *cobra.Command {
	var (
		s                      size
		l                      leaving
		controlPlanes, workers int
	)
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Change how many machines a cluster has",
		Long: "Adds or removes machines until there are as many as asked for. Machines of the control plane come and go one by one,\n" +
			"so that etcd keeps its quorum. The last ones go first; use 'talosctl cluster node remove' to choose. Pods of one that\n" +
			"goes are evicted first.",
		Example:           "  talosctl cluster scale --controlplanes 3 --workers 2",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().IntVar(&controlPlanes, "controlplanes", -1, "how many machines of the control plane (default: as there are)")
	cmd.Flags().IntVar(&workers, "workers", -1, "how many workers (default: as there are)")
	s.bind(cmd)
	l.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		changed := cmd.Flags().Changed
		switch {
		case !changed("controlplanes") && !changed("workers"):
			return command.Usagef(cmd, "--controlplanes or --workers must be given")
		case changed("controlplanes") && (controlPlanes < 1 || controlPlanes > most):
			return command.Usagef(cmd, "expected --controlplanes to be from 1 to %d, got %d", most, controlPlanes)
		case changed("workers") && (workers < 0 || workers > most):
			return command.Usagef(cmd, "expected --workers to be from 0 to %d, got %d", most, workers)
		}
		return b.change(cmd, s, func(ctx context.Context, g *grown) error {
			if err := g.grow(ctx, s, provision.Worker, workers); err != nil {
				return err
			}
			if err := g.grow(ctx, s, provision.ControlPlane, controlPlanes); err != nil {
				return err
			}
			for _, n := range surplus(g.cluster.Nodes, map[string]int{provision.ControlPlane: controlPlanes, provision.Worker: workers}) {
				if err := g.remove(ctx, n, l); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// surplus returns the nodes that are too many, the last first. A negative number is as many as there are.
func surplus(all []provision.Node, want map[string]int) []provision.Node {
	var out []provision.Node
	have := map[string]int{}
	for _, n := range all {
		if have[n.Type]++; want[n.Type] >= 0 && have[n.Type] > want[n.Type] {
			out = append(out, n)
		}
	}
	slices.Reverse(out)
	return out
}

// change changes a cluster within the time of the flags, and waits until it is healthy again.
func (b *base) change(cmd *cobra.Command, s size, do func(ctx context.Context, g *grown) error) error {
	if s.timeout <= 0 {
		return command.Usagef(cmd, "expected --wait-timeout to be more than zero, got %s", s.timeout)
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), s.timeout, fmt.Errorf("--wait-timeout of %s is over", s.timeout))
	defer cancel()
	g, err := b.grown(ctx, cmd)
	if err != nil {
		return err
	}
	defer func() { _ = g.client.Close() }() // the client's Close has no error
	before := g.cluster.Endpoints()
	err = do(ctx, g)
	if !slices.Equal(before, g.cluster.Endpoints()) {
		err = errors.Join(err, g.moved())
	}
	if err == nil && s.wait {
		err = g.awaitHealth(ctx)
	}
	if err != nil && cmd.Context().Err() == nil {
		// The time to wait may be over: this is a look at files.
		look, cancel := context.WithTimeout(cmd.Context(), lookTime)
		defer cancel()
		b.lastLines(look, g.p, g)
	}
	return err
}

// moved notes the present endpoints of the control plane: in the cluster's folder, in the contexts of the person's talosconfig
// that are of this cluster, and in the client. Nodes of a context that are gone go out of it.
func (g *grown) moved() error {
	admin, err := administrator(g.store, g.name)
	if err != nil {
		return err
	}
	change := func(c *talosconfig.Config) (bool, error) {
		for _, name := range c.Names() {
			if context := c.Contexts[name]; context.CA == admin.CA {
				context.Endpoints = g.cluster.Endpoints()
				context.Nodes = slices.DeleteFunc(context.Nodes, func(n string) bool {
					_, err := pick(g.cluster, n)
					return err != nil
				})
				if len(context.Nodes) == 0 {
					context.Nodes = append(context.Nodes, g.controlPlane()...)
				}
			}
		}
		return true, nil
	}
	paths := []string{g.store.Path(g.name, talosconfigFile)}
	if path, err := g.env.TalosconfigPath(""); err == nil {
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		if _, err := changeTalosconfig(path, change); err != nil {
			return fmt.Errorf("note the endpoints of cluster %s in %s: %w", g.name, path, err)
		}
	}
	_ = g.client.Close() // the client's Close has no error
	if admin, err = administrator(g.store, g.name); err != nil {
		return err
	}
	return g.connect(admin)
}

// grow adds nodes of a type until there are as many as wanted; a negative number wants none. Of the control plane
// each has to be a member of etcd before the next comes.
func (g *grown) grow(ctx context.Context, s size, kind string, want int) error {
	have := 0
	for _, n := range g.cluster.Nodes {
		if n.Type == kind {
			have++
		}
	}
	for ; have < want; have++ {
		n, err := g.add(ctx, s, kind, "")
		if err != nil {
			return err
		}
		if kind != provision.ControlPlane {
			continue
		}
		if err := g.awaitAPI(ctx, []provision.Node{n}); err != nil {
			return err
		}
		if err := g.awaitMember(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// add adds a node with the config that its type got at the create. A name that is "" is the next one.
func (g *grown) add(ctx context.Context, s size, kind, name string) (provision.Node, error) {
	if name == "" {
		name = g.cluster.FreeName(kind)
	}
	address := g.cluster.FreeAddress()
	if !address.IsValid() {
		return provision.Node{}, fmt.Errorf("add node %s: the network %s is full", name, g.cluster.Network.CIDR)
	}
	r, err := wish{cpus: map[string]string{kind: s.cpus}, memory: map[string]string{kind: s.memory}}.node(name, kind, address)
	if err != nil {
		return provision.Node{}, err
	}
	if r.Config, err = load(g.store, g.name, configFile(kind)); err != nil {
		return provision.Node{}, err
	}
	if err := g.p.AddNode(ctx, g.name, r, progress(g.log)); err != nil {
		return provision.Node{}, err
	}
	if err := g.reflect(ctx); err != nil {
		return provision.Node{}, err
	}
	return pick(g.cluster, name)
}

func (g *grown) reflect(ctx context.Context) error {
	c, err := g.p.Reflect(ctx, g.name)
	if err == nil {
		g.cluster = c
	}
	return err
}

// awaitMember waits until a node of the control plane is a voting member of etcd.
func (g *grown) awaitMember(ctx context.Context, n provision.Node) error {
	g.suspects = []string{n.Name}
	me := vitalNodes([]provision.Node{n})[0]
	what := n.Name + " to be a member of etcd"
	return g.log.Do("wait for "+what, func(s *steps.Step) error {
		return poll(ctx, what, func(ctx context.Context) (bool, string, error) {
			within, cancel := context.WithTimeout(ctx, lookLimit)
			defer cancel()
			m := vitals.NewMachines(g.client).Observe(within, me, vitals.AskEtcd).Members
			why := "it is no member yet"
			if m.Err != nil {
				why = nodes.OneLine(client.Explain(m.Err))
			}
			for _, member := range m.Value {
				if member.Name == n.Name || slices.Contains(member.Addresses, n.Address) {
					if !member.Learner {
						return true, "", nil
					}
					why = "it is still a learner"
				}
			}
			s.Waiting(why)
			return false, why, nil
		})
	})
}

func nodeCommand(b *base) *cobra.Command {
	return command.Group("node", "Add, remove, stop, start or kill single machines of a cluster",
		addCommand(b), removeCommand(b),
		powerCommand(b, "stop", "Ask a machine to shut down, and end it if it does not within 30 seconds", provision.Provisioner.StopNode),
		powerCommand(b, "start", "Start a machine that is stopped, with the data that it had", provision.Provisioner.StartNode),
		powerCommand(b, "kill", "End a machine at once, as a power failure does", provision.Provisioner.KillNode),
	)
}

func addCommand(b *base) *cobra.Command {
	var (
		s    size
		kind string
	)
	cmd := &cobra.Command{
		Use:               "add [NAME]",
		Short:             "Add a machine to a cluster",
		Example:           "  talosctl cluster node add\n  talosctl cluster node add demo-big --name demo --cpus 4 --memory 8GiB",
		ValidArgsFunction: cobra.NoFileCompletions,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.ExactArgs("NAME")(cmd, args)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&kind, "type", provision.Worker, "worker or controlplane")
	command.Complete(cmd, "type", cobra.FixedCompletions([]string{provision.ControlPlane, provision.Worker}, cobra.ShellCompDirectiveNoFileComp))
	s.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if kind != provision.Worker && kind != provision.ControlPlane {
			return command.Usagef(cmd, "expected --type to be worker or controlplane, got %q", kind)
		}
		return b.change(cmd, s, func(ctx context.Context, g *grown) error {
			n, err := g.add(ctx, s, kind, append(args, "")[0])
			if err != nil || !s.wait {
				return err
			}
			return g.awaitAPI(ctx, []provision.Node{n})
		})
	}
	return cmd
}

func powerCommand(b *base, verb, short string, do func(p provision.Provisioner, ctx context.Context, cluster, node string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NODE", Short: short, Example: "  talosctl cluster node " + verb + " talos-default-worker-1",
		Args: command.ExactArgs("NODE"), ValidArgsFunction: b.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := b.provisioner(cmd)
			if err != nil {
				return err
			}
			c, err := p.Reflect(cmd.Context(), b.name)
			if err != nil {
				return err
			}
			n, err := pick(c, args[0])
			if err != nil {
				return err
			}
			return b.log().Do(verb+" "+n.Name, func(*steps.Step) error { return do(p, cmd.Context(), b.name, n.Name) })
		},
	}
}
