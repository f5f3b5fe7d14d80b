package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

func etcdCommand(env command.Env) *cobra.Command {
	alarm := command.Group("alarm", "Look at the alarms of etcd, or take them back", alarmListCommand(env), alarmDisarmCommand(env))
	downgrade := command.Group("downgrade", "Prepare etcd for an older version", downgradeCommands(env)...)
	return command.Group("etcd", "Look after etcd",
		alarm,
		defragCommand(env),
		downgrade,
		forfeitCommand(env),
		leaveCommand(env),
		membersCommand(env),
		removeMemberCommand(env),
		snapshotCommand(env),
		etcdStatusCommand(env),
	)
}

// plain returns a command of etcd without arguments and flags of its own.
func plain(env command.Env, use, short string, run func(ctx context.Context, s *nodes.Session) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions}
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.Run(cmd, run) }
	return cmd
}

// member is the id of a member of etcd as people write it.
func member(id uint64) string { return fmt.Sprintf("%016x", id) }

func membersCommand(env command.Env) *cobra.Command {
	return plain(env, "members", "List the members of etcd", func(ctx context.Context, s *nodes.Session) error {
		t := nodes.NewTable("NODE", "ID", "HOSTNAME", "PEER URLS", "CLIENT URLS", "LEARNER")
		for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.EtcdMembers, error) {
			return client.Only(c.Machine().EtcdMemberList(ctx, &machinepb.EtcdMemberListRequest{QueryLocal: true}))
		}) {
			list := r.Value.GetMembers()
			slices.SortFunc(list, func(a, b *machinepb.EtcdMember) int { return cmp.Compare(a.GetId(), b.GetId()) })
			for _, m := range list {
				t.Row(r.Node, member(m.GetId()), m.GetHostname(), strings.Join(m.GetPeerUrls(), ","), strings.Join(m.GetClientUrls(), ","), m.GetIsLearner())
			}
		}
		return t.Write(s.Env().Stdout)
	})
}

func etcdStatusCommand(env command.Env) *cobra.Command {
	return plain(env, "status", "Show how the members of etcd do", func(ctx context.Context, s *nodes.Session) error {
		t := nodes.NewTable("NODE", "MEMBER", "DB SIZE", "IN USE", "LEADER", "RAFT INDEX", "RAFT TERM", "RAFT APPLIED INDEX", "LEARNER", "PROTOCOL", "STORAGE", "ERRORS")
		for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.EtcdStatus, error) {
			return client.Only(c.Machine().EtcdStatus(ctx, &emptypb.Empty{}))
		}) {
			m := r.Value.GetMemberStatus()
			size, used := uint64(max(m.GetDbSize(), 0)), uint64(max(m.GetDbSizeInUse(), 0))
			share := "0.00%"
			if size > 0 {
				share = fmt.Sprintf("%.2f%%", float64(used)/float64(size)*100)
			}
			t.Row(r.Node, member(m.GetMemberId()), nodes.Bytes(size), nodes.Bytes(used)+" ("+share+")", member(m.GetLeader()), m.GetRaftIndex(), m.GetRaftTerm(),
				m.GetRaftAppliedIndex(), m.GetIsLearner(), m.GetProtocolVersion(), m.GetStorageVersion(), strings.Join(m.GetErrors(), ", "))
		}
		return t.Write(s.Env().Stdout)
	})
}

// writeAlarms prints the alarms that nodes know of.
func writeAlarms(s *nodes.Session, answers []client.Result[[]*machinepb.EtcdMemberAlarm]) error {
	t := nodes.NewTable("NODE", "MEMBER", "ALARM")
	for _, r := range answers {
		for _, a := range r.Value {
			t.Row(r.Node, member(a.GetMemberId()), a.GetAlarm())
		}
	}
	return t.Write(s.Env().Stdout)
}

func alarmListCommand(env command.Env) *cobra.Command {
	return plain(env, "list", "List the alarms of etcd", func(ctx context.Context, s *nodes.Session) error {
		return writeAlarms(s, nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]*machinepb.EtcdMemberAlarm, error) {
			r, err := client.Only(c.Machine().EtcdAlarmList(ctx, &emptypb.Empty{}))
			return r.GetMemberAlarms(), err
		}))
	})
}

