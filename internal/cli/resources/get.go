package resources

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource"
	"talos.internal/resource/meta"
)

// getFlags are the flags of get.
type getFlags struct {
	namespace, output string
	watch             bool
}

func getCommand(env command.Env) *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use:     "get TYPE [ID]",
		Aliases: []string{"g"},
		Short:   "Show resources: what a machine has, does and is told to do",
		Long: "Shows the resources of a type, or one of them. The type is its name or an alias, in any case; 'talosctl get rd'\n" +
			"lists all types.",
		Example: "  talosctl -n 10.5.0.2 get members\n" +
			"  talosctl -n 10.5.0.2 get addresses --watch\n" +
			"  talosctl -n 10.5.0.2 get hostname -o jsonpath={.spec.hostname}",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 2 {
				return nil
			}
			return command.Usagef(cmd, "expected one or two arguments, TYPE and ID, got %d", len(args))
		},
	}
	cmd.Flags().StringVar(&g.namespace, "namespace", "", "the namespace (default: that of the type)")
	cmd.Flags().StringVarP(&g.output, "output", "o", "table", "the form of the output: table, yaml, json or jsonpath=TEMPLATE")
	cmd.Flags().BoolVarP(&g.watch, "watch", "w", false, "show what changes, until it is interrupted")
	command.Complete(cmd, "output", cobra.FixedCompletions([]string{"table", "yaml", "json", "jsonpath="}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return nodes.Complete(cmd, f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) { return g.words(ctx, c, args) })
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(env.Stdout, g.output, g.watch)
		if err != nil {
			return command.Usagef(cmd, "--output: %w", err)
		}
		id := ""
		if len(args) == 2 {
			id = args[1]
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			if g.watch {
				return g.follow(ctx, s, p, args[0], id)
			}
			return g.list(ctx, s, p, args[0], id)
		})
	}
	return cmd
}

// words completes a type, or the id of a resource of it.
func (g getFlags) words(ctx context.Context, c *client.Client, args []string) ([]cobra.Completion, error) {
	all, err := Definitions(ctx, c)
	if err != nil {
		return nil, err
	}
	var words []cobra.Completion
	switch len(args) {
	case 0:
		for _, d := range all {
			for _, a := range append([]string{strings.ToLower(d.Type)}, d.AllAliases...) {
				words = append(words, cobra.CompletionWithDesc(a, d.DisplayType))
			}
		}
	case 1:
		d, err := find(all, args[0])
		if err != nil {
			return nil, err
		}
		list, err := List(ctx, c, g.kind(d))
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			words = append(words, r.GetMetadata().GetId())
		}
	}
	return words, nil
}

func (g getFlags) kind(d meta.DefinitionSpec) resource.Kind {
	k := resource.Kind{Namespace: d.DefaultNamespace, Type: d.Type}
	if g.namespace != "" {
		k.Namespace = g.namespace
	}
	return k
}

// resolve asks a machine which of its types is meant.
func resolve(ctx context.Context, c *client.Client, name string) (meta.DefinitionSpec, error) {
	all, err := Definitions(ctx, c)
	if err != nil {
		return meta.DefinitionSpec{}, err
	}
	return find(all, name)
}

func (g getFlags) list(ctx context.Context, s *nodes.Session, p printer, name, id string) error {
	type found struct {
		def   meta.DefinitionSpec
		items []item
	}
	answers := nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, node string) (found, error) {
		d, err := resolve(ctx, c, name)
		if err != nil {
			return found{}, err
		}
		k := g.kind(d)
		if id != "" {
			r, err := c.State().Get(ctx, &statepb.GetRequest{Namespace: k.Namespace, Type: k.Type, Id: id})
			if err != nil {
				return found{}, err
			}
			return found{d, []item{{node: node, res: r.GetResource(), def: d}}}, nil
		}
		list, err := List(ctx, c, k)
		if err != nil {
			return found{}, err
		}
		var items []item
		for _, r := range list {
			items = append(items, item{node: node, res: r, def: d})
		}
		return found{d, items}, nil
	})
	for _, r := range answers {
		if err := p.begin(r.Value.def); err != nil {
			return err
		}
		for _, i := range r.Value.items {
			if err := p.print(i); err != nil {
				return err
			}
		}
	}
	return p.flush()
}

// eventNames are those of a watch that are about a resource.
var eventNames = map[statepb.EventType]string{
	statepb.EventType_CREATED: "created", statepb.EventType_UPDATED: "updated", statepb.EventType_DESTROYED: "destroyed",
}

// follow prints what there is and then what changes.
func (g getFlags) follow(ctx context.Context, s *nodes.Session, p printer, name, id string) error {
	defs := map[string]meta.DefinitionSpec{}
	for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (meta.DefinitionSpec, error) {
		return resolve(ctx, c, name)
	}) {
		defs[r.Node] = r.Value
		if err := p.begin(r.Value); err != nil {
			return err
		}
	}
	begun := map[string]bool{} // nodes that have told what they have
	for node, m := range nodes.Stream(ctx, s, 0, func(ctx context.Context, c *client.Client, node string) (grpc.ServerStreamingClient[statepb.WatchResponse], error) {
		d, ok := defs[node]
		if !ok {
			return ended[statepb.WatchResponse]{}, nil // it has failed already, and was reported
		}
		k := g.kind(d)
		req := &statepb.WatchRequest{
			Namespace: k.Namespace, Type: k.Type, ApiVersion: 1,
			// Of a single resource a watch always begins with what is there.
			Options: &statepb.WatchOptions{BootstrapContents: id == ""},
		}
		if id != "" {
			req.Id = &id
		}
		stream, err := c.State().Watch(ctx, req)
		return broken{stream}, err
	}) {
		for _, e := range m.GetEvent() {
			// Of a single resource there is no end of the beginning: its first event is it.
			if e.GetEventType() == statepb.EventType_BOOTSTRAPPED || id != "" {
				begun[node] = true
			}
			if event := eventNames[e.GetEventType()]; event != "" {
				if err := p.print(item{node: node, event: event, res: e.GetResource(), def: defs[node]}); err != nil {
					return err
				}
			}
		}
		if len(begun) == len(defs) {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// broken is a watch that ends with the error that one of its events is.
type broken struct {
	grpc.ServerStreamingClient[statepb.WatchResponse]
}

func (b broken) Recv() (*statepb.WatchResponse, error) {
	m, err := b.ServerStreamingClient.Recv()
	for _, e := range m.GetEvent() {
		if e.GetEventType() == statepb.EventType_ERRORED {
			return nil, fmt.Errorf("the watch ended: %s", e.GetError())
		}
	}
	return m, err
}

// ended is a stream without messages.
type ended[M any] struct{ grpc.ServerStreamingClient[M] }

func (ended[M]) Recv() (*M, error) { return nil, io.EOF }
