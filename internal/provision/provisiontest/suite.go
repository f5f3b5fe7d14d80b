package provisiontest

import (
	"bytes"
	gocmp "cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/provision"
)

// Suite is what the tests need to know of a provisioner.
//
// The node image of the requests has a PID 1 that writes the word of each config to its console when it starts and "bye" when
// it is asked to shut down, and keeps count of its starts in its own data: "start N of WORD". It may be a real node only if
// it does that, too.
type Suite struct {
	// New returns the provisioner as a program does that has just been started: it knows only what the computer has.
	New func(t *testing.T) provision.Provisioner
	// Request is a cluster of one control-plane node and one worker, in a network that nothing else has.
	Request func(name string) provision.ClusterRequest
	// Config is a machine config with a word in it.
	Config func(word string) []byte
	// Left lists all that there is on the computer of the clusters that the suite makes, files included; "" if nothing.
	Left func(t *testing.T) []string
	// Interrupt creates Request(name) in another process, which is killed before it makes its n-th thing, from 1. It reports
	// whether the create was done before that.
	Interrupt func(t *testing.T, name string, n int) (done bool)
	// Kill ends a node's PID 1 from outside, as a person with kill(1) does.
	Kill func(t *testing.T, n provision.Node)
	// Reach connects to a node's API port and returns an error if there is no answer.
	Reach func(ctx context.Context, n provision.Node) error
	// Limit bounds each thing that is waited for; 0 is a minute.
	Limit time.Duration
	// LongConfig is the size of a config in bytes that is too long; 0 is 1 MiB.
	LongConfig int
	// PrivateNetworks says that clusters do not meet: two of them may have the same network.
	PrivateNetworks bool
}

// Run runs the suite. Its clusters are called like name, one after the other.
func (s Suite) Run(t *testing.T, name string) {
	for _, tc := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"a created cluster is there for everyone, and destroy leaves nothing", s.create},
		{"requests that cannot be met make nothing", s.refuse},
		{"what is not there is said", s.missing},
		{"nodes stop, start and die, and keep their data", s.power},
		{"nodes come and go", s.scale},
		{"destroy removes what an interrupted create left", s.interrupted},
		{"a cancelled create stops and can be destroyed", s.cancelled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if left := s.Left(t); len(left) > 0 {
				t.Fatalf("before the test there is:\n%s", strings.Join(left, "\n"))
			}
			t.Cleanup(func() {
				err := s.New(t).Destroy(context.Background(), name, nil)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Destroy at the end: %v", err)
				}
				if left := s.Left(t); len(left) > 0 {
					t.Errorf("after the test there is:\n%s", strings.Join(left, "\n"))
				}
			})
			tc.run(t, name)
		})
	}
}

func (s Suite) context(t *testing.T) context.Context {
	limit := gocmp.Or(s.Limit, time.Minute) // a busy computer needs some of it
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("the test took %v", limit))
	t.Cleanup(cancel)
	return ctx
}

// made creates a cluster.
func (s Suite) made(t *testing.T, name string) *provision.Cluster {
	t.Helper()
	c, err := s.New(t).Create(s.context(t), s.Request(name), nil)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return c
}

// until waits until a node's log has a text and returns the log.
func (s Suite) until(t *testing.T, cluster, node, text string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(s.context(t))
	defer cancel()
	log := &watched{text: text, found: cancel}
	if err := s.New(t).Logs(ctx, cluster, node, provision.LogOptions{Follow: true}, log); err != nil {
		t.Fatalf("Logs of %s: %v", node, err)
	}
	if got := log.String(); !strings.Contains(got, text) {
		t.Fatalf("log of %s = %q; want %q in it", node, got, text)
	}
	return log.String()
}

