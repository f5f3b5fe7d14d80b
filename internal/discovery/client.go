package discovery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"talos.internal/internal/discovery/affiliate"
)

// RecordTTL is how long servers keep a record that is not renewed.
const RecordTTL = 30 * time.Minute

const (
	// judgeEvery is how often marks are looked at when nothing happens, judgeAtMost how often when much does.
	judgeEvery  = 500 * time.Millisecond
	judgeAtMost = 50 * time.Millisecond
	// renewLifeEvery is how often a machine may take a new life because it met a later one. Two machines with one id would
	// otherwise outdo each other without end.
	renewLifeEvery = time.Minute
)

// Errors of [Client].
var (
	ErrUnknownNode = errors.New("no such machine is known")
	ErrSelf        = errors.New("a machine leaves by Leave, it does not forget itself")
	ErrNoServer    = errors.New("no discovery server could be told")
)

// Server is where a client registers. Two servers of the same Address are one.
type Server struct {
	Address string // "host:port"
	// TLS is how the server is reached; nil means without TLS. It is not changed after it was handed over, and servers
	// whose TLS is another pointer are another server: a new one makes the client connect anew.
	TLS *tls.Config
	// External means a service that is not of this cluster: no leases there, and less traffic.
	External bool
	// NodeID is the machine that a built-in server runs on, if that is known. It is how the only server's own machine can
	// be marked Gone.
	NodeID string
	// Token is shown to the server at each call, in the metadata under TokenKey, if it is not empty. It is never sent without TLS.
	Token string
}

// TokenKey is the key of the gRPC metadata with [Server.Token]. Built-in servers share a port with trustd and take the same.
const TokenKey = "token"

