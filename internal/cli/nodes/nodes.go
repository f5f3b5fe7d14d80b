// Package nodes is how commands reach machines: the flags that say which, the calls to each of them, and what is printed of
// the answers and the failures, so that all commands behave the same.
//
// A command binds [Flags] and opens a [Session] when it runs. The session has the nodes to ask and a way to each: through an
// endpoint that forwards the call, or, for machines without a config ([Flags.BindInsecure]), straight to it. [Each] asks all
// nodes and [Stream] follows all; both hand over what succeeded and print a line for every node that failed. The command
// ends with [Session.Err], so that the exit code says that something is missing.
//
// Every call has a time limit. A stream that does not follow something has a limit on how long nothing may come.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

// Time limits of calls.
const (
	// Quick is for questions that a node answers from memory.
	Quick = 30 * time.Second
	// Slow is for what makes a node work: etcd, services, disks.
	Slow = 5 * time.Minute
	// Idle is how long nothing may come on a stream that has an end.
	Idle = time.Minute
)

// Flags are the flags of a command that talks to machines.
type Flags struct {
	env command.Env

	nodes, endpoints              []string
	talosconfig, context, cluster string

	insecure     bool
	fingerprints []string
}

// Bind adds the flags to cmd.
func Bind(cmd *cobra.Command, env command.Env) *Flags {
	f := &Flags{env: env}
	fl := cmd.Flags()
	fl.StringSliceVarP(&f.nodes, "nodes", "n", nil, "the machines to ask (default: those of the context)")
	fl.StringSliceVarP(&f.endpoints, "endpoints", "e", nil, "the machines that take the calls (default: those of the context)")
	fl.StringVar(&f.talosconfig, "talosconfig", "", "the client's configuration (default: $TALOSCONFIG, else ~/.talos/config)")
	fl.StringVar(&f.context, "context", "", "the context of the configuration (default: the current one)")
	fl.StringVarP(&f.cluster, "cluster", "c", "", "use the context whose cluster at a management service has this name")
	command.Complete(cmd, "context", f.completeContexts)
	command.Complete(cmd, "nodes", f.completeNodes)
	return f
}

// Choice is what the flags say, for a command whose flags are its own.
type Choice struct {
	Nodes       []string
	Talosconfig string // the value of --talosconfig
}

// Flags returns flags that were given so.
func (c Choice) Flags(env command.Env) *Flags {
	return &Flags{env: env, nodes: c.Nodes, talosconfig: c.Talosconfig}
}

// BindInsecure adds the flags for machines that have no config yet.
func (f *Flags) BindInsecure(cmd *cobra.Command) *Flags {
	fl := cmd.Flags()
	fl.BoolVarP(&f.insecure, "insecure", "i", false, "the machines have no config yet: connect to them without credentials")
	fl.StringSliceVar(&f.fingerprints, "cert-fingerprint", nil, "with --insecure: the SHA-256 that the machine's certificate must have, as its console shows it")
	return f
}

// Insecure reports whether the machines are reached without credentials.
func (f *Flags) Insecure() bool { return f.insecure }

// Env returns the process that the command runs in.
func (f *Flags) Env() command.Env { return f.env }

// Session is a run of a command on its nodes.
type Session struct {
	env   command.Env
	nodes []string
	// direct are the clients of machines without a config, each to its own; shared is the one for all others.
	direct map[string]*client.Client
	shared *client.Client
	// context is what was chosen from the talosconfig; nil if insecure.
	context *talosconfig.Context

	mu     sync.Mutex
	failed bool
}

// Open makes a session. Nothing is sent yet. The caller closes it.
func (f *Flags) Open(cmd *cobra.Command) (*Session, error) {
	for _, n := range f.nodes {
		if err := checkNode(n); err != nil {
			return nil, command.Usagef(cmd, "--nodes: %w", err)
		}
	}
	for _, e := range f.endpoints {
		if _, err := client.ParseEndpoint(e); err != nil {
			return nil, command.Usagef(cmd, "--endpoints: %w", err)
		}
	}
	if len(f.fingerprints) > 0 && !f.insecure {
		return nil, command.Usagef(cmd, "--cert-fingerprint is of use only together with --insecure")
	}
	if f.insecure {
		return f.openInsecure(cmd)
	}
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	s := &Session{env: f.env, nodes: f.nodes, context: c}
	if len(s.nodes) == 0 {
		s.nodes = c.Nodes
	}
	if len(s.nodes) == 0 {
		return nil, command.Usagef(cmd, "no machines to ask: name them by --nodes, or once for all by 'talosctl config node'")
	}
	s.nodes = distinct(s.nodes)
	s.shared, err = client.New(client.Options{Context: c, Endpoints: f.endpoints})
	return s, err
}

// OpenOne is Open for a command that is for a single machine.
func (f *Flags) OpenOne(cmd *cobra.Command) (*Session, error) {
	s, err := f.Open(cmd)
	if err != nil {
		return nil, err
	}
	if len(s.nodes) != 1 {
		s.Close()
		return nil, command.Usagef(cmd, "this is for one machine, and there are %d: %s; choose one by --nodes", len(s.nodes), strings.Join(s.nodes, ", "))
	}
	return s, nil
}

