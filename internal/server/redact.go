package server

import (
	"go.yaml.in/yaml/v3"

	"talos.internal/config"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
)

// What stands in the place of a secret value in a diff. A value that the other text does not have is told by the word, so that a
// change of a secret still shows.
const (
	redacted    = "[redacted]"
	redactedOld = "[redacted, before]"
	redactedNew = "[redacted, after]"
)

// withoutSecrets returns two configs with their secret values replaced, for people to compare. Comments stay. A text that cannot be
// read as a config is replaced as a whole.
func withoutSecrets(before, after string) (string, string) {
	a, b := readSecrets(before), readSecrets(after)
	return a.replace(b, redactedOld), b.replace(a, redactedNew)
}

// secretText is a config and the nodes in it that hold secrets.
type secretText struct {
	docs   []*yaml.Node
	secret []*yaml.Node
	values map[string]bool
	broken bool
}

func readSecrets(text string) *secretText {
	s := &secretText{values: map[string]bool{}}
	if text == "" {
		return s
	}
	c, err := config.Load("", []byte(text))
	if err != nil {
		s.broken = true
		return s
	}
	for _, n := range c.Nodes() {
		n = schema.Clone(n)
		s.docs = append(s.docs, n)
		kind := patch.RootKind
		if k := schema.Child(content(n), "kind"); k != nil {
			kind = k.Value
		}
		if t, ok := config.Types(kind); ok {
			s.find(content(n), t)
		}
	}
	for _, n := range s.secret {
		s.values[valueOf(n)] = true
	}
	return s
}

// content is what is in a document node.
func content(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		return n.Content[0]
	}
	return n
}

func (s *secretText) find(n *yaml.Node, t *schema.Type) {
	if n == nil || t == nil {
		return
	}
	switch {
	case n.Kind == yaml.SequenceNode && t.Class == schema.List:
		for _, item := range n.Content {
			s.find(item, t.Elem)
		}
	case n.Kind == yaml.MappingNode && t.Class == schema.Map:
		for i := 1; i < len(n.Content); i += 2 {
			s.find(n.Content[i], t.Elem)
		}
	case n.Kind == yaml.MappingNode && t.Class == schema.Struct:
		for i := 1; i < len(n.Content); i += 2 {
			f := t.Field(n.Content[i-1].Value)
			if f == nil {
				continue
			}
			if f.Secret {
				s.secret = append(s.secret, n.Content[i])
			} else {
				s.find(n.Content[i], f.Type)
			}
		}
	}
}

func valueOf(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	b, err := yaml.Marshal(n)
	if err != nil {
		return ""
	}
	return string(b)
}

// replace returns the text; of its secrets, those that other does not have are replaced by word.
func (s *secretText) replace(other *secretText, word string) string {
	if s.broken {
		return "[a text that is no config]\n"
	}
	if len(s.docs) == 0 {
		return ""
	}
	for _, n := range s.secret {
		v := valueOf(n)
		if v == "" {
			continue // there is nothing to hide
		}
		text := word
		if other.values[v] {
			text = redacted
		}
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, LineComment: n.LineComment, HeadComment: n.HeadComment, FootComment: n.FootComment}
	}
	b, err := schema.Encode(s.docs...)
	if err != nil {
		return "[a config that cannot be written]\n"
	}
	return string(b)
}