// Options are what a client needs. ClusterID, Secret and NodeID are required.
type Options struct {
	ClusterID string // base64 of 32 bytes; servers see it
	Secret    []byte // affiliate.SecretSize bytes, not kept; servers do not see it
	NodeID    string
	Version   string // what servers are told about the program
	// Dial replaces the way to servers, for tests; nil is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Client is a machine's membership. Its methods may be called concurrently, before, during and after Run, unless they say
// otherwise.
type Client struct {
	opts Options
	key  *affiliate.Key
	work chan struct{} // of size 1: something happened that may change the view

	mu       sync.Mutex
	table    *table
	sessions map[string]*session // by address
	run      *running            // nil outside of Run
	own      own
	view     *View
	changed  chan struct{} // closed when view is replaced
}

// running is what belongs to one Run.
type running struct {
	ctx context.Context
	wg  sync.WaitGroup
}

// own is what this machine says of itself.
type own struct {
	node      *affiliate.Node // nil: nothing yet
	version   affiliate.Version
	record    []byte // sealed; nil: nothing to say
	lease     []byte
	change    uint64 // grows with each record
	left      bool
	forgotten bool
	renewed   time.Time // when a later life was met
}

// View is what a client knows at a moment. It is immutable and shared.
type View struct {
	Revision uint64         // grows with each change
	Members  []Member       // by ID, this machine included once it has published itself
	Servers  []ServerStatus // by address
	// Forgotten means that somebody has forgotten this machine while it ran. It is silent until Rejoin.
	Forgotten bool
}

// Member is a machine of the cluster.
type Member struct {
	affiliate.Node
	State   State
	Since   time.Time // when State began
	Heard   time.Time // when State was last Alive; zero if it never was. Exact at changes of the view only
	Self    bool
	Version affiliate.Version // zero for a published client
}

// New returns a client that knows no servers and says nothing yet. It returns an error of affiliate.NewKey for a bad
// secret, and others for an empty id.
func New(opts Options) (*Client, error) {
	key, err := affiliate.NewKey(opts.Secret)
	if err != nil {
		return nil, fmt.Errorf("discovery client: %w", err)
	}
	if opts.ClusterID == "" || opts.NodeID == "" || len(opts.NodeID) > affiliate.MaxID || strings.HasPrefix(opts.NodeID, leasePrefix) {
		return nil, fmt.Errorf("discovery client: cluster id %q, node id %q: both are needed, and the node id has at most %d bytes",
			opts.ClusterID, opts.NodeID, affiliate.MaxID)
	}
	opts.Secret = nil
	return &Client{opts: opts, key: key, work: make(chan struct{}, 1), table: newTable(key, opts.NodeID),
		sessions: map[string]*session{}, own: own{version: affiliate.Version{Incarnation: uint64(time.Now().UnixNano())}},
		view: &View{}, changed: make(chan struct{})}, nil
}

// Run keeps the machine registered and the view current until ctx ends, then returns nil, with all its goroutines ended and
// connections closed. It does not leave: the machine is expected back. It must not be called while another Run is going on.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.run != nil {
		c.mu.Unlock()
		return errors.New("discovery client: it runs already")
	}
	r := &running{ctx: ctx}
	c.run = r
	for _, s := range c.sessions {
		s.start(r)
	}
	c.mu.Unlock()
	defer func() {
		// SetServers starts nothing once run is nil.
		c.mu.Lock()
		c.run = nil
		c.mu.Unlock()
		r.wg.Wait()
	}()

	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	refresh := time.NewTimer(refreshAfter())
	defer refresh.Stop()
	for {
		c.judge()
		select {
		case <-time.After(judgeAtMost):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.work:
		case <-tick.C:
		case <-refresh.C:
			refresh.Reset(refreshAfter())
			c.mu.Lock()
			err := c.restate()
			c.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}

// refreshAfter is half of the TTL, or a little less so that machines started together do not stay together.
func refreshAfter() time.Duration {
	return RecordTTL/2 - rand.N(RecordTTL/20)
}

// SetServers says where to register from now on. Sessions of servers that stay are not touched. It returns an error, and
// changes nothing, for an address that is not "host:port" or given twice, and for a token without TLS.
func (c *Client) SetServers(servers []Server) error {
	want := map[string]Server{}
	for _, s := range servers {
		if err := checkAddress(s.Address); err != nil {
			return err
		}
		if _, ok := want[s.Address]; ok {
			return fmt.Errorf("discovery server %s: given twice", s.Address)
		}
		if s.Token != "" && s.TLS == nil {
			return fmt.Errorf("discovery server %s: a token is not sent without TLS", s.Address)
		}
		want[s.Address] = s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for addr, s := range c.sessions {
		if want[addr] == s.server {
			delete(want, addr)
			continue
		}
		s.stop()
		c.table.dropView(s.view)
		delete(c.sessions, addr)
	}
	for _, addr := range slices.Sorted(maps.Keys(want)) {
		s := newSession(c, want[addr])
		c.sessions[addr] = s
		if c.run != nil {
			s.start(c.run)
		}
	}
	c.table.dirty = true
	c.wake()
	return nil
}

// checkAddress wants "host:port".
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && (host == "" || port == "") {
		err = errors.New("host or port is missing")
	}
	if err != nil {
		return fmt.Errorf("discovery server %q: %w", address, err)
	}
	return nil
}

// Publish says what this machine is; n.ID is the client's NodeID or empty. n is copied. Servers learn it as soon as they can
// be reached, and it is renewed until Leave. To publish the same again does nothing. It returns an error of affiliate.Seal.
func (c *Client) Publish(n affiliate.Node) error {
	if n.ID == "" {
		n.ID = c.opts.NodeID
	}
	if n.ID != c.opts.NodeID {
		return fmt.Errorf("discovery client of %s: publish %s: another machine", c.opts.NodeID, n.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own.node != nil && reflect.DeepEqual(*c.own.node, n) {
		return nil
	}
	old := c.own.node
	c.own.node = n.Clone()
	if err := c.restate(); err != nil {
		c.own.node = old
		return err
	}
	return nil
}

// restate seals what this machine says once more, as a newer statement, and sends it to all servers. The caller holds c.mu.
func (c *Client) restate() error {
	o := &c.own
	if o.node == nil || o.left || o.forgotten {
		return nil
	}
	v := affiliate.Version{Incarnation: o.version.Incarnation, Sequence: o.version.Sequence + 1}
	record, err := c.key.Seal(affiliate.Payload{Kind: affiliate.Record, Version: v, Node: *o.node})
	if err != nil {
		return err
	}
	if o.lease == nil {
		o.lease, err = c.key.Seal(affiliate.Payload{Kind: affiliate.Lease,
			Version: affiliate.Version{Incarnation: v.Incarnation}, Node: affiliate.Node{ID: c.opts.NodeID}})
		if err != nil {
			return err
		}
	}
	o.version, o.record = v, record
	o.change++
	c.table.dirty = true
	c.pokeAll()
	c.wake()
	return nil
}

// newLife begins an incarnation after all that is known. The caller holds c.mu.
func (c *Client) newLife() error {
	life := max(uint64(time.Now().UnixNano()), c.own.version.Incarnation+1)
	if r := c.table.newest[c.opts.NodeID]; r != nil {
		life = max(life, r.Version.Incarnation+1)
	}
	c.own.version = affiliate.Version{Incarnation: life}
	c.own.lease, c.own.left, c.own.forgotten = nil, false, false
	return c.restate()
}

// Rejoin begins a new life of this machine after Leave, or after it was forgotten. In any other state it does nothing.
func (c *Client) Rejoin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.own.left && !c.own.forgotten {
		return nil
	}
	return c.newLife()
}

// View returns what is known now.
func (c *Client) View() *View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// Next waits for a view with a revision above after and returns it; several changes may lie between. It returns the error
// of ctx if that ends before. Views change only during Run.
func (c *Client) Next(ctx context.Context, after uint64) (*View, error) {
	for {
		c.mu.Lock()
		v, changed := c.view, c.changed
		c.mu.Unlock()
		if v.Revision > after {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for members of the cluster beyond revision %d: %w", after, ctx.Err())
		}
	}
}

// wake makes Run look.
func (c *Client) wake() {
	select {
	case c.work <- struct{}{}:
	default:
	}
}

func (c *Client) pokeAll() {
	for _, s := range c.sessions {
		s.wake()
	}
}

// judge brings marks and view up to date.
func (c *Client) judge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.meetMyself(now)
	changed := c.table.judge(now)
	servers := make([]ServerStatus, 0, len(c.sessions))
	for _, addr := range slices.Sorted(maps.Keys(c.sessions)) {
		servers = append(servers, c.sessions[addr].statusNow(now))
	}
	same := slices.EqualFunc(servers, c.view.Servers, ServerStatus.same)
	if !changed && same && c.view.Forgotten == c.own.forgotten {
		return
	}
	v := &View{Revision: c.view.Revision + 1, Servers: servers, Forgotten: c.own.forgotten}
	if o := &c.own; o.record != nil {
		v.Members = append(v.Members, Member{Node: *o.node, State: Alive, Heard: now, Self: true, Version: o.version})
	}
	for id, r := range c.table.newest {
		if id == c.opts.NodeID || r.Kind != affiliate.Record {
			continue
		}
		m := c.table.marks[id]
		v.Members = append(v.Members, Member{Node: r.Node, State: m.State, Since: m.Since, Heard: m.Heard, Version: r.Version})
	}
	slices.SortFunc(v.Members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	c.view = v
	close(c.changed)
	c.changed = make(chan struct{})
}

// meetMyself looks at what servers say about this machine. The caller holds c.mu.
func (c *Client) meetMyself(now time.Time) {
	o := &c.own
	r := c.table.newest[c.opts.NodeID]
	if r == nil || o.left || o.forgotten {
		return
	}
	mine := o.version.Incarnation
	switch theirs := r.Version.Incarnation; {
	case theirs == mine && r.Kind == affiliate.Tombstone:
		o.forgotten, o.record, o.lease = true, nil, nil
		o.change++
		c.table.dirty = true
	case theirs > mine && (o.renewed.IsZero() || now.Sub(o.renewed) >= renewLifeEvery):
		o.renewed = now
		// Sealing what was sealed before does not fail; if it did, the next record would say so.
		_ = c.newLife()
	}
}

// Leave takes this machine out of the cluster's view everywhere and stops publishing it. It tells every server that can be
// reached, waits for their answers, and returns ErrNoServer if there was none. The client itself goes on watching.
func (c *Client) Leave(ctx context.Context) error {
	c.mu.Lock()
	o := &c.own
	if o.record == nil {
		o.left = true
		c.mu.Unlock()
		return nil
	}
	o.left, o.record, o.lease = true, nil, nil
	o.change++
	c.table.dirty = true
	v := o.version
	c.mu.Unlock()
	c.wake()
	_, err := c.bury(ctx, c.opts.NodeID, v)
	if err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return nil
}

// Forget removes a machine from everybody's view: at once where a server can be reached, and everywhere else as soon as it
// can be. It must not run any more, or it stays hidden until it is restarted or 30 minutes are over. A machine of a published client,
// which has no version, is deleted at the servers, and its next update brings it back.
//
// It returns ErrUnknownNode, ErrSelf or, if no server took it, ErrNoServer with their errors; then nothing has changed.
func (c *Client) Forget(ctx context.Context, nodeID string) error {
	if nodeID == c.opts.NodeID {
		return fmt.Errorf("forget machine %s: %w", nodeID, ErrSelf)
	}
	c.mu.Lock()
	r := c.table.newest[nodeID]
	c.mu.Unlock()
	if r == nil || r.Kind == affiliate.Tombstone {
		return fmt.Errorf("forget machine %s: %w", nodeID, ErrUnknownNode)
	}
	sealed, err := c.bury(ctx, nodeID, r.Version)
	if err != nil {
		return fmt.Errorf("forget machine %s: %w", nodeID, err)
	}
	c.mu.Lock()
	now := time.Now()
	if sealed == nil {
		if c.table.newest[nodeID] == r {
			c.table.drop(nodeID)
		}
	} else {
		c.table.learn(nodeID, &record{Payload: affiliate.Payload{Kind: affiliate.Tombstone, Version: r.Version,
			Node: affiliate.Node{ID: nodeID}}, sealed: sealed, first: now, present: now})
	}
	c.mu.Unlock()
	c.wake()
	return nil
}

// bury tells all servers that a machine's life is over and returns the tombstone, nil if it has no version. Its error is
// ErrNoServer with what each said, if none took it.
func (c *Client) bury(ctx context.Context, id string, v affiliate.Version) ([]byte, error) {
	var sealed []byte
	if !v.IsZero() {
		var err error
		sealed, err = c.key.Seal(affiliate.Payload{Kind: affiliate.Tombstone, Version: v, Node: affiliate.Node{ID: id}})
		if err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	sessions := slices.Collect(maps.Values(c.sessions))
	c.mu.Unlock()
	errs := make([]error, len(sessions))
	var wg sync.WaitGroup
	for i, s := range sessions {
		wg.Go(func() { errs[i] = s.bury(ctx, id, sealed) })
	}
	wg.Wait()
	if slices.Contains(errs, nil) {
		return sealed, nil
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("%w: none is set", ErrNoServer)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoServer, errors.Join(errs...))
}

// addressFrom reads what Hello says is the client's address; zero if it says nothing that can be read.
func addressFrom(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}
