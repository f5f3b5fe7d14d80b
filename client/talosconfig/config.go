package talosconfig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/secret"
)

// Config is the content of a talosconfig. The zero Config is an empty one. It is not safe for concurrent
// use while someone changes it.
type Config struct {
	// Context is the name of the current context; empty or unknown means that there is none.
	Context string
	// Contexts by name. No value may be nil.
	Contexts map[string]*Context

	unknown map[string]*yaml.Node
}

// Context is how to reach one cluster. Empty fields are left out of the file, but for the endpoints.
type Context struct {
	// Endpoints are addresses or names to connect to, with or without a port, or a URL.
	Endpoints []string
	// Nodes are those that calls are for, unless the caller names others.
	Nodes []string
	// CA and Crt are base64 of PEM: the authorities of the cluster, and the client certificate.
	CA, Crt string
	// Key is base64 of PEM: the private key of Crt.
	Key secret.Text
	// Auth is another way to prove who the client is; nil for none.
	Auth *Auth
	// Cluster is the name of the cluster at a management service.
	Cluster string
	// ProxyURL is the proxy to connect through.
	ProxyURL string

	unknown map[string]*yaml.Node
}

// Auth is authentication by other means than a client certificate.
type Auth struct {
	// SideroV1 signs each request with a key of its own; nil for none.
	SideroV1 *SideroV1

	basic   *yaml.Node // carried as it is: see the package comment
	unknown map[string]*yaml.Node
}

// HasBasic reports whether there are basic credentials, which are kept but not interpreted.
func (a *Auth) HasBasic() bool { return a != nil && a.basic != nil }

// SideroV1 is authentication by signed requests.
type SideroV1 struct {
	// Identity is whose key signs.
	Identity string

	unknown map[string]*yaml.Node
}

// ErrNoContext is wrapped when a context is asked for that is not there.
var ErrNoContext = errors.New("no such context")

// Names returns the names of the contexts, sorted.
func (c *Config) Names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

// Lookup returns the context of that name, or the current one if name is empty, with its name. The
// context is shared: changing it changes c. The error wraps ErrNoContext and says what there is.
func (c *Config) Lookup(name string) (string, *Context, error) {
	if name == "" {
		name = c.Context
	}

	if found := c.Contexts[name]; found != nil {
		return name, found, nil
	}

	switch names := c.Names(); {
	case len(names) == 0:
		return "", nil, fmt.Errorf("%w: the talosconfig is empty", ErrNoContext)
	case name == "":
		return "", nil, fmt.Errorf("%w: none is current; there are %s", ErrNoContext, strings.Join(names, ", "))
	default:
		return "", nil, fmt.Errorf("%w: %q; there are %s", ErrNoContext, name, strings.Join(names, ", "))
	}
}

// NewContext makes a context with the credentials of client for a cluster with the authorities ca.
func NewContext(endpoints, nodes []string, ca []byte, client secret.Pair) *Context {
	encode := base64.StdEncoding.EncodeToString

	return &Context{
		Endpoints: slices.Clone(endpoints),
		Nodes:     slices.Clone(nodes),
		CA:        encode(ca),
		Crt:       encode(client.CertificatePEM()),
		Key:       secret.NewText(encode(client.Key().PEM())),
	}
}

// Rename is a context that got another name in a merge.
type Rename struct{ From, To string }

// Merge adds the contexts of other to c, and makes other's current context the current one.
//
// A context that is there already, under the same name with the same content, is left alone, so that
// merging twice changes nothing. One that differs from the existing one of its name gets a new name: its
// own with -1, -2 and so on, the first that is free or has the same content. The renames are returned,
// sorted by the old name. Unknown keys at the top of other are added where c has none of that name.
// Contexts are shared with other afterwards, which should not be used any more.
func (c *Config) Merge(other *Config) []Rename {
	var renames []Rename

	if c.Contexts == nil {
		c.Contexts = map[string]*Context{}
	}

	now := map[string]string{}

	for _, from := range other.Names() {
		context := other.Contexts[from]
		to := from

		for n := 1; c.Contexts[to] != nil && !c.Contexts[to].Equal(context); n++ {
			to = fmt.Sprintf("%s-%d", from, n)
		}

		if c.Contexts[to] == nil {
			c.Contexts[to] = context
		}

		if now[from] = to; to != from {
			renames = append(renames, Rename{From: from, To: to})
		}
	}

	if to, ok := now[other.Context]; ok {
		c.Context = to
	}

	for key, node := range other.unknown {
		if c.unknown == nil {
			c.unknown = map[string]*yaml.Node{}
		}

		if c.unknown[key] == nil {
			c.unknown[key] = node
		}
	}

	return renames
}

// Equal reports whether both have the same content, unknown keys included. No endpoints and an empty list
// of them are the same.
func (c *Context) Equal(other *Context) bool {
	if c == nil || other == nil {
		return c == other
	}

	return slices.Equal(c.Endpoints, other.Endpoints) &&
		slices.Equal(c.Nodes, other.Nodes) &&
		c.CA == other.CA && c.Crt == other.Crt && c.Key.Equal(other.Key) &&
		c.Cluster == other.Cluster && c.ProxyURL == other.ProxyURL &&
		c.Auth.equal(other.Auth) && sameNodes(c.unknown, other.unknown)
}

func (a *Auth) equal(other *Auth) bool {
	if a == nil || other == nil {
		return a == other
	}

	return a.SideroV1.equal(other.SideroV1) && sameNode(a.basic, other.basic) && sameNodes(a.unknown, other.unknown)
}

func (s *SideroV1) equal(other *SideroV1) bool {
	if s == nil || other == nil {
		return s == other
	}

	return s.Identity == other.Identity && sameNodes(s.unknown, other.unknown)
}

func sameNodes(a, b map[string]*yaml.Node) bool { return maps.EqualFunc(a, b, sameNode) }

// sameNode compares meanings: order of keys, style and comments do not count. What cannot be read as YAML
// is the same as nothing else.
func sameNode(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}

	var left, right any
	if a.Decode(&left) != nil || b.Decode(&right) != nil {
		return false
	}

	return reflect.DeepEqual(left, right)
}