func (f *Flags) openInsecure(cmd *cobra.Command) (*Session, error) {
	var pins []secret.Fingerprint
	for _, text := range f.fingerprints {
		pin, err := secret.ParseFingerprint(text)
		if err != nil {
			return nil, command.Usagef(cmd, "--cert-fingerprint: %w", err)
		}
		pins = append(pins, pin)
	}
	if len(f.nodes) == 0 {
		return nil, command.Usagef(cmd, "no machines to ask: with --insecure they must be named by --nodes")
	}
	s := &Session{env: f.env, nodes: distinct(f.nodes), direct: map[string]*client.Client{}}
	for _, n := range s.nodes {
		m := &client.Maintenance{Fingerprints: pins}
		if len(pins) == 0 {
			var once sync.Once
			m.Unpinned = func(got secret.Fingerprint) {
				once.Do(func() {
					s.env.Warn("warning: %s: nobody vouches for this machine; compare its certificate's fingerprint with the console: %s", n, got)
				})
			}
		}
		endpoint := n
		if len(f.endpoints) > 0 {
			if len(f.endpoints) != len(s.nodes) {
				s.Close()
				return nil, command.Usagef(cmd, "with --insecure each of --nodes is called by itself: give as many --endpoints, or none")
			}
			endpoint = f.endpoints[slices.Index(s.nodes, n)]
		}
		c, err := client.New(client.Options{Endpoints: []string{endpoint}, Maintenance: m})
		if err != nil {
			s.Close()
			return nil, err
		}
		s.direct[n] = c
	}
	return s, nil
}

// load reads the context of the talosconfig.
func (f *Flags) load() (*talosconfig.Context, error) {
	path, err := f.locate()
	if err != nil {
		return nil, err
	}
	c, warnings, err := talosconfig.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; take one over by 'talosctl config merge FILE'", err)
	}
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		f.env.Warn("warning: %s: %s", path, w)
	}
	name := f.context
	if f.cluster != "" && name == "" {
		if name, err = byCluster(c, f.cluster); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	_, context, err := c.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return context, nil
}

// byCluster returns the name of the context of a cluster at a management service.
func byCluster(c *talosconfig.Config, cluster string) (string, error) {
	var found []string
	for _, name := range c.Names() {
		if c.Contexts[name].Cluster == cluster {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no context is of the cluster %q", cluster)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("several contexts are of the cluster %q: %s; choose one by --context", cluster, strings.Join(found, ", "))
}

// checkNode returns why a word cannot be the name of a node.
func checkNode(n string) error {
	if n == "" || strings.ContainsAny(n, " \t\r\n/,") {
		return fmt.Errorf("%q is no address or name of a machine", n)
	}
	return nil
}

func distinct(list []string) []string {
	var out []string
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// Close ends all connections.
func (s *Session) Close() {
	if s.shared != nil {
		_ = s.shared.Close() // the client's Close has no error
	}
	for _, c := range s.direct {
		_ = c.Close()
	}
}

// Nodes returns the nodes that are asked, in the order in which they were named.
func (s *Session) Nodes() []string { return s.nodes }

// Env returns the process that the command runs in.
func (s *Session) Env() command.Env { return s.env }

// Context returns the context of the talosconfig in use; nil for machines without a config.
func (s *Session) Context() *talosconfig.Context { return s.context }

// Client returns the client for calls to node.
func (s *Session) Client(node string) *client.Client {
	if c, ok := s.direct[node]; ok {
		return c
	}
	return s.shared
}

// target returns the context for a call to node, without a deadline of its own.
func (s *Session) target(ctx context.Context, node string) context.Context {
	if s.direct != nil {
		node = "" // it is the endpoint itself, which does not forward
	}
	return client.WithNode(ctx, node)
}

// Fail prints the line of a node that failed and remembers it for Err. It may be called from several goroutines.
func (s *Session) Fail(node string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
	s.env.Warn("error: %s: %s", node, OneLine(client.Explain(err)))
}

// Warn prints a line about a node that is no failure.
func (s *Session) Warn(node, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.env.Warn("%s: %s", node, OneLine(fmt.Sprintf(format, args...)))
}

// Err returns [command.ErrReported] if a node failed.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return command.ErrReported
	}
	return nil
}

// OneLine joins the lines of a text.
func OneLine(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	var b strings.Builder
	for i, p := range parts {
		switch {
		case i == 0:
		case strings.HasSuffix(parts[i-1], ":"), strings.HasSuffix(parts[i-1], ";"), strings.HasSuffix(parts[i-1], ","):
			b.WriteString(" ")
		default:
			b.WriteString("; ")
		}
		b.WriteString(p)
	}
	return Clean(b.String())
}

// Host returns a node's address without a port, for names of files.
func Host(node string) string {
	if host, _, err := net.SplitHostPort(node); err == nil {
		return host
	}
	return node
}

// Run opens a session, does do with it and closes it. The error says if a node failed.
func (f *Flags) Run(cmd *cobra.Command, do func(ctx context.Context, s *Session) error) error {
	s, err := f.Open(cmd)
	if err != nil {
		return err
	}
	return s.run(cmd.Context(), do)
}

// RunOne is Run for a command that is for a single machine. An error of do is that machine's.
func (f *Flags) RunOne(cmd *cobra.Command, do func(ctx context.Context, s *Session, node string) error) error {
	s, err := f.OpenOne(cmd)
	if err != nil {
		return err
	}
	return s.run(cmd.Context(), func(ctx context.Context, s *Session) error { return do(ctx, s, s.nodes[0]) })
}

func (s *Session) run(ctx context.Context, do func(ctx context.Context, s *Session) error) error {
	defer s.Close()
	if err := do(ctx, s); err != nil {
		return err
	}
	return s.Err()
}

// interrupted remembers that something was left out, without a line: the person who did it knows.
func (s *Session) interrupted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}