// watched is a buffer that calls found when it has text.
type watched struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	text  string
	found func()
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if bytes.Contains(w.buf.Bytes(), []byte(w.text)) {
		w.found()
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func (s Suite) create(t *testing.T, name string) {
	r := s.Request(name)
	var steps []string
	created, err := s.New(t).Create(s.context(t), r, func(step string) func(error) {
		return func(err error) {
			if err == nil {
				steps = append(steps, step)
			}
		}
	})
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	for _, n := range r.Nodes {
		if !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, n.Name) }) {
			t.Errorf("steps %q do not name node %s", steps, n.Name)
		}
	}
	// Another run of the program finds the same.
	c, err := s.New(t).Reflect(s.context(t), name)
	if err != nil {
		t.Fatalf("Reflect: %v", err)
	}
	if diff := cmp.Diff(created, c, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Reflect is not what Create returned (-created +reflected):\n%s", diff)
	}
	if c.Name != name || c.Phase != provision.Created || c.Image != r.Image || c.KubernetesEndpoint != r.KubernetesEndpoint ||
		c.Network.CIDR != r.Network.CIDR || c.Network.Gateway != r.Network.Gateway() || c.Network.MTU != r.Network.MTU {
		t.Errorf("cluster %+v is not what was asked for: %+v", c, r)
	}
	if len(c.Nodes) != len(r.Nodes) {
		t.Fatalf("%d nodes; want %d", len(c.Nodes), len(r.Nodes))
	}
	for i, n := range c.Nodes {
		want := r.Nodes[i]
		if n.Name != want.Name || n.Type != want.Type || n.Address != want.Address || n.CPUs != want.CPUs || n.Memory != want.Memory ||
			n.Status != provision.Running {
			t.Errorf("node %+v is not what was asked for: %+v", n, want)
		}
		s.until(t, name, n.Name, "start 1 of "+n.Name+"\n")
		if err := s.Reach(s.context(t), n); err != nil {
			t.Errorf("reach %s: %v", n.Name, err)
		}
		if config, err := s.New(t).Config(s.context(t), name, n.Name); err != nil || !bytes.Equal(config, want.Config) {
			t.Errorf("Config of %s = %q, %v; want that of the request", n.Name, config, err)
		}
	}
	if got := c.Endpoints(); len(got) != 1 || got[0] != c.Nodes[0].Endpoint {
		t.Errorf("Endpoints = %v; want that of the control plane", got)
	}
	if left := s.Left(t); len(left) == 0 {
		t.Error("there is nothing of a cluster that runs: this test could not find what destroy leaves")
	}
	if err := s.New(t).Destroy(s.context(t), name, nil); err != nil {
		t.Fatalf("Destroy: %v", err)
	}
	if left := s.Left(t); len(left) > 0 {
		t.Errorf("after Destroy there is:\n%s", strings.Join(left, "\n"))
	}
	if err := s.New(t).Destroy(s.context(t), name, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Destroy again = %v; want fs.ErrNotExist", err)
	}
}

func (s Suite) refuse(t *testing.T, name string) {
	for _, tc := range []struct {
		name   string
		change func(*provision.ClusterRequest)
		want   error
	}{
		{"no name", func(r *provision.ClusterRequest) { r.Name = "" }, provision.ErrInvalid},
		{"a name that leads away", func(r *provision.ClusterRequest) { r.Name = "../x" }, provision.ErrInvalid},
		{"no nodes", func(r *provision.ClusterRequest) { r.Nodes = nil }, provision.ErrInvalid},
		{"an unknown image", func(r *provision.ClusterRequest) { r.Image = "registry.invalid/none:v1" }, fs.ErrNotExist},
		{"the gateway's address", func(r *provision.ClusterRequest) { r.Nodes[0].Address = r.Network.Gateway() }, provision.ErrInvalid},
		{"one address twice", func(r *provision.ClusterRequest) { r.Nodes[1].Address = r.Nodes[0].Address }, provision.ErrInvalid},
		{"a config that is too long", func(r *provision.ClusterRequest) { r.Nodes[1].Config = noise(gocmp.Or(s.LongConfig, 1<<20)) }, provision.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := s.Request(name)
			tc.change(&r)
			if _, err := s.New(t).Create(s.context(t), r, nil); !errors.Is(err, tc.want) {
				t.Errorf("Create = %v; want %v", err, tc.want)
			}
			if left := s.Left(t); len(left) > 0 {
				t.Errorf("after a refused create there is:\n%s", strings.Join(left, "\n"))
			}
		})
	}
	s.made(t, name)
	t.Run("a cluster that is there", func(t *testing.T) {
		if _, err := s.New(t).Create(s.context(t), s.Request(name), nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create = %v; want fs.ErrExist", err)
		}
	})
	t.Run("a network that another cluster has", func(t *testing.T) {
		r := s.Request(name + "-b")
		r.Network = s.Request(name).Network
		if s.PrivateNetworks {
			if _, err := s.New(t).Create(s.context(t), r, nil); err != nil {
				t.Errorf("Create = %v; want another cluster", err)
			}
			if err := s.New(t).Destroy(s.context(t), r.Name, nil); err != nil {
				t.Errorf("Destroy = %v", err)
			}
			return
		}
		if _, err := s.New(t).Create(s.context(t), r, nil); !errors.Is(err, provision.ErrInUse) {
			t.Errorf("Create = %v; want ErrInUse", err)
		}
	})
}

