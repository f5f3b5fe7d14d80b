package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/discoverypb"
)

// pace is how a session treats a kind of server.
type pace struct {
	greet   time.Duration // for connecting and Hello
	call    time.Duration // for each later call, and the first message of a watch
	tick    time.Duration // between exchanges when nothing happens
	backOff time.Duration // at most, between attempts
}

var (
	builtinPace  = pace{greet: 3 * time.Second, call: 2500 * time.Millisecond, tick: RenewEvery, backOff: time.Second}
	externalPace = pace{greet: 15 * time.Second, call: 10 * time.Second, tick: time.Minute, backOff: time.Minute}
)

const (
	maxRedirects = 3
	firstBackOff = 250 * time.Millisecond
	// goodAfter is how long a session must have lasted for the next one to begin without more back-off.
	goodAfter = 10 * time.Second
	// maxMessage is more than the snapshot of a cluster at the limits of package rendezvous.
	maxMessage = 32 << 20
	// maxRepairs is how much one exchange repairs.
	maxRepairs = 32
)

// session keeps up one server: an endless row of attempts.
type session struct {
	c      *Client
	server Server
	pace   pace
	poke   chan struct{} // of size 1: there is something to say

	// op is held during calls that write, so that they reach the server in the order in which they were decided.
	// It is a channel of size 1 and no mutex: it is held while a server is waited for, and in virtual time a mutex would
	// keep that wait from ending (testing/synctest).
	op     chan struct{}
	pushed uint64 // the own.change that the server has; guarded by op

	// The rest is guarded by c.mu.
	cancel context.CancelFunc // nil before start
	view   *serverView
	live   discoverypb.ClusterClient // nil unless the server has answered Hello
	status ServerStatus
}

// ServerStatus is how it stands with a server.
type ServerStatus struct {
	Address  string
	External bool
	Healthy  bool      // it is watched and answers
	Waits    string    // what the session waits for now; empty while all is well
	Answered time.Time // its last answer; zero if there was none. Not by itself a change of the view
	// LastError is the last thing that went wrong, also if all is well since.
	LastError    string
	LastErrorAt  time.Time
	ClientIP     string // this machine's address, as the server sees it; empty if it does not say
	Records      int    // machines that it knows
	Rejected     int    // statements of it that could not be opened; the last error of them is LastRejected
	LastRejected string
}

func (s ServerStatus) same(o ServerStatus) bool {
	o.Answered = s.Answered
	return s == o
}

// newSession adds a session to the client's table. The caller holds c.mu.
func newSession(c *Client, server Server) *session {
	s := &session{c: c, server: server, pace: builtinPace, poke: make(chan struct{}, 1), op: make(chan struct{}, 1),
		view:   c.table.addView(server.External, server.NodeID, time.Now()),
		status: ServerStatus{Address: server.Address, External: server.External, Waits: "the client to run"}}
	if server.External {
		s.pace = externalPace
	}
	return s
}

// start runs the session until stop or the end of r. The caller holds c.mu.
func (s *session) start(r *running) {
	ctx, cancel := context.WithCancel(r.ctx)
	s.cancel = cancel
	r.wg.Go(func() {
		defer cancel()
		s.loop(ctx)
	})
}

// stop ends the session, and does not wait for that. The caller holds c.mu.
func (s *session) stop() {
	if s.cancel != nil {
		s.cancel()
	}
}

func (s *session) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

func (s *session) loop(ctx context.Context) {
	backOff := firstBackOff
	for {
		began := time.Now()
		err := s.attempt(ctx)
		if ctx.Err() != nil {
			s.note("the client to run", nil)
			return
		}
		if time.Since(began) >= goodAfter {
			backOff = firstBackOff
		}
		wait := backOff/2 + rand.N(backOff/2)
		s.note("the next attempt, after a pause", err)
		backOff = min(2*backOff, s.pace.backOff)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			s.note("the client to run", nil)
			return
		}
	}
}

// note sets what the session waits for, and the last error if err is not nil.
func (s *session) note(waits string, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.status.Waits = waits
	if err != nil {
		s.status.LastError, s.status.LastErrorAt = err.Error(), time.Now()
	}
	s.c.wake()
}

// answered notes that the server has answered a call.
func (s *session) answered() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.view.answered = time.Now()
}

// statusNow returns the status. The caller holds c.mu.
func (s *session) statusNow(now time.Time) ServerStatus {
	st := s.status
	st.Answered, st.Healthy = s.view.answered, s.view.fresh(now)
	st.Records, st.Rejected = len(s.view.records), s.view.rejected
	if s.view.lastErr != nil {
		st.LastRejected = s.view.lastErr.Error()
	}
	return st
}

