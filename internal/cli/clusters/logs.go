package clusters

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/provision"
)

func logsCommand(b *base) *cobra.Command {
	var o provision.LogOptions
	cmd := &cobra.Command{
		Use:   "logs [NODE...]",
		Short: "Print what the machines of a cluster have written to their consoles",
		Long: "Prints the consoles of machines, or of all of them, with the machine's name before each line if it is more than one.\n" +
			"This works without their API.",
		Example:           "  talosctl cluster logs talos-default-worker-1 --tail 100\n  talosctl cluster logs -f",
		ValidArgsFunction: b.completeNodes,
	}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on with what is written, until it is interrupted")
	cmd.Flags().IntVar(&o.Tail, "tail", 0, "only so many of the last lines; 0 for all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.Tail < 0 {
			return command.Usagef(cmd, "expected --tail to be 0 or more, got %d", o.Tail)
		}
		p, _, err := b.provisioner(cmd)
		if err != nil {
			return err
		}
		c, err := p.Reflect(cmd.Context(), b.name)
		if err != nil {
			return err
		}
		chosen := c.Nodes
		if len(args) > 0 {
			chosen = nil
			for _, name := range args {
				n, err := pick(c, name)
				if err != nil {
					return err
				}
				chosen = append(chosen, n)
			}
		}
		return copyLogs(cmd.Context(), b.env.Stdout, p, b.name, chosen, o)
	}
	return cmd
}

// copyLogs copies the logs of nodes: of one as it is, of several line by line.
func copyLogs(ctx context.Context, w io.Writer, p provision.Provisioner, cluster string, from []provision.Node, o provision.LogOptions) error {
	if len(from) == 1 {
		return p.Logs(ctx, cluster, from[0].Name, o, w)
	}
	lines := &lineWriter{lines: nodes.NewLines(w)}
	errs := make([]error, len(from))
	var names []string
	var running sync.WaitGroup
	for i, n := range from {
		names = append(names, n.Name)
		one := func() { errs[i] = p.Logs(ctx, cluster, n.Name, o, nodeWriter{lines, n.Name}) }
		if o.Follow {
			running.Go(one)
		} else {
			one() // one after the other, so that each is whole
		}
	}
	running.Wait()
	return errors.Join(append(errs, lines.lines.Flush(names))...)
}

// lineWriter writes the lines of several nodes.
type lineWriter struct {
	mu    sync.Mutex
	lines *nodes.Lines
}

// nodeWriter writes for one node.
type nodeWriter struct {
	to   *lineWriter
	node string
}

func (w nodeWriter) Write(data []byte) (int, error) {
	w.to.mu.Lock()
	defer w.to.mu.Unlock()
	if err := w.to.lines.Write(w.node, data); err != nil {
		return 0, err
	}
	return len(data), nil
}
