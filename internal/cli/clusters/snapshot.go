package clusters

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/provision"
)

// snapshots is what provisioners can that have machines whose memory can be kept.
type snapshots interface {
	Snapshot(ctx context.Context, cluster, name string, p provision.Progress) error
	Restore(ctx context.Context, cluster, name string, p provision.Progress) error
	Snapshots(cluster string) ([]string, error)
	RemoveSnapshot(ctx context.Context, cluster, name string) error
}

func snapshotCommand(b *base) *cobra.Command {
	return command.Group("snapshot", "Keep the machines of a cluster as they are, and put them back",
		b.snapshot("save", "NAME", "Keep all machines as they are, memory and disks; they go on",
			func(cmd *cobra.Command, s snapshots, args []string) error {
				return s.Snapshot(cmd.Context(), b.name, args[0], progress(b.log()))
			}),
		b.snapshot("restore", "NAME", "Put all machines back to a snapshot; what they are now is lost",
			func(cmd *cobra.Command, s snapshots, args []string) error {
				return s.Restore(cmd.Context(), b.name, args[0], progress(b.log()))
			}),
		b.snapshot("list", "", "List the snapshots of a cluster",
			func(_ *cobra.Command, s snapshots, _ []string) error {
				names, err := s.Snapshots(b.name)
				if err != nil {
					return err
				}
				for _, n := range names {
					if _, err := fmt.Fprintln(b.env.Stdout, n); err != nil {
						return err
					}
				}
				return nil
			}),
		b.snapshot("remove", "NAME", "Remove a snapshot",
			func(cmd *cobra.Command, s snapshots, args []string) error {
				return s.RemoveSnapshot(cmd.Context(), b.name, args[0])
			}),
	)
}

// snapshot is a command that works on snapshots. argument is the name of its argument, "" for none.
func (b *base) snapshot(verb, argument, short string, do func(cmd *cobra.Command, s snapshots, args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb, Short: short, Long: short + ". Only virtual machines can do this.",
		Example: "  talosctl cluster snapshot " + verb, Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	if argument != "" {
		cmd.Use += " " + argument
		cmd.Example += " before-upgrade"
		cmd.Args = command.ExactArgs(argument)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := b.provisioner(cmd)
		if err != nil {
			return err
		}
		s, ok := p.(snapshots)
		if !ok {
			return fmt.Errorf("snapshots of cluster %s: %w by the provisioner %s: only qemu has them", b.name, provision.ErrNotSupported, p.Name())
		}
		return do(cmd, s, args)
	}
	return cmd
}
