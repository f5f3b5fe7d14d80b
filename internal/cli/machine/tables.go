package machine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/timepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

func mountsCommand(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "mounts",
		Aliases:           []string{"mount"},
		Short:             "Show the mounted file systems of machines",
		Example:           "  talosctl -n 10.5.0.2 mounts",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "FILESYSTEM", "SIZE(GB)", "USED(GB)", "AVAILABLE(GB)", "PERCENT USED", "MOUNTED ON")
			for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Mounts, error) {
				return client.Only(c.Machine().Mounts(ctx, &emptypb.Empty{}))
			}) {
				for _, m := range r.Value.GetStats() {
					used := m.GetSize() - min(m.GetSize(), m.GetAvailable())
					t.Row(r.Node, m.GetFilesystem(), gigabytes(m.GetSize()), gigabytes(used), gigabytes(m.GetAvailable()), percent(used, m.GetSize()), m.GetMountedOn())
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func gigabytes(n uint64) string { return fmt.Sprintf("%.2f", float64(n)*1e-9) }

// percent is part of whole; nothing of nothing is 0%.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "0.00%"
	}
	return fmt.Sprintf("%.2f%%", float64(part)/float64(whole)*100)
}

func timeCommand(env command.Env) *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:               "time",
		Short:             "Compare the clocks of machines with a time server's",
		Example:           "  talosctl -n 10.5.0.2 time\n  talosctl -n 10.5.0.2 time --check pool.ntp.org",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&server, "check", "", "the time server (default: the one that the machine uses)")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "NTP-SERVER", "NODE-TIME", "NTP-SERVER-TIME")
			for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*timepb.Time, error) {
				if server != "" {
					return client.Only(c.Time().TimeCheck(ctx, &timepb.TimeRequest{Server: server}))
				}
				return client.Only(c.Time().Time(ctx, &emptypb.Empty{}))
			}) {
				t.Row(r.Node, r.Value.GetServer(), clock(r.Value.GetLocaltime()), clock(r.Value.GetRemotetime()))
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format("2006-01-02 15:04:05.000000000 UTC")
}

// scope is where containers are looked for: those of the system, or those of Kubernetes.
type scope struct {
	namespace string
	driver    commonpb.ContainerDriver
}

func scopeOf(kubernetes bool) scope {
	if kubernetes {
		return scope{"k8s.io", commonpb.ContainerDriver_CRI}
	}
	return scope{"system", commonpb.ContainerDriver_CONTAINERD}
}

func containersCommand(env command.Env) *cobra.Command {
	var kubernetes bool
	cmd := &cobra.Command{
		Use:               "containers",
		Aliases:           []string{"c"},
		Short:             "List the containers of machines",
		Example:           "  talosctl -n 10.5.0.2 containers\n  talosctl -n 10.5.0.2 containers -k",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&kubernetes, "kubernetes", "k", false, "list those of Kubernetes: pods with their containers")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sc := scopeOf(kubernetes)
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "NAMESPACE", "ID", "IMAGE", "PID", "STATUS")
			for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Container, error) {
				return client.Only(c.Machine().Containers(ctx, &machinepb.ContainersRequest{Namespace: sc.namespace, Driver: sc.driver}))
			}) {
				list := r.Value.GetContainers()
				slices.SortFunc(list, func(a, b *machinepb.ContainerInfo) int {
					return cmp.Or(cmp.Compare(a.GetPodId(), b.GetPodId()), podFirst(a, b), cmp.Compare(a.GetId(), b.GetId()))
				})
				for _, c := range list {
					t.Row(r.Node, c.GetNamespace(), indented(c.GetId(), c.GetPodId()), c.GetImage(), c.GetPid(), c.GetStatus())
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

// podFirst puts a pod's own container (its sandbox) before the others of the pod.
func podFirst(a, b *machinepb.ContainerInfo) int {
	switch {
	case a.GetId() == b.GetId():
		return 0
	case a.GetId() == a.GetPodId():
		return -1
	case b.GetId() == b.GetPodId():
		return 1
	}
	return 0
}

// indented draws the id of a pod's container below that of the pod.
func indented(id, pod string) string {
	if pod == "" || id == pod {
		return id
	}
	return "└─ " + id
}

func statsCommand(env command.Env) *cobra.Command {
	var kubernetes bool
	cmd := &cobra.Command{
		Use:               "stats",
		Short:             "Show the memory and CPU time of containers",
		Example:           "  talosctl -n 10.5.0.2 stats\n  talosctl -n 10.5.0.2 stats -k",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&kubernetes, "kubernetes", "k", false, "show those of Kubernetes: pods with their containers")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sc := scopeOf(kubernetes)
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "NAMESPACE", "ID", "MEMORY(MB)", "CPU")
			for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Stats, error) {
				return client.Only(c.Machine().Stats(ctx, &machinepb.StatsRequest{Namespace: sc.namespace, Driver: sc.driver}))
			}) {
				list := r.Value.GetStats()
				slices.SortFunc(list, func(a, b *machinepb.Stat) int {
					return cmp.Or(cmp.Compare(a.GetPodId(), b.GetPodId()), cmp.Compare(a.GetId(), b.GetId()))
				})
				for _, c := range list {
					t.Row(r.Node, c.GetNamespace(), indented(c.GetId(), c.GetPodId()), fmt.Sprintf("%.2f", float64(c.GetMemoryUsage())*1e-6), c.GetCpuUsage())
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}
