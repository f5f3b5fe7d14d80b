package kubeprismctrl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// stagger is how long one API server is waited for before the next is tried beside it.
	stagger = 300 * time.Millisecond
	// dialLimit is how long a connection may take in all.
	dialLimit = 10 * time.Second
	// reach is how long a check waits for the connection alone.
	reach = 3 * time.Second
	// goneAfter is how many checks in a row must fail before connections are cut.
	goneAfter = 2
	// A connection that is idle is tried after keepIdle, keepCount times, each keepInterval.
	keepIdle, keepInterval, keepCount = 10 * time.Second, 3 * time.Second, 3
)

// ErrNotReady is for an API server that is there and cannot serve yet, or no more.
var ErrNotReady = errors.New("it is not ready")

// backend is an API server that the balancer uses.
type backend struct {
	candidate
	failures int
	kick     chan struct{} // asks for a check now
	stop     context.CancelFunc
	conns    map[net.Conn]struct{}
}

// balancer accepts connections and leads them to API servers.
type balancer struct {
	deps    Deps
	log     *slog.Logger
	changed func() // is called when healthy may say something else
	l       net.Listener
	ctx     context.Context //nolint:containedctx // it is the life of the balancer, which close ends
	cancel  context.CancelFunc
	tasks   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	turn     uint64
	backends []*backend
	clients  map[net.Conn]struct{}
	held     int           // connections that wait for an API server
	turned   chan struct{} // closed and made anew when the health of one changes
}

func newBalancer(l net.Listener, deps Deps, log *slog.Logger, changed func()) *balancer {
	b := &balancer{deps: deps, log: log, changed: changed, l: l, clients: map[net.Conn]struct{}{}, turned: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.tasks.Go(b.accept)
	return b
}

// close ends the balancer and all connections.
func (b *balancer) close() {
	b.mu.Lock()
	b.closed = true
	b.cancel()
	_ = b.l.Close()
	for c := range b.clients {
		_ = c.Close()
	}
	for _, s := range b.backends {
		s.cut()
	}
	b.mu.Unlock()
	b.tasks.Wait()
}

// set says which API servers there are. Connections to one that is no longer among them go on.
func (b *balancer) set(addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var next []*backend
	for _, s := range b.backends {
		if !slices.Contains(addresses, s.address) {
			s.stop()
		}
	}
	for _, address := range addresses {
		i := slices.IndexFunc(b.backends, func(s *backend) bool { return s.address == address })
		if i >= 0 {
			next = append(next, b.backends[i])
			continue
		}
		s := &backend{
			candidate: candidate{address: address, health: unknown},
			kick:      make(chan struct{}, 1), conns: map[net.Conn]struct{}{},
		}
		ctx, cancel := context.WithCancel(b.ctx)
		s.stop = cancel
		next = append(next, s)
		b.tasks.Go(func() { b.watch(ctx, s) })
	}
	b.backends = next
}

// healthy reports whether an API server answers.
func (b *balancer) healthy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.anyHealthy()
}

// anyHealthy reports whether an API server answers. The caller has the lock.
func (b *balancer) anyHealthy() bool {
	return slices.ContainsFunc(b.backends, func(s *backend) bool { return s.health == healthy })
}

// hold waits until an API server is ready, at most for Deps.Hold. A client that is refused tries again later and later, up to half a
// minute; one that is held goes on at the moment when there is somebody to talk to, which matters most when a cluster begins.
func (b *balancer) hold() {
	limit := time.NewTimer(b.deps.Hold)
	defer limit.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.anyHealthy() {
		return
	}
	b.held++
	defer func() { b.held-- }()
	for _, s := range b.backends {
		s.wake()
	}
	for !b.anyHealthy() && !b.closed {
		turned := b.turned
		b.mu.Unlock()
		timeout := false
		select {
		case <-turned:
		case <-b.ctx.Done():
		case <-limit.C:
			timeout = true
		}
		b.mu.Lock()
		if timeout {
			return
		}
	}
}

// wake has the backend be checked now.
func (s *backend) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// cut ends the connections to a backend. The caller has the lock.
func (s *backend) cut() {
	for c := range s.conns {
		_ = c.Close()
	}
}

// accept takes connections until the listener is closed.
func (b *balancer) accept() {
	for {
		c, err := b.l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || b.ctx.Err() != nil {
				return
			}
			b.log.Warn("a connection was not accepted", "error", err)
			select {
			case <-b.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond): // out of file descriptors, most likely
			}
			continue
		}
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			_ = c.Close()
			return
		}
		b.clients[c] = struct{}{}
		b.mu.Unlock()
		b.tasks.Go(func() { b.serve(c) })
	}
}

