// Package power has the commands that end what a machine does: reboot, shutdown, reset, upgrade and rollback. They wait until it is
// done, and tell what the machine does meanwhile.
package power

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// New returns the commands.
func New(env command.Env) []*cobra.Command {
	return []*cobra.Command{rebootCommand(env), resetCommand(env), rollbackCommand(env), shutdownCommand(env), upgradeCommand(env)}
}

// waiting says whether and how to wait.
type waiting struct {
	wait, debug bool
	timeout     time.Duration
	drain       time.Duration // of the node's pods before it goes; zero for none
}

func (w *waiting) bind(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&w.wait, "wait", true, "wait until it is done, and tell what the machine does")
	fl.BoolVar(&w.debug, "debug", false, "print the kernel's log meanwhile")
	fl.DurationVar(&w.timeout, "timeout", 30*time.Minute, "how long to wait")
}

func (w *waiting) check(cmd *cobra.Command) error {
	if w.timeout <= 0 {
		return command.Usagef(cmd, "expected --timeout to be more than zero, got %s", w.timeout)
	}
	return nil
}

// run asks every node and, if it is to wait, follows each until end is reached.
func (w *waiting) run(cmd *cobra.Command, f *nodes.Flags, end ending, ask func(ctx context.Context, c *client.Client) (actor string, err error)) error {
	if err := w.check(cmd); err != nil {
		return err
	}
	return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
		if w.wait {
			return follow(ctx, s, end, w, ask)
		}
		for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) { return ask(ctx, c) }) {
			if _, err := fmt.Fprintf(s.Env().Stdout, "%s: begun%s\n", r.Node, actorText(r.Value)); err != nil {
				return err
			}
		}
		return nil
	})
}

func actorText(actor string) string {
	if actor == "" {
		return ""
	}
	return "; 'talosctl events --actor-id " + actor + "' tells of it"
}

func rebootCommand(env command.Env) *cobra.Command {
	var (
		w     waiting
		mode  string
		drain bool
		limit time.Duration
	)
	modes := map[string]machinepb.RebootRequest_Mode{
		"default": machinepb.RebootRequest_DEFAULT, "powercycle": machinepb.RebootRequest_POWERCYCLE, "force": machinepb.RebootRequest_FORCE,
	}
	names := []string{"default", "powercycle", "force"}
	cmd := &cobra.Command{
		Use:   "reboot",
		Short: "Reboot machines",
		Long: "Reboots machines and waits until they are back. With --drain the Node of a machine takes no new pods before, those\n" +
			"that it has are evicted, as budgets for disruptions allow, and it takes pods again when it is back. A machine whose\n" +
			"pods do not go in time is not rebooted.",
		Example:           "  talosctl -n 10.5.0.2 reboot --drain\n  talosctl -n 10.5.0.2 reboot --mode powercycle --timeout 10m",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&mode, "mode", "m", "default", "default; powercycle goes through the firmware; force does not stop what runs first")
	cmd.Flags().BoolVar(&drain, "drain", false, "have the pods of the Kubernetes node go elsewhere first")
	cmd.Flags().DurationVar(&limit, "drain-timeout", 5*time.Minute, "how long the pods may take to go")
	command.Complete(cmd, "mode", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	w.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case !slices.Contains(names, mode):
			return command.Usagef(cmd, "expected --mode to be one of %s, got %q", strings.Join(names, ", "), mode)
		case drain && limit <= 0:
			return command.Usagef(cmd, "expected --drain-timeout to be more than zero, got %s", limit)
		case drain && !w.wait:
			return command.Usagef(cmd, "--drain needs --wait: the node takes pods again when the machine is back")
		case drain:
			w.drain = limit
		}
		return w.run(cmd, f, backAgain, func(ctx context.Context, c *client.Client) (string, error) {
			r, err := client.Only(c.Machine().Reboot(ctx, &machinepb.RebootRequest{Mode: modes[mode]}))
			return r.GetActorId(), err
		})
	}
	return cmd
}

