package machine

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// netstatFlags are the flags of netstat, with the letters of ss(8).
type netstatFlags struct {
	all, listening                bool
	tcp, udp, raw, udplite        bool
	ipv4, ipv6                    bool
	extend, programs, timer, pods bool
	verbose                       bool
}

func netstatCommand(env command.Env) *cobra.Command {
	var n netstatFlags
	cmd := &cobra.Command{
		Use:     "netstat",
		Aliases: []string{"ss"},
		Short:   "Show the network connections of machines",
		Long: "Shows connected sockets, with --listening those that wait for a connection, with --all both. Without flags for\n" +
			"protocols all of them are shown.",
		Example:           "  talosctl -n 10.5.0.2 netstat --listening --tcp --programs\n  talosctl -n 10.5.0.2 netstat -tua",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.BoolVarP(&n.all, "all", "a", false, "show listening and connected sockets")
	fl.BoolVarP(&n.listening, "listening", "l", false, "show listening sockets")
	fl.BoolVarP(&n.tcp, "tcp", "t", false, "show TCP")
	fl.BoolVarP(&n.udp, "udp", "u", false, "show UDP")
	fl.BoolVarP(&n.raw, "raw", "w", false, "show raw sockets")
	fl.BoolVarP(&n.udplite, "udplite", "U", false, "show UDP-Lite")
	fl.BoolVarP(&n.ipv4, "ipv4", "4", false, "show IPv4")
	fl.BoolVarP(&n.ipv6, "ipv6", "6", false, "show IPv6")
	fl.BoolVarP(&n.extend, "extend", "x", false, "add columns for the user and the inode")
	fl.BoolVarP(&n.programs, "programs", "p", false, "add a column for the process")
	fl.BoolVarP(&n.timer, "timers", "o", false, "add a column for the timer")
	fl.BoolVarP(&n.pods, "pods", "k", false, "show sockets of pods too, with a column for the network namespace")
	fl.BoolVarP(&n.verbose, "verbose", "v", false, "add all columns")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if n.all && n.listening {
			return command.Usagef(cmd, "expected --all or --listening, got both")
		}
		if n.verbose {
			n.extend, n.programs, n.timer = true, true, true
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable(n.headings()...)
			for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Netstat, error) {
				return client.Only(c.Machine().Netstat(ctx, n.request()))
			}) {
				list := r.Value.GetConnectrecord()
				slices.SortStableFunc(list, func(a, b *machinepb.ConnectRecord) int {
					return cmp.Or(cmp.Compare(a.GetNetns(), b.GetNetns()), cmp.Compare(a.GetL4Proto(), b.GetL4Proto()))
				})
				for _, c := range list {
					t.Row(n.row(r.Node, c)...)
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

// request asks for what the flags say. No protocol is all of them, and no family is both.
func (n netstatFlags) request() *machinepb.NetstatRequest {
	every := !n.tcp && !n.udp && !n.raw && !n.udplite
	v4, v6 := n.ipv4 || !n.ipv6, n.ipv6 || !n.ipv4
	filter := machinepb.NetstatRequest_CONNECTED
	switch {
	case n.all:
		filter = machinepb.NetstatRequest_ALL
	case n.listening:
		filter = machinepb.NetstatRequest_LISTENING
	}
	return &machinepb.NetstatRequest{
		Filter:  filter,
		Feature: &machinepb.NetstatRequest_Feature{Pid: n.programs},
		L4Proto: &machinepb.NetstatRequest_L4Proto{
			Tcp: (every || n.tcp) && v4, Tcp6: (every || n.tcp) && v6,
			Udp: (every || n.udp) && v4, Udp6: (every || n.udp) && v6,
			Udplite: (every || n.udplite) && v4, Udplite6: (every || n.udplite) && v6,
			Raw: (every || n.raw) && v4, Raw6: (every || n.raw) && v6,
		},
		Netns: &machinepb.NetstatRequest_NetNS{Hostnetwork: true, Allnetns: n.pods},
	}
}

func (n netstatFlags) headings() []string {
	h := []string{"NODE", "PROTO", "RECV-Q", "SEND-Q", "LOCAL ADDRESS", "FOREIGN ADDRESS", "STATE"}
	if n.extend {
		h = append(h, "USER", "INODE")
	}
	if n.programs {
		h = append(h, "PID/PROGRAM")
	}
	if n.pods {
		h = append(h, "NETNS")
	}
	if n.timer {
		h = append(h, "TIMER")
	}
	return h
}

func (n netstatFlags) row(node string, c *machinepb.ConnectRecord) []any {
	state := c.GetState().String()
	if c.GetState() == machinepb.ConnectRecord_RESERVED {
		state = "-"
	}
	row := []any{node, c.GetL4Proto(), c.GetRxqueue(), c.GetTxqueue(), address(c.GetLocalip(), c.GetLocalport()), address(c.GetRemoteip(), c.GetRemoteport()), state}
	if n.extend {
		row = append(row, c.GetUid(), c.GetInode())
	}
	if n.programs {
		program := "-"
		if p := c.GetProcess(); p.GetPid() != 0 {
			program = fmt.Sprintf("%d/%s", p.GetPid(), p.GetName())
		}
		row = append(row, program)
	}
	if n.pods {
		row = append(row, cmp.Or(c.GetNetns(), "-"))
	}
	if n.timer {
		row = append(row, timer(c))
	}
	return row
}

// address is an address with its port; a port of zero is any.
func address(ip string, port uint32) string {
	text := "*"
	if port != 0 {
		text = strconv.FormatUint(uint64(port), 10)
	}
	return net.JoinHostPort(ip, text)
}

// timer is the kind of a socket's timer, how long it still runs in seconds, and how often something was sent again. The
// kernel counts in clock ticks, of which it has a hundred a second (proc_net_tcp, Documentation/networking/proc_net_tcp.rst).
func timer(c *machinepb.ConnectRecord) string {
	return fmt.Sprintf("%s (%.2f/%d/%d)", strings.ToLower(c.GetTr().String()), float64(c.GetTimerwhen())/100, c.GetRetrnsmt(), c.GetTimeout())
}
