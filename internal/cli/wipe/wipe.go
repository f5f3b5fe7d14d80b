// Package wipe has the commands that remove what is on disks of machines.
package wipe

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/api/storagepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// methods are the ways to wipe, by the words of the command line.
var methods = map[string]storagepb.BlockDeviceWipeDescriptor_Method{
	"FAST": storagepb.BlockDeviceWipeDescriptor_FAST, "ZEROES": storagepb.BlockDeviceWipeDescriptor_ZEROES,
}

// New returns the commands.
func New(env command.Env) *cobra.Command {
	return command.Group("wipe", "Remove what is on disks of machines", disk(env))
}

func disk(env command.Env) *cobra.Command {
	var method string
	var drop bool
	cmd := &cobra.Command{
		Use:   "disk DEVICE...",
		Short: "Remove what is on disks and partitions",
		Long: "Removes what is on disks and partitions that the machine does not use. FAST makes unreadable what is at their beginnings\n" +
			"and ends, by which their content is known; ZEROES overwrites all of it. A device that a volume is on is refused.\n" +
			"get disks and get discoveredvolumes show which there are.",
		Example: "  talosctl -n 10.5.0.2 wipe disk sdb sdc\n  talosctl -n 10.5.0.2 wipe disk sdb2 --drop-partition",
		Args:    command.AtLeast("DEVICE"),
	}
	words := slices.Sorted(maps.Keys(methods))
	cmd.Flags().StringVar(&method, "method", "FAST", "how to wipe: "+strings.Join(words, " or "))
	cmd.Flags().BoolVar(&drop, "drop-partition", false, "take the partitions that are named out of their disks' tables, too")
	_ = cmd.RegisterFlagCompletionFunc("method", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, ok := methods[strings.ToUpper(method)]
		if !ok {
			return command.Usagef(cmd, "expected --method to be %s, got %q", strings.Join(words, " or "), method)
		}
		request := &storagepb.BlockDeviceWipeRequest{}
		for _, name := range args {
			request.Devices = append(request.Devices, &storagepb.BlockDeviceWipeDescriptor{
				Device: strings.TrimPrefix(name, "/dev/"), Method: m, DropPartition: drop,
			})
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "WIPED")
			answers := nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (*storagepb.BlockDeviceWipe, error) {
				return client.Only(c.Storage().BlockDeviceWipe(ctx, request))
			})
			for _, r := range answers {
				for _, d := range request.Devices {
					t.Row(r.Node, d.GetDevice())
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}
