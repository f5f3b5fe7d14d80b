package clusters

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/machinepb"
	"talos.internal/api/membershippb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/members"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/steps"
	"talos.internal/internal/drain"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
)

// noticeLimit is how long the others may take to notice that a machine is gone: ten seconds, and some for a busy computer.
const noticeLimit = 30 * time.Second

// leaving says how machines leave a cluster.
type leaving struct {
	force bool
	drain time.Duration // how long their pods may take to go somewhere else; they are left alone if it is not positive
}

func (l *leaving) bind(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&l.drain, "drain-timeout", time.Minute, "how long the pods of a machine may take to go somewhere else; 0 leaves them alone")
}

func removeCommand(b *base) *cobra.Command {
	var (
		l       leaving
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a machine out of a cluster and remove it",
		Long: "Takes a machine out of a cluster: its Node takes no new pods and those that it has are evicted, it leaves etcd if it is\n" +
			"of the control plane, ends, and goes with its data, with its Node in Kubernetes, and from the members. It may be\n" +
			"running, stopped or gone.",
		Example: "  talosctl cluster node remove talos-default-worker-2",
		Args:    command.ExactArgs("NODE"), ValidArgsFunction: b.completeNodes,
	}
	cmd.Flags().BoolVarP(&l.force, "force", "f", false, "remove it even if it cannot be taken out of etcd or Kubernetes")
	cmd.Flags().DurationVar(&timeout, "wait-timeout", 5*time.Minute, "how long to wait")
	l.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return b.change(cmd, size{timeout: timeout}, func(ctx context.Context, g *grown) error {
			n, err := pick(g.cluster, args[0])
			if err != nil {
				return err
			}
			return g.remove(ctx, n, l)
		})
	}
	return cmd
}

func forgetCommand(b *base) *cobra.Command {
	var (
		l       leaving
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "forget NODE",
		Short: "Take a machine that is gone out of a cluster",
		Long: "Takes a machine that is gone out of its cluster, everywhere at once: out of etcd, if it was a member and the others have\n" +
			"a quorum without it, out of Kubernetes, and out of the members. What this computer has of it, if it was made by\n" +
			"'talosctl cluster', goes, too. It is refused while the machine runs; 'talosctl cluster node remove' ends one that does.",
		Example: "  talosctl cluster forget talos-default-worker-2",
		Args:    command.ExactArgs("NODE"), ValidArgsFunction: b.completeNodes,
	}
	cmd.Flags().BoolVar(&l.force, "force", false, "take it out though it seems to run, and pass over steps that fail")
	cmd.Flags().DurationVar(&timeout, "wait-timeout", 5*time.Minute, "how long to wait")
	l.bind(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return b.change(cmd, size{timeout: timeout}, func(ctx context.Context, g *grown) error { return g.forget(ctx, args[0], l) })
	}
	return cmd
}

// others are the nodes of the control plane that run, without one.
func (g *grown) others(than provision.Node) []string {
	return slices.DeleteFunc(g.controlPlane(), func(a string) bool { return a == than.Address.String() })
}

// remove takes a node out of the cluster and removes it. With force it is removed whatever fails before. That pods are left when their
// time is over is told, and no reason to stay: their end follows from that of the node.
func (g *grown) remove(ctx context.Context, n provision.Node, l leaving) error {
	others := g.others(n)
	if n.Type == provision.ControlPlane && len(others) == 0 && !l.force {
		return fmt.Errorf("remove %s: it is the last of the control plane that runs, and the cluster would end with it; use 'talosctl cluster destroy', or --force", n.Name)
	}
	may := func(err error) error {
		if err != nil && l.force {
			g.env.Warn("warning: %s", nodes.OneLine(client.Explain(err)))
			return nil
		}
		return err
	}
	if len(others) > 0 && l.drain > 0 {
		if err := may(g.log.Do("drain "+n.Name, func(s *steps.Step) error { return g.drain(ctx, s, n, others, l.drain) })); err != nil {
			return fmt.Errorf("%w; use --drain-timeout 0 to remove it without", err)
		}
	}
	if n.Type == provision.ControlPlane && len(others) > 0 {
		if err := may(g.log.Do("take "+n.Name+" out of etcd", func(*steps.Step) error { return g.leaveEtcd(ctx, n, others[0]) })); err != nil {
			return fmt.Errorf("%w; use --force to remove it nevertheless", err)
		}
	}
	if err := g.p.RemoveNode(ctx, g.name, n.Name, progress(g.log)); err != nil {
		return err
	}
	if err := g.reflect(ctx); err != nil {
		return err
	}
	if len(others) == 0 {
		return nil
	}
	err := g.log.Do("take "+n.Name+" out of Kubernetes", func(*steps.Step) error {
		within, cancel := context.WithTimeout(ctx, orderLimit)
		defer cancel()
		data, err := vitals.FirstKubeconfig(within, g.client, others)
		if err != nil {
			return err
		}
		api, err := vitals.NewKubernetes(data, g.kubernetes(n, others[0]))
		if err != nil {
			return err
		}
		return api.RemoveNode(within, vitalNodes([]provision.Node{n})[0])
	})
	if may(err) != nil {
		return err
	}
	return may(g.log.Do("take "+n.Name+" out of the members", func(s *steps.Step) error {
		// It was ended here: nobody has to notice it first. What else there is to be done was done.
		err := g.tell(ctx, others, members.Request{Member: n.Name, Force: true}, func(p *membershippb.ForgetProgress) error {
			if p.GetFailed() {
				s.Note("%s: %s", p.GetStep(), p.GetMessage())
			}
			return nil
		})
		if status.Code(err) == codes.NotFound { // it never came so far, or there is no discovery
			return nil
		}
		return err
	}))
}

