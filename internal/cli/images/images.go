// Package images has the commands about container images: those that machines have, those that a cluster needs, and caches of
// them. It does not build any; package image does.
package images

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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

// New returns the group of commands.
func New(env command.Env) *cobra.Command {
	return command.Group("image", "Look after container images",
		bundleCommand(env),
		systemBundleCommand(env),
		cacheCreateCommand(env),
		cacheServeCommand(env),
		cacheCertGenCommand(env),
		listCommand(env),
		pullCommand(env),
		removeCommand(env),
	)
}

// place is where containerd keeps images.
type place struct{ namespace string }

func (p *place) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.namespace, "namespace", "cri", "whose images: system (or inmem, which is the same here), or cri for those of Kubernetes")
	command.Complete(cmd, "namespace", cobra.FixedCompletions([]string{"cri", "system", "inmem"}, cobra.ShellCompDirectiveNoFileComp))
}

func (p *place) instance(cmd *cobra.Command) (*commonpb.ContainerdInstance, error) {
	switch p.namespace {
	case "cri":
		return &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CRI, Namespace: commonpb.ContainerdNamespace_NS_CRI}, nil
	case "system", "inmem": // published machines have a second containerd, in memory; here one serves both
		return &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CONTAINERD, Namespace: commonpb.ContainerdNamespace_NS_SYSTEM}, nil
	}
	return nil, command.Usagef(cmd, "expected --namespace to be cri, system or inmem, got %q", p.namespace)
}

func listCommand(env command.Env) *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"l", "ls"}, Short: "List the images of machines",
		Example: "  talosctl -n 10.5.0.2 image list --namespace system",
		Args:    command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	p.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		where, err := p.instance(cmd)
		if err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			found := map[string][]*machinepb.ImageServiceListResponse{}
			for node, i := range nodes.Stream(ctx, s, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.ImageServiceListResponse], error) {
				return c.Images().List(ctx, &machinepb.ImageServiceListRequest{Containerd: where})
			}) {
				found[node] = append(found[node], i)
			}
			t := nodes.NewTable("NODE", "IMAGE", "DIGEST", "SIZE", "CREATED")
			for _, node := range s.Nodes() {
				list := found[node]
				slices.SortFunc(list, func(a, b *machinepb.ImageServiceListResponse) int { return cmp.Compare(a.GetName(), b.GetName()) })
				for _, i := range list {
					created := ""
					if at := i.GetCreatedAt(); at != nil {
						created = at.AsTime().UTC().Format(time.RFC3339)
					}
					t.Row(node, i.GetName(), i.GetDigest(), nodes.Bytes(uint64(max(i.GetSize(), 0))), created)
				}
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func pullCommand(env command.Env) *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use: "pull IMAGE", Aliases: []string{"p"}, Short: "Make machines fetch an image",
		Example: "  talosctl -n 10.5.0.2 image pull registry.k8s.io/pause:3.10",
		Args:    command.ExactArgs("IMAGE"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	p.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		where, err := p.instance(cmd)
		if err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			last := map[string]string{} // what a node's layer was last said to do
			for node, m := range nodes.Stream(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.ImageServicePullResponse], error) {
				return c.Images().Pull(ctx, &machinepb.ImageServicePullRequest{Containerd: where, ImageRef: args[0]})
			}) {
				if m.GetName() != "" {
					if _, err := fmt.Fprintf(env.Stdout, "%s: %s\n", node, nodes.Clean(m.GetName())); err != nil {
						return err
					}
					continue
				}
				// One line for each step of a layer, on standard error: a bar would be of no use in a log.
				key, text := node+" "+m.GetPullProgress().GetLayerId(), progress(m.GetPullProgress())
				if last[key] != text {
					last[key] = text
					s.Warn(node, "%s", text)
				}
			}
			return nil
		})
	}
	return cmd
}

// progress is what happens to a layer, in tenths of its size.
func progress(p *machinepb.ImageServicePullProgress) string {
	l := p.GetProgress()
	text := p.GetLayerId() + ": " + strings.ToLower(strings.ReplaceAll(l.GetStatus().String(), "_", " "))
	moves := l.GetStatus() == machinepb.ImageServicePullLayerProgress_DOWNLOADING || l.GetStatus() == machinepb.ImageServicePullLayerProgress_EXTRACTING
	if !moves || l.GetTotal() <= 0 {
		return text
	}
	return fmt.Sprintf("%s %d%% of %s", text, l.GetOffset()*10/l.GetTotal()*10, nodes.Bytes(uint64(l.GetTotal())))
}

func removeCommand(env command.Env) *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use: "remove IMAGE", Aliases: []string{"rm"}, Short: "Remove an image from machines",
		Example: "  talosctl -n 10.5.0.2 image remove registry.k8s.io/pause:3.9",
		Args:    command.ExactArgs("IMAGE"), ValidArgsFunction: cobra.NoFileCompletions,
	}
	p.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		where, err := p.instance(cmd)
		if err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (string, error) {
				_, err := c.Images().Remove(ctx, &machinepb.ImageServiceRemoveRequest{Containerd: where, ImageRef: args[0]})
				return args[0], err
			}) {
				if _, err := fmt.Fprintf(env.Stdout, "%s: removed %s\n", r.Node, r.Value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}