// attempt connects, registers and watches, and returns when any of that ends.
func (s *session) attempt(ctx context.Context) error {
	conn, err := s.greet(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	cc := discoverypb.NewClusterClient(conn)
	s.op <- struct{}{}
	s.pushed = 0 // the server may have been restarted, or be another one
	<-s.op
	s.c.mu.Lock()
	s.live = cc
	s.c.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel(nil)
		wg.Wait()
		s.c.mu.Lock()
		s.live = nil
		s.view.unwatch()
		s.c.mu.Unlock()
		s.c.wake()
	}()
	s.note("its answer to the registration", nil)
	if err := s.exchange(ctx, cc, true); err != nil {
		return err
	}
	s.note("all that it knows", nil)
	wg.Go(func() { cancel(s.watch(ctx, cc, cancel)) })

	tick := time.NewTimer(s.nextTick())
	defer tick.Stop()
	for {
		renew := false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.poke:
		case <-tick.C:
			renew = true
			tick.Reset(s.nextTick())
		}
		if err := s.exchange(ctx, cc, renew); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if renew {
			if err := s.repair(ctx, cc); err != nil {
				return err
			}
		}
	}
}

func (s *session) nextTick() time.Duration {
	return s.pace.tick - s.pace.tick/10 + rand.N(s.pace.tick/5)
}

// greet connects and says Hello, to where the server redirects if it does. The caller closes the connection.
func (s *session) greet(ctx context.Context) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.pace.greet)
	defer cancel()
	address := s.server.Address
	for range maxRedirects + 1 {
		s.note("a connection to "+address, nil)
		conn, err := s.connect(address)
		if err != nil {
			return nil, fmt.Errorf("connect to discovery server %s: %w", address, err)
		}
		res, err := discoverypb.NewClusterClient(conn).Hello(ctx, &discoverypb.HelloRequest{ClusterId: s.c.opts.ClusterID, ClientVersion: s.c.opts.Version})
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("greet discovery server %s: %w", address, err)
		}
		to := res.GetRedirect().GetEndpoint()
		if to == "" || to == address {
			s.c.mu.Lock()
			s.view.answered = time.Now()
			s.status.ClientIP = ""
			if a := addressFrom(res.GetClientIp()); a.IsValid() {
				s.status.ClientIP = a.String()
			}
			s.c.mu.Unlock()
			return conn, nil
		}
		conn.Close()
		if err := checkAddress(to); err != nil {
			return nil, fmt.Errorf("greet discovery server %s: it redirects: %w", address, err)
		}
		address = to
	}
	return nil, fmt.Errorf("greet discovery server %s: more than %d redirects, the last to %s", s.server.Address, maxRedirects, address)
}

func (s *session) connect(address string) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if s.server.TLS != nil {
		creds = credentials.NewTLS(s.server.TLS)
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: s.pace.greet}),
		grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry()}
	if !s.server.External {
		opts = append(opts, grpc.WithNoProxy()) // it is in the cluster; a proxy for the Internet does not lead there
	}
	if s.server.Token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(token(s.server.Token)))
	}
	if s.c.opts.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(s.c.opts.Dial))
	}
	return grpc.NewClient("passthrough:///"+address, opts...)
}

// token is a secret of the machine's that a server wants to see.
type token string

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{TokenKey: string(t)}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials].
func (token) RequireTransportSecurity() bool { return true }

// exchange tells the server what this machine has to say, and learns from that whether it answers. With renew the lease
// is renewed, and a server that is told nothing is greeted instead.
func (s *session) exchange(ctx context.Context, cc discoverypb.ClusterClient, renew bool) error {
	s.op <- struct{}{}
	defer func() { <-s.op }()
	s.c.mu.Lock()
	o := s.c.own
	s.c.mu.Unlock()
	// What was refused is offered again at the next tick.
	news := s.pushed != o.change && o.record != nil
	told := false
	if o.lease != nil && !s.server.External && (renew || news) {
		told = true
		if err := s.put(ctx, cc, leasePrefix+s.c.opts.NodeID, o.lease, LeaseTTL); err != nil && !refused(err) {
			return err
		}
	}
	if news {
		told = true
		switch err := s.put(ctx, cc, s.c.opts.NodeID, o.record, RecordTTL); {
		case err == nil:
			s.pushed = o.change
		case !refused(err):
			return err
		}
	}
	if renew && !told {
		ctx, cancel := context.WithTimeout(ctx, s.pace.call)
		defer cancel()
		if _, err := cc.Hello(ctx, &discoverypb.HelloRequest{ClusterId: s.c.opts.ClusterID, ClientVersion: s.c.opts.Version}); err != nil {
			return fmt.Errorf("greet discovery server %s again: %w", s.server.Address, err)
		}
		s.answered()
	}
	return nil
}

