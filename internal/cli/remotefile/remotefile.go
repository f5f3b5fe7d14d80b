// Package remotefile has the commands on the files of machines: list, usage, read and copy.
package remotefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

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
	return []*cobra.Command{copyCommand(env), listCommand(env), readCommand(env), usageCommand(env)}
}

// paths complete the name of a file by what the machine has in its folder.
func paths(f *nodes.Flags, atMost int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if atMost > 0 && len(args) >= atMost {
			return nil, cobra.ShellCompDirectiveDefault
		}
		folder := begun[:strings.LastIndex(begun, "/")+1]
		if folder == "" {
			folder = "/"
		}
		words, directive := nodes.Complete(cmd, f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
			stream, err := c.Machine().List(ctx, &machinepb.ListRequest{Root: folder})
			if err != nil {
				return nil, err
			}
			var out []cobra.Completion
			for {
				info, err := stream.Recv()
				if err != nil {
					return out, nil // what has come is of use
				}
				if name := info.GetRelativeName(); name != "" && name != "." {
					if info.GetIsDir() {
						name += "/"
					}
					out = append(out, folder+name)
				}
			}
		})
		return words, directive | cobra.ShellCompDirectiveNoSpace
	}
}

// listFlags are the flags of list.
type listFlags struct {
	long, recurse, human bool
	depth                int32
	types                []string
}

