package resources

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/inspectpb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource"
)

func inspectCommand(env command.Env) *cobra.Command {
	return command.Group("inspect", "Look into the works of machines", dependenciesCommand(env))
}

func dependenciesCommand(env command.Env) *cobra.Command {
	var withResources bool
	cmd := &cobra.Command{
		Use:   "dependencies",
		Short: "Draw which controllers read and write what, in the language of Graphviz",
		Long: "Draws the controllers of a machine and the types of resources that they read and write. Graphviz makes a picture\n" +
			"of it: talosctl -n 10.5.0.2 inspect dependencies | dot -T svg > dependencies.svg",
		Example:           "  talosctl -n 10.5.0.2 inspect dependencies --with-resources",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&withResources, "with-resources", false, "draw the resources that there are, too")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, _ string) error {
			for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) {
				return Graph(ctx, c, withResources)
			}) {
				if _, err := io.WriteString(env.Stdout, r.Value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// Graph returns the controllers of a machine and what they read and write, as a directed graph in the DOT language. With
// resources, those that there are hang from their types.
func Graph(ctx context.Context, c *client.Client, withResources bool) (string, error) {
	answer, err := client.Only(c.Inspect().ControllerRuntimeDependencies(ctx, &emptypb.Empty{}))
	if err != nil {
		return "", err
	}
	edges := answer.GetEdges()
	kinds := map[resource.Kind][]*statepb.Resource{}
	for _, e := range edges {
		k := resource.Kind{Namespace: e.GetResourceNamespace(), Type: e.GetResourceType()}
		if _, ok := kinds[k]; ok {
			continue
		}
		kinds[k] = nil
		if withResources {
			if kinds[k], err = List(ctx, c, k); err != nil {
				return "", fmt.Errorf("list %s: %w", k, err)
			}
		}
	}
	return draw(edges, kinds), nil
}

func draw(edges []*inspectpb.ControllerDependencyEdge, kinds map[resource.Kind][]*statepb.Resource) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf("\t"+format, args...)) }
	for _, e := range edges {
		k := resource.Kind{Namespace: e.GetResourceNamespace(), Type: e.GetResourceType()}
		controller, node := quote(e.GetControllerName()), quote(k.String())
		add("%s [shape=box]", controller)
		add("%s [shape=note, label=%s]", node, quote(k.Namespace+"\n"+k.Type))
		label := ""
		if e.GetResourceId() != "" {
			label = ", label=" + quote(e.GetResourceId())
		}
		switch e.GetEdgeType() {
		case inspectpb.DependencyEdgeType_OUTPUT_EXCLUSIVE:
			add("%s -> %s [style=bold%s]", controller, node, label)
		case inspectpb.DependencyEdgeType_OUTPUT_SHARED:
			add("%s -> %s [style=solid%s]", controller, node, label)
		case inspectpb.DependencyEdgeType_INPUT_STRONG:
			add("%s -> %s [style=solid%s]", node, controller, label)
		case inspectpb.DependencyEdgeType_INPUT_WEAK:
			add("%s -> %s [style=dotted%s]", node, controller, label)
		case inspectpb.DependencyEdgeType_INPUT_DESTROY_READY:
			add("%s -> %s [style=dashed%s]", node, controller, label)
		}
	}
	for k, list := range kinds {
		for _, r := range list {
			id := quote(k.String() + "/" + r.GetMetadata().GetId())
			add("%s [shape=plaintext, label=%s]", id, quote(r.GetMetadata().GetId()))
			add("%s -> %s [dir=none]", quote(k.String()), id)
		}
	}
	slices.Sort(lines)
	return "digraph dependencies {\n" + strings.Join(slices.Compact(lines), "\n") + "\n}\n"
}

// quote writes a string of the DOT language: a quote is escaped, and a line break is \n.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
