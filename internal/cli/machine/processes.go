package machine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// refresh is how often a live table of processes is drawn.
const refresh = time.Second

// clearScreen moves to the top left and erases all below (ECMA-48 CUP and ED).
const clearScreen = "\x1b[H\x1b[J"

func processesCommand(env command.Env) *cobra.Command {
	var (
		order string
		watch bool
	)
	cmd := &cobra.Command{
		Use:               "processes",
		Aliases:           []string{"p", "ps"},
		Short:             "List the processes of machines",
		Example:           "  talosctl -n 10.5.0.2 processes --sort cpu\n  talosctl -n 10.5.0.2 processes --watch",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&order, "sort", "s", "rss", "what the processes are sorted by: rss (memory) or cpu")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "draw the list anew every second, until it is interrupted")
	command.Complete(cmd, "sort", cobra.FixedCompletions([]string{"rss", "cpu"}, cobra.ShellCompDirectiveNoFileComp))
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		by := map[string]func(a, b *machinepb.ProcessInfo) int{
			"rss": func(a, b *machinepb.ProcessInfo) int {
				return cmp.Compare(b.GetResidentMemory(), a.GetResidentMemory())
			},
			"cpu": func(a, b *machinepb.ProcessInfo) int { return cmp.Compare(b.GetCpuTime(), a.GetCpuTime()) },
		}[order]
		if by == nil {
			return command.Usagef(cmd, "expected --sort to be rss or cpu, got %q", order)
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			if !watch {
				return listProcesses(ctx, s, by).Write(env.Stdout)
			}
			return watchProcesses(ctx, s, by)
		})
	}
	return cmd
}

func listProcesses(ctx context.Context, s *nodes.Session, by func(a, b *machinepb.ProcessInfo) int) *nodes.Table {
	t := nodes.NewTable("NODE", "PID", "STATE", "THREADS", "CPU-TIME", "VIRTMEM", "RESMEM", "LABEL", "COMMAND")
	for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Process, error) {
		return client.Only(c.Machine().Processes(ctx, &emptypb.Empty{}))
	}) {
		list := r.Value.GetProcesses()
		slices.SortFunc(list, func(a, b *machinepb.ProcessInfo) int {
			return cmp.Or(by(a, b), cmp.Compare(a.GetPid(), b.GetPid()))
		})
		for _, p := range list {
			// A thread of the kernel has no arguments, a process that renamed itself has no other name.
			t.Row(r.Node, p.GetPid(), p.GetState(), p.GetThreads(), fmt.Sprintf("%.2f", p.GetCpuTime()), nodes.Bytes(p.GetVirtualMemory()),
				nodes.Bytes(p.GetResidentMemory()), p.GetLabel(), cmp.Or(p.GetArgs(), p.GetExecutable(), p.GetCommand()))
		}
	}
	return t
}

// watchProcesses draws the list until ctx ends or no node answers any more.
func watchProcesses(ctx context.Context, s *nodes.Session, by func(a, b *machinepb.ProcessInfo) int) error {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		t := listProcesses(ctx, s, by)
		if ctx.Err() != nil || s.Err() != nil {
			return nil // what failed has been printed, and would be overwritten by the next screen
		}
		var screen bytes.Buffer
		screen.WriteString(clearScreen)
		if err := t.Write(&screen); err != nil {
			return err
		}
		if _, err := io.Copy(s.Env().Stdout, &screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
