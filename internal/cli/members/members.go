// Package members has the commands about who belongs to a cluster, and the removal of a machine, which 'talosctl cluster forget'
// needs too.
package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/membershippb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// idle is how long a removal may take beyond the drain.
const idle = 2 * time.Minute

// Request says which machine is to be forgotten, and how.
type Request struct {
	Member string // the id of a member, a host name, a node id or an address
	Force  bool   // though it seems to run; steps that fail are passed over
	// Drain is how long its pods may take to go somewhere else; none if it is not positive.
	Drain time.Duration
}

// Limit is how long a removal may take.
func Limit(r Request) time.Duration { return idle + max(r.Drain, 0) }

// Forget takes a machine out of its cluster: out of etcd, Kubernetes and the members. c and ctx lead to a control-plane node. say is
// told what was done, step by step. After an error the request can be made again.
func Forget(ctx context.Context, c *client.Client, r Request, say func(*membershippb.ForgetProgress) error) error {
	stream, err := open(ctx, c, r)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := say(m); err != nil {
			return err
		}
	}
}

func open(ctx context.Context, c *client.Client, r Request) (grpc.ServerStreamingClient[membershippb.ForgetProgress], error) {
	drain := r.Drain
	if drain <= 0 {
		drain = -time.Second
	}
	return c.Membership().Forget(ctx, &membershippb.ForgetRequest{Member: r.Member, Force: r.Force, DrainTimeout: durationpb.New(drain)})
}

// New returns the command.
func New(env command.Env) *cobra.Command {
	return command.Group("members", "Look after the members of a cluster", removeCommand(env))
}

func removeCommand(env command.Env) *cobra.Command {
	var r Request
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a machine that is gone out of its cluster",
		Long: "Takes a machine that is gone out of its cluster, everywhere at once: out of etcd, if it was a member and the others\n" +
			"have a quorum without it, out of Kubernetes, and out of the members. NODE is its name, its address or its ID. A machine\n" +
			"of the control plane is asked to do it.\n\n" +
			"It is refused while the machine runs. One that runs leaves by itself with 'talosctl reset'.",
		Example:           "  talosctl -n 10.5.0.2 members remove worker-3\n  talosctl -n 10.5.0.2 members remove 10.5.0.7 --drain-timeout 5m",
		Args:              command.ExactArgs("NODE"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&r.Force, "force", false, "remove it though it seems to run, and pass over steps that fail")
	cmd.Flags().DurationVar(&r.Drain, "drain-timeout", time.Minute, "how long its pods may take to go somewhere else; 0 does not wait for them")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.Member = args[0]
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
			for m, err := range nodes.StreamOne(ctx, s, node, Limit(r), func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[membershippb.ForgetProgress], error) {
				return open(ctx, c, r)
			}) {
				if err != nil {
					return err
				}
				if err := Print(env, m); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintf(env.Stdout, "%s is forgotten\n", nodes.Clean(r.Member))
			return err
		})
	}
	return cmd
}

// Print tells a person of a step.
func Print(env command.Env, m *membershippb.ForgetProgress) error {
	failed := ""
	if m.GetFailed() {
		failed = "passed over: "
	}
	_, err := fmt.Fprintf(env.Stdout, "%-10s  %s%s\n", nodes.Clean(cmp.Or(m.GetStep(), "?")), failed, nodes.Clean(m.GetMessage()))
	return err
}
