package proxy

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"talos.internal/internal/proxy/authz"
	"talos.internal/secret"
)

// The keys of metadata by which a call says where it goes and for whom (contract sections 1.1 and 1.9).
const (
	keyNode  = "node"       // forward to this node; one value
	keyNodes = "nodes"      // ask these nodes and join the replies
	keyFrom  = "proxyfrom"  // set by the proxy that has forwarded: answer here
	keyRoles = "talos-role" // the roles of the original caller
)

// question is all that a decision depends on.
type question struct {
	method string
	in     metadata.MD
	peer   caller
	mode   authz.Mode
	// self reports whether a target, by its key, is this node.
	self func(key string) bool
	// forwards is false on workers and in maintenance mode.
	forwards bool
	// name is what this node calls itself towards others.
	name string
}

// way is where a call goes.
type way uint8

const (
	here way = iota // machined of this node answers, in one-to-one fashion
	one             // one other node
	many            // the nodes that were named, joined; this node may be one of them
)

// plan is a decision.
type plan struct {
	way     way
	targets []target // one for one, at least one for many
	// roles are those in whose name the call is made.
	roles []string
	// local and remote are the metadata of the call to machined and of that to another node. They are shared by
	// goroutines and must not be changed.
	local, remote metadata.MD
}

// target is a node that a call is for.
type target struct {
	name string // as the caller wrote it, which is what replies call it
	key  string // the same node has the same key
	self bool
}

// where describes the plan's targets for a log line.
func (p plan) where() string {
	const most = 8

	if p.way == here {
		return "local"
	}

	var names []string
	for _, t := range p.targets[:min(len(p.targets), most)] {
		names = append(names, t.name)
	}

	if rest := len(p.targets) - most; rest > 0 {
		names = append(names, fmt.Sprintf("and %d more", rest))
	}

	return strings.Join(names, " ")
}

// decide says what becomes of a call. Errors are gRPC statuses: PermissionDenied if the caller's roles do not allow it, or
// if this node would have to forward and does not; InvalidArgument for metadata that cannot be; Unimplemented for many
// nodes and a method of which it is not known whether its replies can be joined.
//
// A plan has the roles found so far even with an error, for the log.
func decide(q question) (plan, error) {
	in := lowerKeys(q.in)
	p := plan{roles: rolesOf(q.peer, in)}

	// First of all: who may not call learns nothing of what else would be wrong.
	if !q.mode.Allowed(q.method, p.roles) {
		return p, status.Errorf(codes.PermissionDenied, "%.128s is for %s; the caller has %s", q.method,
			strings.Join(q.mode.Needs(q.method), ", "), describeRoles(p.roles))
	}

	if err := p.route(q, in); err != nil {
		return p, err
	}

	var err error
	if p.local, err = outgoing(in, p.roles); err != nil {
		return p, err
	}

	p.remote = p.local.Copy()
	p.remote.Set(keyFrom, q.name)

	return p, nil
}

// rolesOf returns the roles in whose name a call is made. The key talos-role counts only from an impersonator; nobody
// becomes an impersonator by it.
func rolesOf(peer caller, in metadata.MD) []string {
	said, ok := in[keyRoles]
	if !ok || !peer.impersonator {
		return peer.roles
	}

	var roles []string

	for _, role := range said {
		if role != "" && role != secret.RoleImpersonator {
			roles = append(roles, role)
		}
	}

	return roles
}

func describeRoles(roles []string) string {
	if len(roles) == 0 {
		return "no role"
	}

	const most = 8

	var b strings.Builder
	for i, role := range roles[:min(len(roles), most)] {
		if i > 0 {
			b.WriteString(", ")
		}

		fmt.Fprintf(&b, "%.64s", role)
	}

	return strings.ToValidUTF8(b.String(), "?")
}

// route sets the plan's way and targets.
func (p *plan) route(q question, in metadata.MD) error {
	nodes, isMany := in[keyNodes]
	node, isOne := in[keyNode]

	switch {
	case len(in[keyFrom]) > 0: // forwarded once: here it ends, whatever else is said
		return nil
	case isMany && isOne:
		return status.Error(codes.InvalidArgument, "metadata has both node and nodes: which of them is meant?")
	case isMany:
		return p.routeMany(q, nodes)
	case isOne:
		return p.routeOne(q, node)
	default:
		return nil
	}
}

