package kubeconfig

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Remove takes a cluster that is gone out of a file: the clusters that have the certificate authority of own's, under any name,
// the contexts of those clusters, and the users that no other context has. The current context becomes empty if it was one of them,
// or the only one that is left. Everything else is kept, as [Merge] does.
//
// removed is empty if there was nothing to take out; data is existing then.
func Remove(existing, own []byte) (data []byte, removed []Entry, err error) {
	from, err := parse(own)
	if err == nil && from == nil {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig of the cluster: %w", err)
	}
	doc, err := parse(existing)
	if err != nil {
		return nil, nil, fmt.Errorf("existing kubeconfig: %w", err)
	}
	if doc == nil {
		return existing, nil, nil
	}
	root := doc.Content[0]
	authorities := map[string]bool{}
	for _, e := range elements(from.Content[0], Clusters) {
		if a := scalar(e.body, "certificate-authority-data"); a != "" {
			authorities[a] = true
		}
	}
	var clusters, contexts, users, kept []string
	for _, e := range elements(root, Clusters) {
		if authorities[scalar(e.body, "certificate-authority-data")] {
			clusters = append(clusters, e.name)
		}
	}
	for _, e := range elements(root, Contexts) {
		if slices.Contains(clusters, scalar(e.body, "cluster")) {
			contexts = append(contexts, e.name)
			users = append(users, scalar(e.body, "user"))
		} else {
			kept = append(kept, scalar(e.body, "user"))
		}
	}
	users = slices.DeleteFunc(users, func(name string) bool { return slices.Contains(kept, name) })
	for _, s := range []struct {
		section Section
		names   []string
	}{{Clusters, clusters}, {Users, users}, {Contexts, contexts}} {
		removed = append(removed, drop(root, s.section, s.names)...)
	}
	if len(removed) == 0 {
		return existing, nil, nil
	}
	if current := value(root, "current-context"); current != nil && slices.Contains(contexts, current.Value) {
		next := ""
		if left := elements(root, Contexts); len(left) == 1 {
			next = left[0].name
		}
		setString(current, next)
	}
	if data, err = marshal(doc); err != nil {
		return nil, nil, err
	}
	// As in Merge: the text has to say what the tree says, which it does not if an entry that went held an anchor.
	written, err := parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("existing kubeconfig: it cannot be changed as it uses YAML anchors: %w", err)
	}
	if same, err := equal(doc, written); err != nil || !same {
		return nil, nil, errors.Join(errors.New("existing kubeconfig: it uses YAML that cannot be written again"), err)
	}
	return data, removed, nil
}

// elements are those of a section that have a name and a body.
func elements(root *yaml.Node, section Section) []element {
	list := value(root, string(section))
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	var out []element
	for _, n := range list.Content {
		if e, ok := elementOf(n, section); ok && e.body != nil {
			out = append(out, e)
		}
	}
	return out
}

// scalar is the text of a key; "" if it has none.
func scalar(n *yaml.Node, key string) string {
	if v := value(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// drop removes the elements of some names from a section.
func drop(root *yaml.Node, section Section, names []string) []Entry {
	var removed []Entry
	list := value(root, string(section))
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool {
		e, ok := elementOf(n, section)
		if !ok || !slices.Contains(names, e.name) {
			return false
		}
		removed = append(removed, Entry{section, e.name})
		return true
	})
	return removed
}
