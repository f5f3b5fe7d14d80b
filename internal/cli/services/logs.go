package services

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// scope is where containers are looked for: those of the system, or those of Kubernetes.
func scope(kubernetes bool) (namespace string, driver commonpb.ContainerDriver) {
	if kubernetes {
		return "k8s.io", commonpb.ContainerDriver_CRI
	}
	return "system", commonpb.ContainerDriver_CONTAINERD
}

// idle is how long a stream of text may be silent.
func idle(follow bool) time.Duration {
	if follow {
		return 0
	}
	return nodes.Idle
}

func logsCommand(env command.Env) *cobra.Command {
	var (
		follow, kubernetes bool
		tail               int32
	)
	cmd := &cobra.Command{
		Use:     "logs ID",
		Short:   "Print the log of a service or a container",
		Example: "  talosctl -n 10.5.0.2 logs kubelet --follow --tail 20\n  talosctl -n 10.5.0.2 logs -k kube-system/coredns-0:coredns",
		Args:    command.ExactArgs("ID"),
	}
	fl := cmd.Flags()
	fl.BoolVarP(&follow, "follow", "f", false, "print what comes, until it is interrupted")
	fl.BoolVarP(&kubernetes, "kubernetes", "k", false, "the log is that of a container of Kubernetes")
	fl.Int32Var(&tail, "tail", -1, "how many of the last lines to print; -1 is all")
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nodes.Complete(cmd, f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
			r, err := client.Only(c.Machine().LogsContainers(ctx, &emptypb.Empty{}))
			return r.GetIds(), err
		})
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if tail < -1 {
			return command.Usagef(cmd, "expected --tail to be -1 or more, got %d", tail)
		}
		namespace, driver := scope(kubernetes)
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			return printText(ctx, s, idle(follow), func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
				return c.Machine().Logs(ctx, &machinepb.LogsRequest{Namespace: namespace, Driver: driver, Id: args[0], Follow: follow, TailLines: tail})
			})
		})
	}
	return cmd
}

func dmesgCommand(env command.Env) *cobra.Command {
	var follow, tail bool
	cmd := &cobra.Command{
		Use:               "dmesg",
		Short:             "Print the kernel's log",
		Example:           "  talosctl -n 10.5.0.2 dmesg\n  talosctl -n 10.5.0.2 dmesg --follow --tail",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print what comes, until it is interrupted")
	cmd.Flags().BoolVar(&tail, "tail", false, "print only what is new; of use together with --follow")
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			return printText(ctx, s, idle(follow), func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
				return c.Machine().Dmesg(ctx, &machinepb.DmesgRequest{Follow: follow, Tail: tail})
			})
		})
	}
	return cmd
}

// printText prints the text that comes from all nodes, line by line.
func printText(ctx context.Context, s *nodes.Session, idle time.Duration, open nodes.Open[commonpb.Data]) error {
	lines := nodes.NewLines(s.Env().Stdout)
	for node, data := range nodes.Stream(ctx, s, idle, open) {
		if err := lines.Write(node, data.GetBytes()); err != nil {
			return err
		}
	}
	return lines.Flush(s.Nodes())
}
