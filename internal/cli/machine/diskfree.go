package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource"
	"talos.internal/resource/block"
)

// volume is a mounted volume and how full it is.
type volume struct {
	id, filesystem, target string
	stat                   *machinepb.StorageServiceStatfsResponse
	err                    error
}

func diskFreeCommand(env command.Env) *cobra.Command {
	var exact, inodes bool
	cmd := &cobra.Command{
		Use:               "diskfree",
		Aliases:           []string{"df"},
		Short:             "Show how full the volumes of machines are",
		Example:           "  talosctl -n 10.5.0.2 diskfree\n  talosctl -n 10.5.0.2 df --inodes",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&exact, "bytes", "b", false, "print sizes in bytes")
	cmd.Flags().BoolVarP(&inodes, "inodes", "i", false, "print numbers of inodes in place of sizes")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			headings := []string{"NODE", "VOLUME", "FILESYSTEM", "SIZE", "USED", "AVAILABLE", "USAGE", "MOUNT POINT"}
			if inodes {
				headings = []string{"NODE", "VOLUME", "FILESYSTEM", "INODES", "IUSED", "IFREE", "IUSAGE", "MOUNT POINT"}
			}
			t := nodes.NewTable(headings...)
			for _, r := range nodes.Each(ctx, s, nodes.Quick, askVolumes) {
				for _, v := range r.Value {
					if v.err != nil {
						s.Fail(r.Node, v.err)
						continue
					}
					t.Row(v.row(r.Node, exact, inodes)...)
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func (v volume) row(node string, exact, inodes bool) []any {
	size := nodes.Bytes
	if exact || inodes {
		size = func(n uint64) string { return fmt.Sprint(n) }
	}
	all, used, free := v.stat.GetSize(), v.stat.GetUsed(), v.stat.GetAvailable()
	if inodes {
		all, used, free = v.stat.GetInodes(), v.stat.GetInodesUsed(), v.stat.GetInodesFree()
	}
	// Space that is kept for root is neither used nor available: the share is of what there is for others.
	return []any{node, v.id, v.filesystem, size(all), size(used), size(free), percent(used, used+free), v.target}
}

// askVolumes asks for all volumes that are mounted, sorted by where.
func askVolumes(ctx context.Context, c *client.Client, _ string) ([]volume, error) {
	kind := resource.KindOf[block.MountStatus]()
	stream, err := c.State().List(ctx, &statepb.ListRequest{Namespace: kind.Namespace, Type: kind.Type})
	if err != nil {
		return nil, err
	}
	var list []volume
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		// Only what is needed here is decoded: a newer machine may have kinds of file systems that are not known yet.
		var spec struct {
			Target, Filesystem string
			Spec               struct {
				VolumeID string `yaml:"volumeID"`
			}
		}
		if err := yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &spec); err != nil {
			return nil, fmt.Errorf("read mount status %s: %w", r.GetResource().GetMetadata().GetId(), err)
		}
		if spec.Target != "" {
			list = append(list, volume{id: spec.Spec.VolumeID, filesystem: spec.Filesystem, target: spec.Target})
		}
	}
	for i := range list {
		if list[i].stat, err = c.FileSystems().Statfs(ctx, &machinepb.StorageServiceStatfsRequest{Path: list[i].target}); err != nil {
			list[i].err = fmt.Errorf("ask for the size of %s: %w", list[i].target, err)
		}
	}
	slices.SortFunc(list, func(a, b volume) int { return cmp.Compare(a.target, b.target) })
	return list, nil
}