// noise is a config that does not become shorter when it is compressed.
func noise(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // cannot fail
	return data
}

func (s Suite) missing(t *testing.T, name string) {
	p := s.New(t)
	ctx := s.context(t)
	node := s.Request(name).Nodes[0]
	check := func(cluster, node string, r provision.NodeRequest) {
		t.Helper()
		_, reflected := p.Reflect(ctx, cluster)
		if node != "" {
			reflected = fs.ErrNotExist
		}
		_, config := p.Config(ctx, cluster, node)
		errs := map[string]error{
			"Reflect": reflected, "Config": config,
			"RemoveNode": p.RemoveNode(ctx, cluster, node, nil),
			"StartNode":  p.StartNode(ctx, cluster, node), "StopNode": p.StopNode(ctx, cluster, node), "KillNode": p.KillNode(ctx, cluster, node),
			"Logs": p.Logs(ctx, cluster, node, provision.LogOptions{}, new(bytes.Buffer)),
		}
		if node == "" {
			errs["AddNode"] = p.AddNode(ctx, cluster, r, nil)
		}
		for verb, err := range errs {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of what is not there = %v; want fs.ErrNotExist", verb, err)
			}
		}
	}
	check(name, "", node)
	s.made(t, name)
	check(name, "nobody", node)
}

// status returns the status of a node.
func (s Suite) status(t *testing.T, cluster, node string) provision.Status {
	t.Helper()
	c, err := s.New(t).Reflect(s.context(t), cluster)
	if err != nil {
		t.Fatalf("Reflect: %v", err)
	}
	n, ok := c.Node(node)
	if !ok {
		return ""
	}
	return n.Status
}

func (s Suite) power(t *testing.T, name string) {
	c := s.made(t, name)
	worker := c.Nodes[1]
	s.until(t, name, worker.Name, "start 1 of")
	do := func(what string, err error, want provision.Status) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := s.status(t, name, worker.Name); got != want {
			t.Errorf("after %s the node is %s; want %s", what, got, want)
		}
	}
	ctx := s.context(t)
	do("StartNode of one that runs", s.New(t).StartNode(ctx, name, worker.Name), provision.Running)
	do("StopNode", s.New(t).StopNode(ctx, name, worker.Name), provision.Stopped)
	s.until(t, name, worker.Name, "bye\n")
	do("StopNode of one that is stopped", s.New(t).StopNode(ctx, name, worker.Name), provision.Stopped)
	do("StartNode", s.New(t).StartNode(ctx, name, worker.Name), provision.Running)
	s.until(t, name, worker.Name, "start 2 of")
	do("KillNode", s.New(t).KillNode(ctx, name, worker.Name), provision.Stopped)
	if log := s.until(t, name, worker.Name, "start 2 of"); strings.Count(log, "bye\n") != 1 {
		t.Errorf("a killed node said bye: %q", log)
	}
	do("KillNode of one that is stopped", s.New(t).KillNode(ctx, name, worker.Name), provision.Stopped)
	do("StartNode after a kill", s.New(t).StartNode(ctx, name, worker.Name), provision.Running)
	s.until(t, name, worker.Name, "start 3 of")
	c, err := s.New(t).Reflect(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	worker = c.Nodes[1]
	if err := s.Reach(ctx, worker); err != nil {
		t.Errorf("reach the node after its third start: %v", err)
	}
	s.Kill(t, worker)
	for s.status(t, name, worker.Name) == provision.Running && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	do("a kill from outside", nil, provision.Stopped)
	do("StartNode after that", s.New(t).StartNode(ctx, name, worker.Name), provision.Running)
	s.until(t, name, worker.Name, "start 4 of")
	var tail bytes.Buffer
	if err := s.New(t).Logs(ctx, name, worker.Name, provision.LogOptions{Tail: 1}, &tail); err != nil || tail.String() != "start 4 of "+worker.Name+"\n" {
		t.Errorf("last line of the log = %q, %v", tail.String(), err)
	}
	if got := s.status(t, name, c.Nodes[0].Name); got != provision.Running {
		t.Errorf("the other node is %s", got)
	}
}