// tell asks the first of the nodes that answers to forget a machine.
func (g *grown) tell(ctx context.Context, nodes []string, r members.Request, say func(*membershippb.ForgetProgress) error) error {
	ctx, cancel := context.WithTimeout(ctx, members.Limit(r))
	defer cancel()
	err := errors.New("no node of the control plane runs")
	for _, node := range nodes {
		if err = members.Forget(client.WithNode(ctx, node), g.client, r, say); status.Code(err) != codes.Unavailable {
			return err
		}
	}
	return err
}

// forget takes a machine that is gone out of the cluster. It may be one that was not made by the provisioner.
func (g *grown) forget(ctx context.Context, name string, l leaving) error {
	n, err := pick(g.cluster, name)
	ours := err == nil
	if ours {
		name = n.Name
	}
	r := members.Request{Member: name, Force: l.force, Drain: l.drain}
	err = g.log.Do("take "+name+" out of the cluster", func(s *steps.Step) error {
		noticing, cancel := context.WithTimeoutCause(ctx, noticeLimit, fmt.Errorf("not after %s", noticeLimit))
		defer cancel()
		return poll(noticing, "the others to notice that "+name+" is gone", func(context.Context) (bool, string, error) {
			err := g.tell(ctx, g.others(n), r, func(p *membershippb.ForgetProgress) error { return members.Print(g.env, p) })
			// One that does not run is refused for some seconds, until the others are sure of it.
			if status.Code(err) == codes.FailedPrecondition && ours && n.Status != provision.Running {
				why := nodes.OneLine(client.Explain(err))
				s.Waiting("the others to notice that it is gone: " + why)
				return false, why, nil
			}
			return err == nil, "", err
		})
	})
	if err != nil {
		return err
	}
	if ours && n.Status != provision.Running {
		if err := g.p.RemoveNode(ctx, g.name, n.Name, progress(g.log)); err != nil {
			return err
		}
		if err := g.reflect(ctx); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(g.env.Stdout, "%s is forgotten\n", nodes.Clean(name))
	return err
}

// kubernetes is the API of Kubernetes to call when a node goes: that of the kubeconfig, unless it is the node's own.
func (g *grown) kubernetes(gone provision.Node, other string) string {
	if server := g.published(gone.Name); server != "" {
		return server
	}
	if g.cluster.KubernetesEndpoint == "https://"+gone.Address.String()+":6443" {
		return "https://" + other + ":6443"
	}
	return ""
}

// drain takes the pods off a node: by eviction, or, if it does not run, by removing what nobody runs any more.
func (g *grown) drain(ctx context.Context, s *steps.Step, n provision.Node, others []string, limit time.Duration) error {
	within, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	data, err := vitals.FirstKubeconfig(within, g.client, others)
	if err != nil {
		return err
	}
	server := g.kubernetes(n, others[0])
	api, err := vitals.NewKubernetes(data, server)
	if err != nil {
		return err
	}
	names, err := api.NodesOf(within, vitalNodes([]provision.Node{n})[0])
	if err != nil {
		return err
	}
	config, err := kubeapi.ParseKubeconfig(data, "")
	if err != nil {
		return err
	}
	if server != "" {
		if config.Server, err = url.Parse(server); err != nil {
			return err
		}
	}
	c, err := kubeapi.New(config, kubeapi.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	how := drain.Evict
	if n.Status != provision.Running {
		how = drain.Remove
	}
	draining, done := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the %s of --drain-timeout are over", limit))
	defer done()
	for _, name := range names {
		r, err := drain.Node(draining, c, name, how, func(left string) { s.Waiting("the end of pods: " + left) })
		if err != nil {
			if ctx.Err() == nil && draining.Err() != nil {
				s.Note("%s", nodes.OneLine(err.Error()))
				continue
			}
			return err
		}
		if r.Pods > 0 {
			s.Note("%d pods have gone", r.Pods)
		}
	}
	return nil
}

// leaveEtcd lets a node leave etcd, or has it removed by another if it does not run.
func (g *grown) leaveEtcd(ctx context.Context, n provision.Node, other string) error {
	within, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	var leaving error
	if n.Status == provision.Running {
		_, leaving = client.Only(g.client.Machine().EtcdLeaveCluster(client.WithNode(within, n.Address.String()), &machinepb.EtcdLeaveClusterRequest{}))
		if leaving == nil {
			return nil
		}
	}
	known := vitals.NewMachines(g.client).Observe(within, vitals.NewNode(other, true), vitals.AskEtcd).Members
	if known.Err != nil {
		return errors.Join(leaving, known.Err)
	}
	for _, m := range known.Value {
		if m.Name != n.Name && !slices.Contains(m.Addresses, n.Address) {
			continue
		}
		_, err := client.Only(g.client.Machine().EtcdRemoveMemberByID(client.WithNode(within, other), &machinepb.EtcdRemoveMemberByIDRequest{MemberId: m.ID}))
		if err != nil {
			return errors.Join(leaving, err)
		}
	}
	return nil
}
