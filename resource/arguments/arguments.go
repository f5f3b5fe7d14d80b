// Package arguments has the values of command line arguments as the config of a component gives them.
// Only packages below resource need it.
package arguments

import "go.yaml.in/yaml/v3"

// Values are the values of one argument, which is given once with each of them. In YAML one value is
// a string, several are a list.
type Values struct {
	Values []string `proto:"1"`
}

// Of returns the values v, of which the result keeps a copy.
func Of(v ...string) Values { return Values{Values: append([]string(nil), v...)} }

// MarshalYAML implements [yaml.Marshaler].
func (v Values) MarshalYAML() (any, error) {
	if len(v.Values) == 1 {
		return v.Values[0], nil
	}
	return append([]string{}, v.Values...), nil
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (v *Values) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		var s string
		if err := n.Decode(&s); err != nil {
			return err
		}
		v.Values = []string{s}
		return nil
	}
	return n.Decode(&v.Values)
}