func (s Suite) scale(t *testing.T, name string) {
	c := s.made(t, name)
	ctx := s.context(t)
	added := s.Request(name).Nodes[1]
	added.Name, added.Address = c.FreeName(provision.Worker), c.FreeAddress()
	added.Config = s.Config(added.Name)
	for _, taken := range []provision.NodeRequest{
		{Name: c.Nodes[0].Name, Type: provision.Worker, Address: added.Address, Config: added.Config},
		{Name: added.Name, Type: provision.Worker, Address: c.Nodes[0].Address, Config: added.Config},
	} {
		if err := s.New(t).AddNode(ctx, name, taken, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("AddNode with a name or an address that is taken = %v; want fs.ErrExist", err)
		}
	}
	bad := added
	bad.Address = netip.MustParseAddr("192.0.2.1")
	if err := s.New(t).AddNode(ctx, name, bad, nil); !errors.Is(err, provision.ErrInvalid) {
		t.Errorf("AddNode with an address of another network = %v; want ErrInvalid", err)
	}
	if err := s.New(t).AddNode(ctx, name, added, nil); err != nil {
		t.Fatalf("AddNode: %v", err)
	}
	s.until(t, name, added.Name, "start 1 of "+added.Name)
	if got := s.status(t, name, added.Name); got != provision.Running {
		t.Errorf("the added node is %s", got)
	}
	for _, n := range []string{added.Name, c.Nodes[1].Name} {
		if err := s.New(t).RemoveNode(ctx, name, n, nil); err != nil {
			t.Errorf("RemoveNode %s: %v", n, err)
		}
		if got := s.status(t, name, n); got != "" {
			t.Errorf("the removed node is %s", got)
		}
	}
	// The name and the address are free again, and nothing of the old node is there.
	if err := s.New(t).AddNode(ctx, name, added, nil); err != nil {
		t.Fatalf("AddNode again: %v", err)
	}
	if log := s.until(t, name, added.Name, "start 1 of "+added.Name); strings.Count(log, "start") != 1 {
		t.Errorf("log of the new node = %q; want nothing of the old one", log)
	}
}

func (s Suite) interrupted(t *testing.T, name string) {
	const most = 200
	n := 1
	for ; n < most; n++ {
		done := s.Interrupt(t, name, n)
		// Whatever there is, one that looks is told, and does not fail for another reason.
		if _, err := s.New(t).Reflect(s.context(t), name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("interrupted before thing %d: Reflect = %v", n, err)
		}
		if err := s.New(t).Destroy(s.context(t), name, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("interrupted before thing %d: Destroy = %v", n, err)
		}
		if left := s.Left(t); len(left) > 0 {
			t.Fatalf("interrupted before thing %d: after Destroy there is:\n%s", n, strings.Join(left, "\n"))
		}
		if done {
			break
		}
	}
	if n < 8 || n == most {
		t.Errorf("a create makes %d things: it was not interrupted", n)
	}
}

func (s Suite) cancelled(t *testing.T, name string) {
	ctx, cancel := context.WithCancel(s.context(t))
	defer cancel()
	last := s.Request(name).Nodes[1].Name
	_, err := s.New(t).Create(ctx, s.Request(name), func(step string) func(error) {
		if strings.Contains(step, last) {
			cancel()
		}
		return func(error) {}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Create = %v; want context.Canceled", err)
	}
	c, err := s.New(t).Reflect(s.context(t), name)
	if err != nil {
		t.Fatalf("Reflect: %v", err)
	}
	if c.Phase != provision.Creating || c.Nodes[0].Status != provision.Running || c.Nodes[1].Status == provision.Running {
		t.Errorf("a cancelled create left %+v; want it for a look, with its first node", c)
	}
}