func shutdownCommand(env command.Env) *cobra.Command {
	var (
		w     waiting
		force bool
	)
	cmd := &cobra.Command{
		Use:               "shutdown",
		Short:             "Switch machines off",
		Example:           "  talosctl -n 10.5.0.2 shutdown",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&force, "force", false, "do not drain the Kubernetes node first")
	w.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return w.run(cmd, f, gone, func(ctx context.Context, c *client.Client) (string, error) {
			r, err := client.Only(c.Machine().Shutdown(ctx, &machinepb.ShutdownRequest{Force: force}))
			return r.GetActorId(), err
		})
	}
	return cmd
}

func resetCommand(env command.Env) *cobra.Command {
	var (
		w                waiting
		graceful, reboot bool
		labels, disks    []string
		mode             string
	)
	modes := map[string]machinepb.ResetRequest_WipeMode{
		"all": machinepb.ResetRequest_ALL, "system-disk": machinepb.ResetRequest_SYSTEM_DISK, "user-disks": machinepb.ResetRequest_USER_DISKS,
	}
	names := []string{"all", "system-disk", "user-disks"}
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Take machines out of the cluster and erase their disks",
		Long: "Takes machines out of the cluster, erases what they have on their disks, and switches them off, or with --reboot\n" +
			"starts them again. Without labels and disks everything is erased, the system too.",
		Example: "  talosctl -n 10.5.0.3 reset --reboot --system-labels-to-wipe STATE,EPHEMERAL",
		Args:    command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.BoolVar(&graceful, "graceful", true, "leave etcd and drain the Kubernetes node first")
	fl.BoolVar(&reboot, "reboot", false, "start again in place of switching off")
	fl.StringSliceVar(&labels, "system-labels-to-wipe", nil, "erase only these partitions of the system, such as STATE and EPHEMERAL")
	fl.StringSliceVar(&disks, "user-disks-to-wipe", nil, "erase these disks too")
	fl.StringVar(&mode, "wipe-mode", "all", "which disks to erase: all, system-disk or user-disks")
	command.Complete(cmd, "wipe-mode", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	w.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case !slices.Contains(names, mode):
			return command.Usagef(cmd, "expected --wipe-mode to be one of %s, got %q", strings.Join(names, ", "), mode)
		case mode == "user-disks" && len(labels) > 0:
			return command.Usagef(cmd, "--system-labels-to-wipe are of the system's disk, which --wipe-mode user-disks leaves alone")
		case mode == "system-disk" && len(disks) > 0:
			return command.Usagef(cmd, "--user-disks-to-wipe are no system's disk, which is all that --wipe-mode system-disk erases")
		}
		req := &machinepb.ResetRequest{Graceful: graceful, Reboot: reboot, UserDisksToWipe: disks, Mode: modes[mode]}
		for _, l := range labels {
			req.SystemPartitionsToWipe = append(req.SystemPartitionsToWipe, &machinepb.ResetPartitionSpec{Label: l, Wipe: true})
		}
		end := gone
		if reboot {
			end = backErased
		}
		return w.run(cmd, f, end, func(ctx context.Context, c *client.Client) (string, error) {
			r, err := client.Only(c.Machine().Reset(ctx, req))
			return r.GetActorId(), err
		})
	}
	return cmd
}

func rollbackCommand(env command.Env) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the system that was there before the last upgrade, and reboot",
		Long: "Has the system in the other place started, and waits until it has proved itself. If it does not, the machine goes back\n" +
			"to what runs now, and the command ends with the reason.",
		Example:           "  talosctl -n 10.5.0.2 rollback",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	w.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return w.run(cmd, f, backProved, func(ctx context.Context, c *client.Client) (string, error) {
			_, err := client.Only(c.Machine().Rollback(ctx, &machinepb.RollbackRequest{}))
			return "", err
		})
	}
	return cmd
}
