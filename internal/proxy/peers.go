package proxy

import (
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// peerConn is a connection to the proxy of another node: a *grpc.ClientConn.
type peerConn interface {
	grpc.ClientConnInterface
	GetState() connectivity.State
	Close() error
}

// peers keeps connections to other nodes: one for each target and Identity. It is safe for concurrent use.
//
// A connection that nobody uses is closed after peerIdle. When the Identity changes, calls that come get a connection with
// the new one; the old one is closed when the last call on it ends, so that a renewed certificate cuts off nobody. There
// are at most max of them; to make room, the one is closed that has been unused for longest.
type peers struct {
	dial func(key string, id *Identity) (peerConn, error)
	max  int

	mu       sync.Mutex
	closed   bool
	byTarget map[string]*link
	retired  map[*link]struct{}
}

// link is a connection with its users.
type link struct {
	peerConn
	key   string
	id    *Identity
	users int
	idle  *time.Timer
	since time.Time // when the last user left
}

func newPeers(maximum int, dial func(key string, id *Identity) (peerConn, error)) *peers {
	return &peers{dial: dial, max: maximum, byTarget: map[string]*link{}, retired: map[*link]struct{}{}}
}

// acquire returns a connection to the target that was made with id. Each acquire must be followed by one release.
// It does not wait for the connection to be made. Errors are gRPC statuses.
func (ps *peers) acquire(key string, id *Identity) (*link, error) {
	p, toClose, err := ps.take(key, id)
	// Close waits for what gRPC has under way: never under the lock.
	for _, old := range toClose {
		_ = old.Close()
	}

	return p, err
}

func (ps *peers) take(key string, id *Identity) (p *link, toClose []*link, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()

	if ps.closed {
		return nil, nil, status.Error(codes.Unavailable, "this node's proxy is stopping")
	}

	if p := ps.byTarget[key]; p != nil {
		if p.id == id {
			p.users++
			p.idle.Stop()

			return p, nil, nil
		}

		toClose = append(toClose, ps.retire(p)...)
	}

	if len(ps.byTarget)+len(ps.retired) >= ps.max {
		oldest := ps.longestIdle()
		if oldest == nil {
			return nil, toClose, status.Errorf(codes.ResourceExhausted, "%d connections to other nodes are in use; no more are made", ps.max)
		}

		toClose = append(toClose, ps.retire(oldest)...)
	}

	conn, err := ps.dial(key, id)
	if err != nil {
		return nil, toClose, status.Errorf(codes.Unavailable, "connect to %s: %v", key, err)
	}

	p = &link{peerConn: conn, key: key, id: id, users: 1}
	p.idle = time.AfterFunc(peerIdle, func() { ps.expire(p) })
	p.idle.Stop()
	ps.byTarget[key] = p

	return p, toClose, nil
}

// retire takes p out of use. It returns p if nobody uses it any more and it is to be closed.
func (ps *peers) retire(p *link) []*link {
	p.idle.Stop()
	delete(ps.byTarget, p.key)

	if p.users == 0 {
		return []*link{p}
	}

	ps.retired[p] = struct{}{}

	return nil
}

func (ps *peers) longestIdle() *link {
	var oldest *link

	for _, p := range ps.byTarget {
		if p.users == 0 && (oldest == nil || p.since.Before(oldest.since)) {
			oldest = p
		}
	}

	return oldest
}

// release ends one use of p.
func (ps *peers) release(p *link) {
	if ps.leave(p) {
		_ = p.Close()
	}
}

func (ps *peers) leave(p *link) (toClose bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()

	p.users--
	if p.users > 0 {
		return false
	}

	if _, ok := ps.retired[p]; ok {
		delete(ps.retired, p)

		return true
	}

	if ps.byTarget[p.key] != p { // closed as a whole
		return false
	}

	p.since = time.Now()
	p.idle.Reset(p.patience())

	return false
}

// patience is how long p may be unused. gRPC goes on dialling a node that is away, which is no use to anybody; but it has to
// be remembered for a while, or the back-off would begin anew with each call.
func (p *link) patience() time.Duration {
	if p.GetState() == connectivity.TransientFailure {
		return peerIdleFailing
	}

	return peerIdle
}

// expire closes p if it is still unused. The timer may have fired while somebody acquired p, or even released it again.
func (ps *peers) expire(p *link) {
	ps.mu.Lock()

	expired := !ps.closed && ps.byTarget[p.key] == p && p.users == 0 && time.Since(p.since) >= p.patience()
	if expired {
		ps.retire(p)
	}

	ps.mu.Unlock()

	if expired {
		_ = p.Close()
	}
}

// close closes all connections, used or not; calls on them fail.
func (ps *peers) close() {
	ps.mu.Lock()

	ps.closed = true

	var all []*link
	for _, p := range ps.byTarget {
		p.idle.Stop()

		all = append(all, p)
	}

	for p := range ps.retired {
		all = append(all, p)
	}

	clear(ps.byTarget)
	clear(ps.retired)
	ps.mu.Unlock()

	for _, p := range all {
		_ = p.Close()
	}
}

// size returns how many connections there are.
func (ps *peers) size() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()

	return len(ps.byTarget) + len(ps.retired)
}