func alarmDisarmCommand(env command.Env) *cobra.Command {
	return plain(env, "disarm", "Take back the alarms of etcd, and list them", func(ctx context.Context, s *nodes.Session) error {
		return writeAlarms(s, nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]*machinepb.EtcdMemberAlarm, error) {
			r, err := client.Only(c.Machine().EtcdAlarmDisarm(ctx, &emptypb.Empty{}))
			return r.GetMemberAlarms(), err
		}))
	})
}

// defragCommand works on one node after the other: a member that defragments does not answer meanwhile, and if all of them
// did it at once so would the cluster.
func defragCommand(env command.Env) *cobra.Command {
	return plain(env, "defrag", "Give back the space that etcd does not use, one machine after the other", func(ctx context.Context, s *nodes.Session) error {
		for _, node := range s.Nodes() {
			_, err := nodes.One(ctx, s, node, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (*machinepb.EtcdDefragment, error) {
				return client.Only(c.Machine().EtcdDefragment(ctx, &emptypb.Empty{}))
			})
			if err != nil {
				s.Fail(node, err)
				return nil // the reason may well hold for the others, which are still well
			}
			if _, err := fmt.Fprintf(s.Env().Stdout, "%s: defragmented\n", node); err != nil {
				return err
			}
		}
		return nil
	})
}

func leaveCommand(env command.Env) *cobra.Command {
	cmd := plain(env, "leave", "Take a machine's member out of etcd", func(ctx context.Context, s *nodes.Session) error {
		return confirm(ctx, s, "left etcd", func(ctx context.Context, c *client.Client) error {
			_, err := client.Only(c.Machine().EtcdLeaveCluster(ctx, &machinepb.EtcdLeaveClusterRequest{}))
			return err
		})
	})
	cmd.Long = "Takes a machine's member out of etcd and erases its data. The machine has to be reset afterwards."
	return cmd
}

func forfeitCommand(env command.Env) *cobra.Command {
	return plain(env, "forfeit-leadership", "Make another member the leader of etcd", func(ctx context.Context, s *nodes.Session) error {
		t := nodes.NewTable("NODE", "NEW LEADER")
		for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.EtcdForfeitLeadership, error) {
			return client.Only(c.Machine().EtcdForfeitLeadership(ctx, &machinepb.EtcdForfeitLeadershipRequest{}))
		}) {
			t.Row(r.Node, cmp.Or(r.Value.GetMember(), "unchanged: it was not the leader"))
		}
		return t.Write(s.Env().Stdout)
	})
}

// confirm makes a call on each node and prints that it is done.
func confirm(ctx context.Context, s *nodes.Session, done string, do func(ctx context.Context, c *client.Client) error) error {
	for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (string, error) {
		return done, do(ctx, c)
	}) {
		if _, err := fmt.Fprintf(s.Env().Stdout, "%s: %s\n", r.Node, r.Value); err != nil {
			return err
		}
	}
	return nil
}

func removeMemberCommand(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "remove-member ID",
		Short:             "Take a member out of etcd whose machine is lost",
		Long:              "Takes a member out of etcd, from another machine of the control plane. 'talosctl etcd members' shows the ID.",
		Example:           "  talosctl -n 10.5.0.2 etcd remove-member 1f34c02b0b9d1b26",
		Args:              command.ExactArgs("ID"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseUint(strings.TrimPrefix(args[0], "0x"), 16, 64)
		if err != nil {
			return command.Usagef(cmd, "expected ID to be up to 16 hexadecimal digits, as 'talosctl etcd members' shows it, got %q", args[0])
		}
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, _ string) error {
			return confirm(ctx, s, "member "+member(id)+" removed", func(ctx context.Context, c *client.Client) error {
				_, err := client.Only(c.Machine().EtcdRemoveMemberByID(ctx, &machinepb.EtcdRemoveMemberByIDRequest{MemberId: id}))
				return err
			})
		})
	}
	return cmd
}