// put is AffiliateUpdate. The caller holds s.op.
func (s *session) put(ctx context.Context, cc discoverypb.ClusterClient, id string, sealed []byte, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, s.pace.call)
	defer cancel()
	_, err := cc.AffiliateUpdate(ctx, &discoverypb.AffiliateUpdateRequest{ClusterId: s.c.opts.ClusterID, AffiliateId: id,
		AffiliateData: sealed, Ttl: durationpb.New(ttl)})
	return s.outcome(err, "register", id)
}

// remove is AffiliateDelete. The caller holds s.op.
func (s *session) remove(ctx context.Context, cc discoverypb.ClusterClient, id string) error {
	ctx, cancel := context.WithTimeout(ctx, s.pace.call)
	defer cancel()
	_, err := cc.AffiliateDelete(ctx, &discoverypb.AffiliateDeleteRequest{ClusterId: s.c.opts.ClusterID, AffiliateId: id})
	return s.outcome(err, "delete", id)
}

func (s *session) outcome(err error, verb, id string) error {
	if err == nil {
		s.answered()
		return nil
	}
	err = fmt.Errorf("%s %s at discovery server %s: %w", verb, id, s.server.Address, err)
	switch status.Code(err) {
	case codes.ResourceExhausted, codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition:
		s.c.mu.Lock()
		s.view.answered = time.Now()
		s.status.LastError, s.status.LastErrorAt = err.Error(), time.Now()
		s.c.mu.Unlock()
		return refusal{err}
	}
	return err
}

// refusal is the error of a server that answers and does not want something. It is noted in the status, and does not end
// the session: the watch is still worth having.
type refusal struct{ error }

// Unwrap gives the server's error.
func (r refusal) Unwrap() error { return r.error }

func refused(err error) bool { return errors.As(err, new(refusal)) }

// watch applies what the server says until that ends, and returns why.
func (s *session) watch(ctx context.Context, cc discoverypb.ClusterClient, cancel context.CancelCauseFunc) error {
	late := time.AfterFunc(s.pace.call, func() {
		cancel(fmt.Errorf("watch discovery server %s: no first message within %v", s.server.Address, s.pace.call))
	})
	defer late.Stop()
	if s.server.External {
		// Others may keep silent if they know nobody.
		late.Stop()
	}
	stream, err := cc.Watch(ctx, &discoverypb.WatchRequest{ClusterId: s.c.opts.ClusterID})
	for first := true; err == nil; first = false {
		var m *discoverypb.WatchResponse
		if m, err = stream.Recv(); err == nil {
			late.Stop()
			s.apply(m, first)
		}
	}
	return fmt.Errorf("watch discovery server %s: %w", s.server.Address, err)
}

func (s *session) apply(m *discoverypb.WatchResponse, first bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	now := time.Now()
	if first && !m.GetDeleted() {
		s.c.table.snapshot(s.view, m.GetAffiliates(), now)
		s.status.Waits = ""
	} else {
		for _, a := range m.GetAffiliates() {
			if m.GetDeleted() {
				s.c.table.remove(s.view, a.GetId(), now)
			} else {
				s.c.table.update(s.view, a, now)
			}
		}
	}
	s.c.wake()
}

// repair tells the server what it lacks. All clients there see the same lack, so each throws a die and about two speak. The
// die has a side for each lease, not for each machine that is known: the dead do not repair.
func (s *session) repair(ctx context.Context, cc discoverypb.ClusterClient) error {
	s.c.mu.Lock()
	var todo []repair
	if rand.N(len(s.view.leases)+1) < 2 {
		todo = s.c.table.repairs(s.view, time.Now(), maxRepairs)
	}
	s.c.mu.Unlock()
	s.op <- struct{}{}
	defer func() { <-s.op }()
	for _, r := range todo {
		var err error
		if r.sealed == nil {
			err = s.remove(ctx, cc, r.id)
		} else {
			err = s.put(ctx, cc, r.id, r.sealed, r.ttl)
		}
		if err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// bury tells the server that a machine's life is over: an external one by deleting, a built-in one by the tombstone if there is one.
func (s *session) bury(ctx context.Context, id string, tombstone []byte) error {
	s.c.mu.Lock()
	cc := s.live
	st := s.status
	s.c.mu.Unlock()
	if cc == nil {
		return fmt.Errorf("discovery server %s: not connected: waits for %s; last error: %q", s.server.Address, st.Waits, st.LastError)
	}
	s.op <- struct{}{}
	defer func() { <-s.op }()
	if tombstone == nil || s.server.External {
		return s.remove(ctx, cc, id)
	}
	if err := s.put(ctx, cc, id, tombstone, Lifetime); err != nil {
		return err
	}
	return s.remove(ctx, cc, leasePrefix+id)
}