func listCommand(env command.Env) *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use:     "list [PATH]",
		Aliases: []string{"ls"},
		Short:   "List the files of machines",
		Example: "  talosctl -n 10.5.0.2 list -l /var/log\n  talosctl -n 10.5.0.2 list --recurse --type f /system/etc",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.ExactArgs("PATH")(cmd, args)
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&l.long, "long", "l", false, "print mode, owner, size, time and label")
	fl.BoolVarP(&l.recurse, "recurse", "r", false, "list what is in folders too, however deep")
	fl.Int32VarP(&l.depth, "depth", "d", 1, "how deep to go into folders")
	fl.BoolVarP(&l.human, "humanize", "H", false, "print sizes and times for people")
	fl.StringSliceVarP(&l.types, "type", "t", nil, "list only these types: f (files), d (folders), l (symbolic links)")
	f := nodes.Bind(cmd, env)
	cmd.ValidArgsFunction = paths(f, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req, err := l.request(cmd, append(args, "/")[0])
		if err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			headings := []string{"NODE", "NAME"}
			if l.long {
				headings = []string{"NODE", "MODE", "UID", "GID", "SIZE(B)", "LASTMOD", "LABEL", "NAME"}
			}
			t := nodes.NewTable(headings...)
			for node, info := range nodes.Stream(ctx, s, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.FileInfo], error) {
				return c.Machine().List(ctx, req)
			}) {
				if info.GetError() != "" {
					s.Fail(node, fmt.Errorf("list %s: %s", info.GetName(), info.GetError()))
					continue
				}
				t.Row(l.row(node, info, env.Now())...)
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func (l listFlags) request(cmd *cobra.Command, root string) (*machinepb.ListRequest, error) {
	req := &machinepb.ListRequest{Root: root, Recurse: l.recurse, ReportXattrs: l.long}
	switch {
	case l.depth < 1:
		return nil, command.Usagef(cmd, "expected --depth to be 1 or more, got %d", l.depth)
	case l.recurse && cmd.Flags().Changed("depth"):
		return nil, command.Usagef(cmd, "expected --recurse or --depth, got both")
	case l.depth > 1:
		req.Recurse, req.RecursionDepth = true, l.depth
	}
	for _, text := range l.types {
		switch text {
		case "f":
			req.Types = append(req.Types, machinepb.ListRequest_REGULAR)
		case "d":
			req.Types = append(req.Types, machinepb.ListRequest_DIRECTORY)
		case "l", "L":
			req.Types = append(req.Types, machinepb.ListRequest_SYMLINK)
		default:
			return nil, command.Usagef(cmd, "expected --type to be f, d or l, got %q", text)
		}
	}
	return req, nil
}

func (l listFlags) row(node string, info *machinepb.FileInfo, now time.Time) []any {
	name := info.GetRelativeName()
	if name == "" {
		name = info.GetName()
	}
	if !l.long {
		return []any{node, name}
	}
	if info.GetLink() != "" {
		name += " -> " + info.GetLink()
	}
	size, modified := fmt.Sprint(info.GetSize()), time.Unix(info.GetModified(), 0).UTC().Format("Jan 2 2006 15:04:05")
	if l.human {
		size, modified = nodes.Bytes(uint64(max(info.GetSize(), 0))), nodes.Ago(now, time.Unix(info.GetModified(), 0))
	}
	label := ""
	for _, x := range info.GetXattrs() {
		if x.GetName() == "security.selinux" {
			label = strings.TrimRight(string(x.GetData()), "\x00")
		}
	}
	// The mode is that of Go's io/fs, as the public client takes it.
	return []any{node, os.FileMode(info.GetMode()).String(), info.GetUid(), info.GetGid(), size, modified, label, name}
}

func usageCommand(env command.Env) *cobra.Command {
	var (
		all, human bool
		depth      int32
		threshold  int64
	)
	cmd := &cobra.Command{
		Use:     "usage [PATH...]",
		Aliases: []string{"du"},
		Short:   "Show how much space files take",
		Example: "  talosctl -n 10.5.0.2 usage --humanize --depth 2 /var",
	}
	fl := cmd.Flags()
	fl.BoolVarP(&all, "all", "a", false, "print files, too, and not only folders")
	fl.Int32VarP(&depth, "depth", "d", 0, "how deep to print what is in folders; sizes always are of all that is in them")
	fl.BoolVarP(&human, "humanize", "H", false, "print sizes for people")
	fl.Int64VarP(&threshold, "threshold", "t", 0, "leave out what is smaller than this, in bytes; if negative, what is larger")
	f := nodes.Bind(cmd, env)
	cmd.ValidArgsFunction = paths(f, 0)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if depth < 0 {
			return command.Usagef(cmd, "expected --depth to be 0 or more, got %d", depth)
		}
		if len(args) == 0 {
			args = []string{"/"}
		}
		req := &machinepb.DiskUsageRequest{RecursionDepth: depth, All: all, Threshold: threshold, Paths: args}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "SIZE", "NAME")
			for node, info := range nodes.Stream(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.DiskUsageInfo], error) {
				return c.Machine().DiskUsage(ctx, req)
			}) {
				if info.GetError() != "" {
					s.Fail(node, fmt.Errorf("measure %s: %s", info.GetName(), info.GetError()))
					continue
				}
				size := fmt.Sprint(info.GetSize())
				if human {
					size = nodes.Bytes(uint64(max(info.GetSize(), 0)))
				}
				name := info.GetRelativeName()
				if name == "" || len(args) > 1 {
					name = info.GetName()
				}
				t.Row(node, size, name)
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func readCommand(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "read PATH",
		Aliases: []string{"cat"},
		Short:   "Print a file of machines",
		Long:    "Prints a file as it is. Of several machines the lines are printed with the machine's name before them.",
		Example: "  talosctl -n 10.5.0.2 read /etc/os-release",
		Args:    command.ExactArgs("PATH"),
	}
	f := nodes.Bind(cmd, env)
	cmd.ValidArgsFunction = paths(f, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			lines := nodes.NewLines(env.Stdout)
			for node, data := range nodes.Stream(ctx, s, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
				return c.Machine().Read(ctx, &machinepb.ReadRequest{Path: args[0]})
			}) {
				var err error
				if len(s.Nodes()) == 1 {
					_, err = env.Stdout.Write(data.GetBytes())
				} else {
					err = lines.Write(node, data.GetBytes())
				}
				if err != nil {
					return err
				}
			}
			return lines.Flush(s.Nodes())
		})
	}
	return cmd
}

func copyCommand(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "copy SOURCE DESTINATION",
		Aliases: []string{"cp"},
		Short:   "Copy a file or a folder of a machine to here",
		Long: "Copies a file, or a folder with all that is in it, into the folder DESTINATION, which is made if it is not there.\n" +
			"If it is -, a tar archive, compressed by gzip, is written to standard output.",
		Example: "  talosctl -n 10.5.0.2 copy /var/log ./log\n  talosctl -n 10.5.0.2 copy /var/log -",
		Args:    command.ExactArgs("SOURCE", "DESTINATION"),
	}
	f := nodes.Bind(cmd, env)
	cmd.ValidArgsFunction = paths(f, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
			from := archive(ctx, s, node, args[0])
			defer from.Close()
			if args[1] == "-" {
				return about(from.writeTo(env.Stdout), node, args[0])
			}
			skipped, err := extract(from, args[1])
			for _, what := range skipped {
				s.Warn("warning: "+node, "left out %s", what)
			}
			return about(err, node, args[0])
		})
	}
	return cmd
}

func about(err error, node, path string) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("copy %s of %s: %w", path, node, err)
}
