package resources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/config/schema"
	"talos.internal/resource"
	"talos.internal/resource/meta"
)

// Definitions returns the definitions of all types of a machine, sorted by type.
func Definitions(ctx context.Context, c *client.Client) ([]meta.DefinitionSpec, error) {
	list, err := List(ctx, c, resource.KindOf[meta.DefinitionSpec]())
	if err != nil {
		return nil, fmt.Errorf("list the types of resources: %w", err)
	}
	var out []meta.DefinitionSpec
	for _, r := range list {
		var d meta.DefinitionSpec
		if err := yaml.Unmarshal([]byte(r.GetSpec().GetYamlSpec()), &d); err != nil {
			return nil, fmt.Errorf("read the definition %s: %w", r.GetMetadata().GetId(), err)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b meta.DefinitionSpec) int { return cmp.Compare(a.Type, b.Type) })
	return out, nil
}

// List returns all resources of a kind.
func List(ctx context.Context, c *client.Client, kind resource.Kind) ([]*statepb.Resource, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.State().List(ctx, &statepb.ListRequest{Namespace: kind.Namespace, Type: kind.Type})
	if err != nil {
		return nil, err
	}
	var out []*statepb.Resource
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r.GetResource())
	}
}

// find returns the definition that a person means by name.
func find(all []meta.DefinitionSpec, name string) (meta.DefinitionSpec, error) {
	d, err := meta.Resolve(all, name)
	if err == nil {
		return d, nil
	}
	var names []string
	for _, d := range all {
		names = append(names, d.AllAliases...)
	}
	near := schema.Nearest(strings.ToLower(name), names)
	if near != "" && near != strings.ToLower(name) {
		return d, fmt.Errorf("%w; did you mean %q?", err, near)
	}
	return d, fmt.Errorf("%w; 'talosctl get rd' lists all types", err)
}