func (p *plan) routeOne(q question, node []string) error {
	if len(node) != 1 {
		return status.Errorf(codes.InvalidArgument, "metadata node has %d values; want one, or nodes for several", len(node))
	}

	t, err := newTarget(node[0], q.self)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "metadata node: %v", err)
	}

	if t.self {
		return nil
	}

	if !q.forwards {
		return errNoForwarding(t)
	}

	p.way, p.targets = one, []target{t}

	return nil
}

func (p *plan) routeMany(q question, nodes []string) error {
	s := shapeOf(q.method)

	switch {
	case !s.joined:
		return status.Errorf(codes.InvalidArgument,
			"%.128s cannot be asked of many nodes at once: use node, once for each", q.method)
	case !s.known:
		return status.Errorf(codes.Unimplemented,
			"this node does not know %.128s, and therefore cannot join its replies: use node, once for each", q.method)
	case s.requests:
		return status.Errorf(codes.InvalidArgument,
			"%.128s takes a stream of requests, which cannot be sent to many nodes: use node", q.method)
	case len(nodes) == 0:
		return status.Error(codes.InvalidArgument, "metadata nodes has no value")
	case len(nodes) > MaxNodes:
		return status.Errorf(codes.InvalidArgument, "metadata nodes has %d values; at most %d are allowed",
			len(nodes), MaxNodes)
	}

	seen := make(map[string]bool, len(nodes))

	for _, node := range nodes {
		t, err := newTarget(node, q.self)
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "metadata nodes: %v", err)
		}

		if seen[t.key] {
			continue
		}

		if !t.self && !q.forwards {
			return errNoForwarding(t)
		}

		seen[t.key] = true

		p.targets = append(p.targets, t)
	}

	p.way = many

	return nil
}

func errNoForwarding(t target) error {
	return status.Errorf(codes.PermissionDenied,
		"this node does not forward calls, and %s is not one of its addresses: use a control-plane node as the endpoint",
		t.name)
}

// ownKeys are those by which the proxy itself is steered; they end here.
var ownKeys = []string{keyNode, keyNodes, keyFrom, keyRoles}

// outgoing returns the metadata that a call is passed on with: what the caller sent, without what belongs to this hop, and
// with the roles. A role that cannot be a header's value is left out; it is none that is known.
//
// It returns InvalidArgument for a key or value that HTTP/2 allows and gRPC does not.
func outgoing(in metadata.MD, roles []string) (metadata.MD, error) {
	out := metadata.MD{}

	for key, values := range in {
		if hopByHop(key) || slices.Contains(ownKeys, key) {
			continue
		}

		if !validKey(key) {
			return nil, status.Errorf(codes.InvalidArgument, "metadata key %.64q is not one of gRPC", key)
		}

		if !strings.HasSuffix(key, "-bin") {
			for _, value := range values {
				if !printable(value) {
					return nil, status.Errorf(codes.InvalidArgument, "metadata %.64s has a character that is not printable ASCII", key)
				}
			}
		}

		out[key] = slices.Clone(values)
	}

	for _, role := range roles {
		if printable(role) && strings.TrimSpace(role) == role {
			out.Append(keyRoles, role)
		}
	}

	return out, nil
}

// hopByHop reports whether a header is between two ends of one connection only. gRPC sets its own.
func hopByHop(key string) bool {
	switch key {
	case "content-type", "user-agent", "te", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
		"host", "content-length":
		return true
	default:
		return key == "" || key[0] == ':' || strings.HasPrefix(key, "grpc-")
	}
}

// passed returns the headers or trailers of a reply without what belongs to one hop. Nil stays nil.
func passed(md metadata.MD) metadata.MD {
	if md == nil {
		return nil
	}

	out := metadata.MD{}

	for key, values := range md {
		if !hopByHop(key) && validKey(key) {
			out[key] = values
		}
	}

	return out
}

// lowerKeys returns md with keys in lower case, values of keys that then are the same joined, ordered by the keys as they
// were, so that the result does not depend on chance. The values are shared.
func lowerKeys(md metadata.MD) metadata.MD {
	keys := make([]string, 0, len(md))
	plain := true

	for key := range md {
		keys = append(keys, key)
		plain = plain && key == strings.ToLower(key)
	}

	if plain {
		return md
	}

	slices.Sort(keys)

	out := metadata.MD{}
	for _, key := range keys {
		lower := strings.ToLower(key)
		out[lower] = slices.Concat(out[lower], md[key])
	}

	return out
}

// validKey is the rule of gRPC over HTTP2 for names of custom metadata.
func validKey(key string) bool {
	for _, c := range []byte(key) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}

	return key != ""
}

func printable(value string) bool {
	for _, c := range []byte(value) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}

	return true
}