func downgradeCommands(env command.Env) []*cobra.Command {
	write := func(s *nodes.Session, answers []client.Result[*machinepb.EtcdClusterDowngrade], format string) error {
		t := nodes.NewTable("NODE", "MESSAGE")
		for _, r := range answers {
			t.Row(r.Node, fmt.Sprintf(format, r.Value.GetClusterVersion()))
		}
		return t.Write(s.Env().Stdout)
	}
	versioned := func(use, short, message string, ask func(ctx context.Context, c *client.Client, version string) (*machinepb.EtcdClusterDowngrade, error)) *cobra.Command {
		cmd := &cobra.Command{
			Use: use + " VERSION", Short: short, Args: command.ExactArgs("VERSION"), ValidArgsFunction: cobra.NoFileCompletions,
			Example: "  talosctl -n 10.5.0.2 etcd downgrade " + use + " 3.6",
		}
		f := nodes.Bind(cmd, env)
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
				return write(s, nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.EtcdClusterDowngrade, error) {
					return ask(ctx, c, args[0])
				}), message)
			})
		}
		return cmd
	}
	return []*cobra.Command{
		plain(env, "cancel", "Go on with the version that there is", func(ctx context.Context, s *nodes.Session) error {
			return write(s, nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.EtcdClusterDowngrade, error) {
				r, err := client.Only(c.Machine().EtcdDowngradeCancel(ctx, &emptypb.Empty{}))
				return r.GetClusterDowngrade(), err
			}), "downgrade cancelled, the cluster's version is %s")
		}),
		versioned("enable", "Begin to go back to an older version", "downgrade begun, the cluster's version is %s",
			func(ctx context.Context, c *client.Client, version string) (*machinepb.EtcdClusterDowngrade, error) {
				r, err := client.Only(c.Machine().EtcdDowngradeEnable(ctx, &machinepb.EtcdDowngradeEnableRequest{Version: version}))
				return r.GetClusterDowngrade(), err
			}),
		versioned("validate", "Check whether etcd can go back to an older version", "downgrade is possible, the cluster's version is %s",
			func(ctx context.Context, c *client.Client, version string) (*machinepb.EtcdClusterDowngrade, error) {
				r, err := client.Only(c.Machine().EtcdDowngradeValidate(ctx, &machinepb.EtcdDowngradeValidateRequest{Version: version}))
				return r.GetClusterDowngrade(), err
			}),
	}
}

func snapshotCommand(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot PATH",
		Short:   "Save the content of etcd in a file",
		Long:    "Saves the content of etcd in a file, from which 'talosctl bootstrap --recover-from' restores a cluster. The file is\nchecked before it gets its name.",
		Example: "  talosctl -n 10.5.0.2 etcd snapshot etcd.snapshot",
		Args:    command.ExactArgs("PATH"),
	}
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
			sum, err := saveSnapshot(ctx, s, node, args[0])
			if err != nil {
				return fmt.Errorf("snapshot of etcd on %s: %w", node, err)
			}
			_, err = fmt.Fprintf(env.Stdout, "etcd snapshot saved to %q (%d bytes)\nsnapshot info: hash %08x, revision %d, total keys %d, total size %d\n",
				args[0], sum.fileSize, sum.hash, sum.revision, sum.keys, sum.size)
			return err
		})
	}
	return cmd
}

// saveSnapshot writes and checks a snapshot beside the named file, and gives it the name at the end: a broken one never has
// it, and one that was there before stays.
func saveSnapshot(ctx context.Context, s *nodes.Session, node, name string) (sum summary, err error) {
	r := nodes.NewReader(ctx, s, node, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
		return c.Machine().EtcdSnapshot(ctx, &machinepb.EtcdSnapshotRequest{})
	})
	defer r.Close()
	part, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-*")
	if err != nil {
		return summary{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	_, err = part.ReadFrom(struct{ *nodes.Reader }{r})
	if err := errors.Join(err, part.Sync(), part.Close()); err != nil {
		return summary{}, err
	}
	if sum, err = summarize(part.Name()); err != nil {
		return summary{}, err
	}
	return sum, os.Rename(part.Name(), name)
}
