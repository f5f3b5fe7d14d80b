package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// bundlePaths are the keys of secrets.yaml, in its order, with how the value is encoded.
var bundlePaths = []struct {
	path   string
	base64 bool // of PEM
}{
	{"cluster.id", false},
	{"cluster.secret", false},
	{"secrets.bootstraptoken", false},
	{"secrets.secretboxencryptionsecret", false},
	{"secrets.aescbcencryptionsecret", false},
	{"trustdinfo.token", false},
	{"certs.etcd.crt", true},
	{"certs.etcd.key", true},
	{"certs.k8s.crt", true},
	{"certs.k8s.key", true},
	{"certs.k8saggregator.crt", true},
	{"certs.k8saggregator.key", true},
	{"certs.k8sserviceaccount.key", true},
	{"certs.os.crt", true},
	{"certs.os.key", true},
}

// LoadBundle reads a secrets.yaml. It is strict: unknown and duplicate keys are errors, as is everything
// that [BundleFromParts] refuses. The error is a BundleError with every problem, with the line of each.
func LoadBundle(data []byte) (*Bundle, error) {
	root, err := singleDocument(data)
	if err != nil {
		return nil, BundleError{{Err: err}}
	}

	loader := bundleLoader{
		values: map[string]Text{},
		lines:  map[string]int{},
		asm:    assembler{skip: map[string]bool{}},
	}
	loader.walk(root, "")

	b := loader.asm.assemble(loader.parts())

	problems := loader.asm.problems
	for i := range problems {
		if problems[i].Line == 0 {
			problems[i].Line = loader.line(problems[i].Path)
		}
	}

	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })

	if err := problems.orNil(); err != nil {
		return nil, err
	}

	return b, nil
}

// singleDocument returns the top node of a YAML text with exactly one document.
func singleDocument(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))

	var doc, second yaml.Node

	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the document is empty")
	case err != nil:
		return nil, syntaxError(err)
	}

	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one YAML document; found more")
	}

	if len(doc.Content) != 1 {
		return nil, errors.New("the document is empty")
	}

	return doc.Content[0], nil
}

// syntaxError keeps an error of the YAML parser, but for the one that quotes what it read: a value that
// starts with a star is an alias to it.
func syntaxError(err error) error {
	if strings.Contains(err.Error(), "unknown anchor") {
		return errors.New("a value that starts with * refers to a YAML anchor that is not there")
	}

	return err
}

type bundleLoader struct {
	values map[string]Text
	lines  map[string]int // of every key that was found, mappings included
	asm    assembler
}

func (l *bundleLoader) problem(path string, line int, err error) {
	l.asm.problems = append(l.asm.problems, Problem{Path: path, Line: line, Err: err})
	l.asm.skip[path] = true
}

// walk goes through a mapping whose path ends in a dot, or is empty for the document. It is never deeper
// than the known paths, so that aliases cannot make it run away.
func (l *bundleLoader) walk(n *yaml.Node, path string) {
	if n = resolve(n); n.Kind != yaml.MappingNode {
		l.problem(strings.TrimSuffix(path, "."), n.Line, fmt.Errorf("want a mapping; found %s", nodeKind(n)))

		return
	}

	for i := 0; i+1 < len(n.Content); i += 2 {
		keyNode, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		key := path + keyNode.Value
		line := n.Content[i].Line

		known, isLeaf, isBase64 := lookUp(key)

		switch {
		case keyNode.Kind != yaml.ScalarNode || !known:
			l.problem(fmt.Sprintf("%s%.40q", path, keyNode.Value), line, errors.New("unknown key"))
		case l.lines[key] != 0:
			l.problem(key, line, fmt.Errorf("the same key is on line %d", l.lines[key]))
		case isLeaf:
			l.lines[key] = line
			l.scalar(key, value, isBase64)
		default:
			l.lines[key] = line
			l.walk(value, key+".")
		}
	}
}

// scalar takes the text as it is written: an unquoted token of digits looks like a number to YAML.
func (l *bundleLoader) scalar(path string, n *yaml.Node, isBase64 bool) {
	tag := n.ShortTag()

	switch {
	case n.Kind != yaml.ScalarNode:
		l.problem(path, n.Line, fmt.Errorf("want a string; found %s", nodeKind(n)))

		return
	case tag == "!!null":
		return // the same as no entry
	case strings.HasPrefix(tag, "!!") && tag != "!!binary":
	default:
		l.problem(path, n.Line, errors.New("want a string; found a value with a tag"))

		return
	}

	text := strings.TrimSpace(n.Value)

	if isBase64 {
		if strings.HasPrefix(text, string(pemBegin)) {
			l.problem(path, n.Line, errors.New("want base64 of PEM; found PEM itself"))

			return
		}

		pem, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			l.problem(path, n.Line, fmt.Errorf("not base64: %w", err))

			return
		}

		text = string(pem)
	}

	l.values[path] = NewText(text)
}

func (l *bundleLoader) parts() Parts {
	pair := func(path string) PairParts {
		return PairParts{Certificate: l.values[path+".crt"].Reveal(), Key: l.values[path+".key"]}
	}

	// The line of what is missing in a broken or missing mapping would only repeat its problem.
	for _, p := range bundlePaths {
		for parent := p.path; strings.Contains(parent, "."); {
			parent = parent[:strings.LastIndex(parent, ".")]
			if l.asm.skip[parent] {
				l.asm.skip[p.path] = true
			}
		}

		if l.asm.skip[""] {
			l.asm.skip[p.path] = true
		}
	}

	return Parts{
		ClusterID:         l.values["cluster.id"].Reveal(),
		ClusterSecret:     l.values["cluster.secret"],
		BootstrapToken:    l.values["secrets.bootstraptoken"],
		SecretboxSecret:   l.values["secrets.secretboxencryptionsecret"],
		AESCBCSecret:      l.values["secrets.aescbcencryptionsecret"],
		MachineToken:      l.values["trustdinfo.token"],
		Etcd:              pair("certs.etcd"),
		Kubernetes:        pair("certs.k8s"),
		FrontProxy:        pair("certs.k8saggregator"),
		OS:                pair("certs.os"),
		ServiceAccountKey: l.values["certs.k8sserviceaccount.key"],
	}
}

// line returns the line of the nearest key at or above path that the file has.
func (l *bundleLoader) line(path string) int {
	for {
		if line := l.lines[path]; line != 0 {
			return line
		}

		dot := strings.LastIndex(path, ".")
		if dot < 0 {
			return 0
		}

		path = path[:dot]
	}
}

// lookUp reports whether a path is known, and whether it is that of a value.
func lookUp(path string) (known, isLeaf, isBase64 bool) {
	for _, p := range bundlePaths {
		if p.path == path {
			return true, true, p.base64
		}

		if strings.HasPrefix(p.path, path+".") {
			return true, false, false
		}
	}

	return false, false, false
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}

	return n
}

func nodeKind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	default:
		return "a single value"
	}
}
