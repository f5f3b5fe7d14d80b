package manifestctrl

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"talos.internal/internal/kubeapi"
)

// mostObjects is how many objects a manifest may have.
const mostObjects = 5000

// parseManifest reads the objects of a manifest: YAML documents, each an object or a List of objects. Documents without anything
// are passed over. The error says which document is wrong and why.
func parseManifest(data []byte) ([]kubeapi.Object, error) {
	var out []kubeapi.Object
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for n := 1; ; n++ {
		var node yaml.Node
		switch err := decoder.Decode(&node); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		timesAreText(&node)
		var v any
		if err := node.Decode(&v); err != nil {
			return nil, fmt.Errorf("document %d (line %d): %w", n, node.Line, err)
		}
		if v == nil {
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("document %d (line %d): expected an object with apiVersion and kind", n, node.Line)
		}
		objects, err := flatten(m)
		if err == nil && len(out)+len(objects) > mostObjects {
			err = fmt.Errorf("more than %d objects", mostObjects)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d (line %d): %w", n, node.Line, err)
		}
		out = append(out, objects...)
	}
}

// timesAreText has what YAML takes for a time be the text that JSON has for it.
func timesAreText(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		timesAreText(c)
	}
}

// flatten returns the objects of a document.
func flatten(m map[string]any) ([]kubeapi.Object, error) {
	o := kubeapi.Object(m)
	if o.Kind() == (kubeapi.Kind{Version: "v1", Kind: "List"}) {
		items, _ := m["items"].([]any)
		var out []kubeapi.Object
		for i, item := range items {
			m, ok := item.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("item %d of the list: expected an object", i+1)
			}
			if err := checkObject(m); err != nil {
				return nil, fmt.Errorf("item %d of the list: %w", i+1, err)
			}
			out = append(out, m)
		}
		return out, nil
	}
	return []kubeapi.Object{o}, checkObject(m)
}

func checkObject(m map[string]any) error {
	o := kubeapi.Object(m)
	for key, value := range map[string]string{
		"apiVersion": o.Kind().Version, "kind": o.Kind().Kind, "metadata.name": o.Name(),
	} {
		if value == "" {
			return fmt.Errorf("expected an object with apiVersion, kind and metadata.name, and %s is missing", key)
		}
	}
	return checkJSON(m)
}

// checkJSON reports what JSON cannot have: keys that are no text.
func checkJSON(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if err := checkJSON(item); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
	case []any:
		for i, item := range v {
			if err := checkJSON(item); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
	case map[any]any:
		return errors.New("a key is no text")
	}
	return nil
}
