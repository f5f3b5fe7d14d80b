package rendezvous

import (
	"encoding/base64"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Fixed limits. What exceeds one is refused with InvalidArgument.
const (
	MaxTTL          = 30 * time.Minute // of data and endpoints; a longer one is refused, none means this
	ClusterIDSize   = 32               // bytes, written in base64
	MaxAffiliateID  = 256              // bytes
	MaxData         = 32 << 10         // bytes of an affiliate's data
	MaxEndpointSize = 128              // bytes of an endpoint
	MaxEndpoints    = 64               // in one update
)

// Times and sizes of the service's working.
const (
	// SendTimeout is how long a watcher may take for one message.
	SendTimeout = 10 * time.Second
	// History is how many recent changes of a cluster are kept for watchers that are not there yet.
	History = 4096
	// batch is how many changes go in one message.
	batch = 256
	// maxPeers is how many addresses the rate is kept of. When there are more at a time, the ones beyond are refused.
	maxPeers = 1 << 16
)

// Limits are the limits that a caller may choose. A zero field is the default. What exceeds one is refused with
// ResourceExhausted.
type Limits struct {
	Clusters     int     // default 1024
	Affiliates   int     // of a cluster; default 4096. A machine of ours is two: its record and its lease
	ClusterBytes int     // data and endpoints of a cluster; default 16 MiB. A snapshot is one message of that size
	Endpoints    int     // of an affiliate; default 64
	Watchers     int     // of a cluster; default 2048
	PeerRate     float64 // calls per second of one client address, in the long run; default 200
	PeerBurst    float64 // calls of one client address at a time; default 1000
}

func (l Limits) withDefaults() Limits {
	or := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	or(&l.Clusters, 1024)
	or(&l.Affiliates, 4096)
	or(&l.ClusterBytes, 16<<20)
	or(&l.Endpoints, 64)
	or(&l.Watchers, 2048)
	if l.PeerRate == 0 {
		l.PeerRate = 200
	}
	if l.PeerBurst == 0 {
		l.PeerBurst = 1000
	}
	return l
}

// ServerOptions are what a grpc.Server needs besides credentials to serve discovery well: messages no larger than an
// update can be, a limit on calls in one connection, and an end to connections whose client is gone.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(64 << 10),
		grpc.MaxConcurrentStreams(64),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// checkClusterID wants 32 bytes in base64, of either alphabet.
func checkClusterID(id string) error {
	if len(id) == base64.StdEncoding.EncodedLen(ClusterIDSize) {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if b, err := enc.DecodeString(id); err == nil && len(b) == ClusterIDSize {
				return nil
			}
		}
	}
	return status.Error(codes.InvalidArgument, "cluster_id: want 32 bytes in base64")
}

// checkAffiliateID wants printable ASCII without spaces.
func checkAffiliateID(id string) error {
	if id == "" || len(id) > MaxAffiliateID {
		return status.Errorf(codes.InvalidArgument, "affiliate_id: %d bytes; want 1 to %d", len(id), MaxAffiliateID)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return status.Errorf(codes.InvalidArgument, "affiliate_id: byte %d is not printable ASCII", i)
		}
	}
	return nil
}

// rates is a token bucket for each client address.
type rates struct {
	mu    sync.Mutex
	rate  float64 // tokens per second
	burst float64
	peers map[netip.Addr]*bucket
	swept time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

// allow takes a token of addr's bucket. All callers without an address share one.
func (r *rates) allow(addr netip.Addr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.peers[addr]
	if b == nil {
		if len(r.peers) >= maxPeers && !r.sweep(now) {
			return false
		}
		b = &bucket{tokens: r.burst, at: now}
		r.peers[addr] = b
	}
	b.tokens = min(r.burst, b.tokens+r.rate*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// sweep forgets buckets that are full again, at most once a second, and reports whether there is room.
func (r *rates) sweep(now time.Time) bool {
	if now.Sub(r.swept) < time.Second {
		return false
	}
	r.swept = now
	for a, b := range r.peers {
		if b.tokens+r.rate*now.Sub(b.at).Seconds() >= r.burst {
			delete(r.peers, a)
		}
	}
	return len(r.peers) < maxPeers
}
