package trust

import (
	"net/netip"
	"sync"
	"time"
)

// Rate is how many calls are let through: Burst at once, and PerSecond in the long run.
type Rate struct {
	PerSecond float64
	Burst     float64
}

// The rates of a server whose options leave them out. A worker asks once in half a day, and again for each address that it gets
// while it starts; the total is for a cluster that starts all at once. For one who guesses tokens they leave nothing: a token has
// 83 secret bits.
var (
	DefaultPerPeer = Rate{PerSecond: 0.5, Burst: 30}
	DefaultTotal   = Rate{PerSecond: 100, Burst: 300}
)

// bucket is a token bucket: what is left at a time. The zero bucket is empty; see full.
type bucket struct {
	left float64
	at   time.Time
}

func (r Rate) full(now time.Time) bucket { return bucket{left: r.Burst, at: now} }

// refill returns b as it is at now. A clock that goes back adds nothing.
func (r Rate) refill(b bucket, now time.Time) bucket {
	if d := now.Sub(b.at).Seconds(); d > 0 {
		b.left = min(r.Burst, b.left+d*r.PerSecond)
	}
	b.at = now
	return b
}

// limiter bounds calls, for each peer and in all. What it remembers is bounded too: a peer is remembered while its bucket is not
// full, and the total bounds how many become so.
type limiter struct {
	peer, all Rate

	mu    sync.Mutex
	total bucket
	peers map[netip.Prefix]bucket
	swept time.Time
}

func newLimiter(peer, all Rate, now time.Time) *limiter {
	return &limiter{peer: peer, all: all, total: all.full(now), peers: map[netip.Prefix]bucket{}, swept: now}
}

// allow takes one call of a peer into account and reports whether it may go on. A call that is refused for its peer's sake costs
// the others nothing.
func (l *limiter) allow(addr netip.Addr, now time.Time) bool {
	key := peerKey(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	b, known := l.peers[key]
	if !known {
		b = l.peer.full(now)
	}
	b = l.peer.refill(b, now)
	l.total = l.all.refill(l.total, now)
	if b.left < 1 || l.total.left < 1 {
		if known {
			l.peers[key] = b
		}
		return false
	}
	b.left--
	l.total.left--
	l.peers[key] = b
	return true
}

// sweep forgets peers whose buckets are full again, once in as long as an empty one takes to fill.
func (l *limiter) sweep(now time.Time) {
	if since := now.Sub(l.swept).Seconds(); since >= 0 && since*l.peer.PerSecond < l.peer.Burst {
		return
	}
	l.swept = now
	for k, b := range l.peers {
		if l.peer.refill(b, now).left >= l.peer.Burst {
			delete(l.peers, k)
		}
	}
}

// peerKey is who counts as one peer: an IPv4 address, or the /64 of an IPv6 one, all of which one machine can use.
func peerKey(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero address, of a peer that is not on IP, gives the zero prefix
	return p
}