// serve leads one connection.
func (b *balancer) serve(client net.Conn) {
	defer func() {
		_ = client.Close()
		b.mu.Lock()
		delete(b.clients, client)
		b.mu.Unlock()
	}()
	b.hold()
	b.mu.Lock()
	b.turn++
	var list []candidate
	for _, s := range b.backends {
		list = append(list, s.candidate)
	}
	order := choose(list, b.turn)
	b.mu.Unlock()
	server, address, err := b.connect(order)
	if err != nil {
		b.log.Debug("no API server takes a connection", "error", err)
		return
	}
	defer func() { _ = server.Close() }()
	b.mu.Lock()
	i := slices.IndexFunc(b.backends, func(s *backend) bool { return s.address == address })
	var s *backend
	if i >= 0 && !b.closed {
		s = b.backends[i]
		s.conns[server] = struct{}{}
	}
	b.mu.Unlock()
	if s == nil {
		return // it went while the connection was made
	}
	defer func() {
		b.mu.Lock()
		delete(s.conns, server)
		b.mu.Unlock()
	}()
	pipe(client, server)
}

// pipe carries what comes on each connection to the other, until both have said all.
func pipe(a, b net.Conn) {
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if w, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
			_ = w.CloseWrite()
			return
		}
		_ = to.Close()
		_ = from.Close()
	}
	both.Go(func() { carry(a, b) })
	both.Go(func() { carry(b, a) })
	both.Wait()
}

// attempt is what came of a try.
type attempt struct {
	conn    net.Conn
	address string
	took    time.Duration
	err     error
}

// connect tries addresses in order. The next one is tried as soon as one fails, or has not answered for a while; the first that
// answers is taken.
func (b *balancer) connect(order []string) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, dialLimit)
	defer cancel()
	results := make(chan attempt, len(order))
	pending := map[string]bool{}
	start := func(address string) {
		pending[address] = true
		b.tasks.Go(func() {
			begin := time.Now()
			c, err := b.deps.Dial(ctx, "tcp", address)
			results <- attempt{c, address, time.Since(begin), err}
		})
	}
	var failed []error
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(order) > 0 || len(pending) > 0 {
		select {
		case <-timer.C:
			if len(order) > 0 {
				start(order[0])
				order = order[1:]
				timer.Reset(stagger)
			}
		case r := <-results:
			delete(pending, r.address)
			if r.err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", r.address, r.err))
				b.suspect(r.address, true)
				timer.Reset(0)
				continue
			}
			for address := range pending {
				b.suspect(address, false) // it let others go first: is it still there?
			}
			n := len(pending)
			b.tasks.Go(func() {
				for range n {
					if late := <-results; late.conn != nil {
						_ = late.conn.Close()
					}
				}
			})
			return r.conn, r.address, nil
		}
	}
	if len(failed) == 0 {
		return nil, "", errors.New("no API server is known")
	}
	return nil, "", errors.Join(failed...)
}

// suspect has an API server be checked now. One that refused is not used until then.
func (b *balancer) suspect(address string, refused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.backends {
		if s.address != address {
			continue
		}
		if refused && s.health != gone {
			b.log.Info("an API server does not take connections", "address", address)
			s.health = gone
			b.changed()
		}
		s.wake()
	}
}

// watch checks a backend again and again.
func (b *balancer) watch(ctx context.Context, s *backend) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.kick:
			// Not more often than after a failure, however many connections ask for it.
			if wait := b.pace(checkSoonest) - time.Since(last); wait > 0 {
				timer.Reset(wait)
				continue
			}
		}
		last = time.Now()
		checking, cancel := context.WithTimeout(ctx, checkTimeout)
		err := b.deps.Check(checking, s.address)
		cancel()
		if ctx.Err() != nil {
			return
		}
		timer.Reset(b.note(s, err, time.Since(last)))
	}
}

// note writes down what a check found, and returns when the next is due.
func (b *balancer) note(s *backend, err error, took time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := s.health
	switch {
	case err == nil:
		s.health, s.failures, s.latency = healthy, 0, took
	case errors.Is(err, ErrNotReady):
		s.health = unready
		s.failures++
	default:
		s.health = gone
		if s.failures++; s.failures >= goneAfter {
			s.cut()
		}
	}
	if s.health != was {
		close(b.turned)
		b.turned = make(chan struct{})
		b.log.Info("an API server is "+s.health.String(), "address", s.address, "before", was.String(), "error", err)
		b.changed()
	}
	if b.held > 0 && s.failures > 0 {
		return checkHeld
	}
	return nextCheck(s.failures)
}

// pace returns the least time between two checks, which is shorter while connections wait for what they find.
func (b *balancer) pace(usual time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held > 0 {
		return min(usual, checkHeld)
	}
	return usual
}

// newProbe returns a check that asks an API server whether it is ready. It says nothing secret and believes nothing but that somebody
// answers, so it does not look at the certificate.
func newProbe(dial Dial) func(ctx context.Context, address string) error {
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives:   true,
			TLSHandshakeTimeout: checkTimeout,
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, reach)
				defer cancel()
				return dial(ctx, network, address)
			},
		},
	}
	return func(ctx context.Context, address string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		_ = answer.Body.Close()
		// Where nobody may ask without credentials, the server works well enough to say so.
		if answer.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("%w: it answered %s", ErrNotReady, answer.Status)
		}
		return nil
	}
}
