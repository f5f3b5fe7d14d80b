package clusters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
)

// wired is what provisioners can whose machines are joined by a switch of ours.
type wired interface {
	Switch(cluster string) (layer2.Client, error)
}

// orders returns the switch of the cluster.
func (b *base) orders(cmd *cobra.Command) (layer2.Client, error) {
	p, _, err := b.provisioner(cmd)
	if err != nil {
		return layer2.Client{}, err
	}
	w, ok := p.(wired)
	if !ok {
		return layer2.Client{}, fmt.Errorf("links of cluster %s: %w by the provisioner %s: only qemu has a switch", b.name, provision.ErrNotSupported, p.Name())
	}
	return w.Switch(b.name)
}

func linkCommand(b *base) *cobra.Command {
	return command.Group("link", "Lose, delay, cut and capture what the machines of a cluster send to each other",
		linkListCommand(b), linkSetCommand(b), linkClearCommand(b), linkCaptureCommand(b))
}

func linkListCommand(b *base) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the machines at the switch, and the rules for what they send",
		Example: "  talosctl cluster link list", Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := b.orders(cmd)
			if err != nil {
				return err
			}
			ports, err := c.Ports(cmd.Context())
			if err != nil {
				return err
			}
			rules, err := c.Rules(cmd.Context())
			if err != nil {
				return err
			}
			return showLinks(b.env.Stdout, ports, rules)
		},
	}
}

func showLinks(w io.Writer, ports []layer2.Port, rules []layer2.Rule) error {
	t := nodes.NewTable("PORT", "CONNECTED", "RECEIVED", "SENT", "LOST")
	for _, p := range ports {
		t.Row(p.Name, p.Connected, p.Received, p.Sent, p.Lost)
	}
	if err := t.Write(w); err != nil {
		return err
	}
	for i, r := range rules {
		if i == 0 {
			if _, err := fmt.Fprintln(w, "\nRULES:"); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w, nodes.Clean(r.String())); err != nil {
			return err
		}
	}
	return nil
}

func linkSetCommand(b *base) *cobra.Command {
	var (
		r      layer2.Rule
		oneWay bool
	)
	cmd := &cobra.Command{
		Use:   "set FROM TO",
		Short: "Say what happens to what one machine sends to another",
		Long: "Says what happens to frames between two machines, in both directions. '*' is every machine; 'gateway' is this computer's\n" +
			"way to the machines. The rule for a pair of machines holds alone; then that of the sender, of the receiver, of all.",
		Example: "  talosctl cluster link set talos-default-controlplane-1 talos-default-worker-1 --cut\n" +
			"  talosctl cluster link set '*' '*' --drop 0.05 --delay 20ms --jitter 5ms",
		Args: command.ExactArgs("FROM", "TO"), ValidArgsFunction: b.completeNodes,
	}
	fl := cmd.Flags()
	fl.BoolVar(&r.Cut, "cut", false, "lose all of it")
	fl.Float64Var(&r.Drop, "drop", 0, "the share that is lost, from 0 to 1")
	fl.DurationVar(&r.Delay, "delay", 0, "how late it comes")
	fl.DurationVar(&r.Jitter, "jitter", 0, "how much later it may come besides")
	fl.BoolVar(&oneWay, "one-way", false, "only from FROM to TO")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := r.Check(); err != nil {
			return command.Usagef(cmd, "%w", err)
		}
		c, err := b.orders(cmd)
		if err != nil {
			return err
		}
		return setLinks(cmd.Context(), c, r, args[0], args[1], oneWay)
	}
	return cmd
}

// setLinks sets the rules between two ports that are there, or all.
func setLinks(ctx context.Context, c layer2.Client, r layer2.Rule, from, to string, oneWay bool) error {
	ports, err := c.Ports(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{"*": true}
	var names []string
	for _, p := range ports {
		known[p.Name] = true
		names = append(names, p.Name)
	}
	for _, name := range []string{from, to} {
		if !known[name] {
			return fmt.Errorf("nothing at the switch is called %s; there are %v, and '*' for all", nodes.Clean(name), names)
		}
	}
	every := func(name string) string {
		if name == "*" {
			return ""
		}
		return name
	}
	there, back := r, r
	there.From, there.To = every(from), every(to)
	back.From, back.To = every(to), every(from)
	err = c.SetRule(ctx, there)
	if !oneWay && err == nil {
		err = c.SetRule(ctx, back)
	}
	return err
}

func linkClearCommand(b *base) *cobra.Command {
	return &cobra.Command{
		Use: "clear", Short: "Remove all rules: nothing is lost on purpose any more",
		Example: "  talosctl cluster link clear", Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := b.orders(cmd)
			if err != nil {
				return err
			}
			return c.ClearRules(cmd.Context())
		},
	}
}

func linkCaptureCommand(b *base) *cobra.Command {
	return &cobra.Command{
		Use:     "capture FILE",
		Short:   "Write what machines send into a file, until it is interrupted",
		Long:    "Writes each frame that a machine sends into a file for tcpdump and Wireshark, before a rule does something to it.",
		Example: "  talosctl cluster link capture lab.pcap",
		Args:    command.ExactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			c, err := b.orders(cmd)
			if err != nil {
				return err
			}
			if err := c.Capture(cmd.Context(), file); err != nil {
				return err
			}
			b.env.Warn("capturing into %s; end it by Ctrl-C", file)
			<-cmd.Context().Done()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), lookTime)
			defer cancel()
			if err := c.EndCapture(ctx); err != nil {
				return err
			}
			if cause := context.Cause(cmd.Context()); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		},
	}
}
