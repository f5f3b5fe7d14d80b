package contexts

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"talos.internal/client/talosconfig"
	"talos.internal/config/scalar"
	"talos.internal/internal/cli/command"
)

func contextCommand(f *file) *cobra.Command {
	return &cobra.Command{
		Use:               "context NAME",
		Aliases:           []string{"use-context"},
		Short:             "Choose the current context",
		Example:           "  talosctl config context lab",
		Args:              command.ExactArgs("NAME"),
		ValidArgsFunction: f.completeOneName,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := f.open()
			if err != nil {
				return err
			}
			if args[0] == "" {
				return f.explain(fmt.Errorf("%w: %q", talosconfig.ErrNoContext, ""))
			}
			if c.Context, _, err = c.Lookup(args[0]); err != nil {
				return f.explain(err)
			}
			if err := f.save(c); err != nil {
				return err
			}
			f.env.Warn("the current context is %s", c.Context)
			return nil
		},
	}
}

func contextsCommand(f *file) *cobra.Command {
	return &cobra.Command{
		Use:               "contexts",
		Aliases:           []string{"get-contexts"},
		Short:             "List the contexts",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			c, err := f.open()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(f.env.Stdout, 0, 0, 3, ' ', 0)
			fmt.Fprintln(w, "CURRENT\tNAME\tENDPOINTS\tNODES")
			for _, name := range c.Names() {
				mark, context := "", c.Contexts[name]
				if name == c.Context {
					mark = "*"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, name, strings.Join(context.Endpoints, ","), strings.Join(context.Nodes, ","))
			}
			return w.Flush()
		},
	}
}

func endpointCommand(f *file) *cobra.Command {
	var context string
	cmd := &cobra.Command{
		Use:     "endpoint ADDRESS...",
		Aliases: []string{"endpoints"},
		Short:   "Set where a cluster is reached: the addresses of control-plane nodes, or a load balancer's",
		Example: "  talosctl config endpoint 10.5.0.2 10.5.0.3 10.5.0.4\n" +
			"  talosctl config endpoint lab.example.com:50000",
		Args:              command.AtLeast("ADDRESS"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkAddresses(cmd, "ADDRESS", args, isEndpoint); err != nil {
				return err
			}
			return f.change(context, func(name string, c *talosconfig.Context) string {
				was := c.Endpoints
				c.Endpoints = args
				return told("endpoints", name, args, was)
			})
		},
	}
	f.contextFlag(cmd, &context)
	return cmd
}

func nodeCommand(f *file) *cobra.Command {
	var context string
	cmd := &cobra.Command{
		Use:     "node [ADDRESS...]",
		Aliases: []string{"nodes"},
		Short:   "Set which machines commands are for, unless they are told otherwise",
		Long: "Sets which machines commands are for, unless they are told otherwise by --nodes. Without an ADDRESS there are\n" +
			"none afterwards: every command has to be told. To see them, use 'talosctl config info'.",
		Example:           "  talosctl config node 10.5.0.2 10.5.0.5",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkAddresses(cmd, "ADDRESS", args, isNode); err != nil {
				return err
			}
			return f.change(context, func(name string, c *talosconfig.Context) string {
				was := c.Nodes
				c.Nodes = args
				return told("nodes", name, args, was)
			})
		},
	}
	f.contextFlag(cmd, &context)
	return cmd
}

func proxyCommand(f *file) *cobra.Command {
	var context string
	cmd := &cobra.Command{
		Use:   "proxy-url URL",
		Short: "Set the proxy through which a cluster is reached",
		Long:  "Sets the proxy through which a cluster is reached. An empty URL removes it.",
		Example: "  talosctl config proxy-url http://proxy.example.com:3128\n" +
			"  talosctl config proxy-url ''",
		Args:              command.ExactArgs("URL"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := url.Parse(args[0])
			if args[0] != "" && (err != nil || u.Host == "" || u.Scheme == "") {
				return command.Usagef(cmd, "expected URL to be one such as http://proxy.example.com:3128, got %q", args[0])
			}
			return f.change(context, func(name string, c *talosconfig.Context) string {
				var was []string
				if c.ProxyURL != "" {
					was = []string{c.ProxyURL}
				}
				c.ProxyURL = args[0]
				return told("proxy", name, strings.Fields(args[0]), was)
			})
		},
	}
	f.contextFlag(cmd, &context)
	return cmd
}

// told says what something of a context is now, and what it was.
func told(what, context string, now, was []string) string {
	text := fmt.Sprintf("%s of %s: %s", what, context, orNone(now))
	if len(was) > 0 {
		text += fmt.Sprintf(" (before: %s)", orNone(was))
	}
	return text
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// checkAddresses reports arguments that are no addresses: commas between them are the usual reason.
func checkAddresses(cmd *cobra.Command, what string, texts []string, good func(string) bool) error {
	for _, text := range texts {
		switch {
		case good(text):
		case strings.ContainsAny(text, ", "):
			return command.Usagef(cmd, "expected %s to be an address or a name, got %q; put each into an argument of its own", what, text)
		default:
			return command.Usagef(cmd, "expected %s to be an address or a name, got %q", what, text)
		}
	}
	return nil
}

// isNode reports whether s is an address or a host's name.
func isNode(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || scalar.ValidHostname(s)
}

// isEndpoint reports whether s is what a client can connect to: a node, also with a port, or a URL.
func isEndpoint(s string) bool {
	if isNode(s) {
		return true
	}
	if u, err := url.Parse(s); err == nil && u.Scheme != "" && u.Host != "" {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isNode(host) {
		return false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return err == nil && number > 0
}
