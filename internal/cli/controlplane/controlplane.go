// Package controlplane has the commands about what makes machines a cluster: the start of etcd and its care, and the
// kubeconfig of an administrator.
package controlplane

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// New returns the commands.
func New(env command.Env) []*cobra.Command {
	return []*cobra.Command{bootstrapCommand(env), etcdCommand(env), kubeconfigCommand(env)}
}

func bootstrapCommand(env command.Env) *cobra.Command {
	var (
		from string
		skip bool
	)
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Make the first member of etcd, which begins a cluster",
		Long: "Makes the first member of etcd, on one machine of the control plane, once in the life of a cluster. The others join\n" +
			"by themselves. With --recover-from etcd begins with what a snapshot has, which is how a cluster is restored.",
		Example:           "  talosctl -n 10.5.0.2 bootstrap\n  talosctl -n 10.5.0.2 bootstrap --recover-from etcd.snapshot",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&from, "recover-from", "", "a snapshot of etcd to begin with")
	cmd.Flags().BoolVar(&skip, "recover-skip-hash-check", false, "take a snapshot without a checksum: a copy of etcd's file, and no answer of 'etcd snapshot'")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if skip && from == "" {
			return command.Usagef(cmd, "--recover-skip-hash-check is of use only together with --recover-from")
		}
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
			for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Bootstrap, error) {
				if from != "" {
					if err := upload(ctx, c, from); err != nil {
						return nil, err
					}
				}
				return client.Only(c.Machine().Bootstrap(ctx, &machinepb.BootstrapRequest{RecoverEtcd: from != "", RecoverSkipHashCheck: skip}))
			}) {
				if _, err := fmt.Fprintf(env.Stdout, "%s: etcd was told to begin; 'talosctl -n %s service etcd' shows how it does\n", r.Node, r.Node); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// chunk is how much of a file is sent at once.
const chunk = 32 << 10

// upload sends a snapshot of etcd to a node.
func upload(ctx context.Context, c *client.Client, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	stream, err := c.Machine().EtcdRecover(ctx)
	if err != nil {
		return fmt.Errorf("send the snapshot: %w", err)
	}
	_, err = io.CopyBuffer(sender{stream}, struct{ io.Reader }{in}, make([]byte, chunk))
	if err != nil && err != io.EOF { //nolint:errorlint // a stream that the server has ended returns io.EOF as it is, and its reason below
		return fmt.Errorf("send the snapshot: %w", err)
	}
	if _, err := client.Only(stream.CloseAndRecv()); err != nil {
		return fmt.Errorf("send the snapshot: %w", err)
	}
	return nil
}

// sender writes to a stream of a client.
type sender struct {
	stream grpc.ClientStreamingClient[commonpb.Data, machinepb.EtcdRecoverResponse]
}

func (s sender) Write(p []byte) (int, error) {
	if err := s.stream.Send(&commonpb.Data{Bytes: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}
