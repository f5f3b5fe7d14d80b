package rendezvous

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"talos.internal/api/discoverypb"
)

// Config is what a server may be given. The zero Config is valid.
type Config struct {
	Limits Limits
	// Authorize is asked before each call whether the caller may use the cluster; nil allows everybody everything. Its
	// error goes to the client: with its own code if it is a gRPC status, else as PermissionDenied. It may be called
	// concurrently, and has to be quick.
	Authorize func(ctx context.Context, clusterID string) error
}

// Server is the service. All methods may be called concurrently. It is used until Close.
type Server struct {
	discoverypb.UnimplementedClusterServer
	config Config
	count  counters
	rates  rates
	closed chan struct{}

	mu       sync.Mutex
	clusters map[string]*cluster
}

type counters struct {
	hellos, updates, deletes, lists, watches atomic.Uint64
	invalid, denied, limited, slow           atomic.Uint64
	changes, expired                         atomic.Uint64
	currentWatchers                          atomic.Int64
}

// Stats are counts since the start and, first, what is there now.
type Stats struct {
	Clusters, Affiliates, Watchers, Bytes int

	Hellos, Updates, Deletes, Lists, Watches uint64 // calls that were accepted
	Invalid                                  uint64 // calls refused: the request is not valid
	Denied                                   uint64 // calls refused by Config.Authorize
	Limited                                  uint64 // calls refused by a limit or the rate
	SlowWatchers                             uint64 // watchers cut off
	Changes                                  uint64 // changes announced to watchers
	Expired                                  uint64 // affiliates whose time was over
}

// New returns a server without clusters.
func New(config Config) *Server {
	config.Limits = config.Limits.withDefaults()
	return &Server{config: config, closed: make(chan struct{}), clusters: map[string]*cluster{},
		rates: rates{rate: config.Limits.PeerRate, burst: config.Limits.PeerBurst, peers: map[netip.Addr]*bucket{}}}
}

// Close ends all watches with Unavailable, forgets everything and stops all timers. Calls after it fail with Unavailable.
// It may be called again.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return
	default:
	}
	close(s.closed)
	for id, c := range s.clusters {
		c.mu.Lock()
		c.ended = true
		if c.timer != nil {
			c.timer.Stop()
		}
		c.mu.Unlock()
		delete(s.clusters, id)
	}
}

// Stats returns the counts. It looks at each cluster, one after the other.
func (s *Server) Stats() Stats {
	n := &s.count
	st := Stats{Watchers: int(n.currentWatchers.Load()), Hellos: n.hellos.Load(), Updates: n.updates.Load(), Deletes: n.deletes.Load(),
		Lists: n.lists.Load(), Watches: n.watches.Load(), Invalid: n.invalid.Load(), Denied: n.denied.Load(), Limited: n.limited.Load(),
		SlowWatchers: n.slow.Load(), Changes: n.changes.Load(), Expired: n.expired.Load()}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Clusters = len(s.clusters)
	for _, c := range s.clusters {
		c.mu.Lock()
		st.Affiliates += len(c.affiliates)
		st.Bytes += c.bytes
		c.mu.Unlock()
	}
	return st
}

// admit is what every call passes first: the rate, the cluster's id, the authoriser.
func (s *Server) admit(ctx context.Context, clusterID string) error {
	select {
	case <-s.closed:
		return status.Error(codes.Unavailable, "the discovery service is closing")
	default:
	}
	if !s.rates.allow(clientAddr(ctx), time.Now()) {
		s.count.limited.Add(1)
		return status.Error(codes.ResourceExhausted, "too many calls from this address")
	}
	if err := checkClusterID(clusterID); err != nil {
		return s.refused(err)
	}
	if s.config.Authorize == nil {
		return nil
	}
	if err := s.config.Authorize(ctx, clusterID); err != nil {
		s.count.denied.Add(1)
		if _, ok := status.FromError(err); ok {
			return err
		}
		return status.Error(codes.PermissionDenied, err.Error())
	}
	return nil
}

// refused counts an error that goes to the client.
func (s *Server) refused(err error) error {
	switch status.Code(err) {
	case codes.InvalidArgument:
		s.count.invalid.Add(1)
	case codes.ResourceExhausted:
		s.count.limited.Add(1)
	}
	return err
}

// clientAddr returns the address of the caller, or the zero Addr if it has none.
func clientAddr(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	if tcp, ok := p.Addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// with runs f on a cluster, locked. If there is none, it makes one or, without create, does not run f.
func (s *Server) with(id string, create bool, f func(c *cluster) error) error {
	for {
		s.mu.Lock()
		c := s.clusters[id]
		if c == nil {
			select {
			case <-s.closed:
				s.mu.Unlock()
				return status.Error(codes.Unavailable, "the discovery service is closing")
			default:
			}
			if !create {
				s.mu.Unlock()
				return nil
			}
			if len(s.clusters) >= s.config.Limits.Clusters {
				s.dropEmpty()
			}
			if len(s.clusters) >= s.config.Limits.Clusters {
				s.mu.Unlock()
				return status.Errorf(codes.ResourceExhausted, "the service has %d clusters, which is the limit", s.config.Limits.Clusters)
			}
			c = newCluster(id, s.config.Limits, &s.count)
			s.clusters[id] = c
		}
		s.mu.Unlock()

		c.mu.Lock()
		if c.ended {
			// It became empty between the two locks.
			c.mu.Unlock()
			continue
		}
		err := f(c)
		empty := c.empty()
		c.mu.Unlock()
		if empty {
			s.mu.Lock()
			s.drop(c)
			s.mu.Unlock()
		}
		return err
	}
}

// drop removes a cluster if it is empty. A cluster that an expiry emptied stays until there is need of room or somebody
// calls: it is small. The caller holds s.mu.
func (s *Server) drop(c *cluster) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.empty() && !c.ended {
		c.ended = true
		delete(s.clusters, c.id)
	}
}

func (s *Server) dropEmpty() {
	for _, c := range s.clusters {
		s.drop(c)
	}
}

// Hello implements the service. It never redirects.
func (s *Server) Hello(ctx context.Context, req *discoverypb.HelloRequest) (*discoverypb.HelloResponse, error) {
	if err := s.admit(ctx, req.GetClusterId()); err != nil {
		return nil, err
	}
	s.count.hellos.Add(1)
	return &discoverypb.HelloResponse{ClientIp: clientAddr(ctx).AsSlice()}, nil
}

// AffiliateUpdate implements the service.
func (s *Server) AffiliateUpdate(ctx context.Context, req *discoverypb.AffiliateUpdateRequest) (*discoverypb.AffiliateUpdateResponse, error) {
	if err := s.admit(ctx, req.GetClusterId()); err != nil {
		return nil, err
	}
	ttl, err := checkUpdate(req)
	if err == nil {
		err = s.with(req.GetClusterId(), true, func(c *cluster) error { return c.update(req, ttl, time.Now()) })
	}
	if err != nil {
		return nil, s.refused(err)
	}
	s.count.updates.Add(1)
	return &discoverypb.AffiliateUpdateResponse{}, nil
}

func checkUpdate(req *discoverypb.AffiliateUpdateRequest) (ttl time.Duration, err error) {
	if err := checkAffiliateID(req.GetAffiliateId()); err != nil {
		return 0, err
	}
	if n := len(req.GetAffiliateData()); n > MaxData {
		return 0, status.Errorf(codes.InvalidArgument, "affiliate_data: %d bytes; want at most %d", n, MaxData)
	}
	if n := len(req.GetAffiliateEndpoints()); n > MaxEndpoints {
		return 0, status.Errorf(codes.InvalidArgument, "affiliate_endpoints: %d; want at most %d", n, MaxEndpoints)
	}
	for _, e := range req.GetAffiliateEndpoints() {
		if len(e) == 0 || len(e) > MaxEndpointSize {
			return 0, status.Errorf(codes.InvalidArgument, "affiliate_endpoints: one of %d bytes; want 1 to %d", len(e), MaxEndpointSize)
		}
	}
	if req.GetTtl() == nil {
		return MaxTTL, nil
	}
	if err := req.GetTtl().CheckValid(); err != nil {
		return 0, status.Errorf(codes.InvalidArgument, "ttl: %v", err)
	}
	ttl = req.GetTtl().AsDuration()
	if ttl <= 0 || ttl > MaxTTL {
		return 0, status.Errorf(codes.InvalidArgument, "ttl: %v; want more than 0 and at most %v", ttl, MaxTTL)
	}
	return ttl, nil
}

// AffiliateDelete implements the service. To delete what is not there is no error.
func (s *Server) AffiliateDelete(ctx context.Context, req *discoverypb.AffiliateDeleteRequest) (*discoverypb.AffiliateDeleteResponse, error) {
	if err := s.admit(ctx, req.GetClusterId()); err != nil {
		return nil, err
	}
	if err := checkAffiliateID(req.GetAffiliateId()); err != nil {
		return nil, s.refused(err)
	}
	err := s.with(req.GetClusterId(), false, func(c *cluster) error {
		c.remove(req.GetAffiliateId(), time.Now())
		return nil
	})
	if err != nil {
		return nil, s.refused(err)
	}
	s.count.deletes.Add(1)
	return &discoverypb.AffiliateDeleteResponse{}, nil
}

// List implements the service.
func (s *Server) List(ctx context.Context, req *discoverypb.ListRequest) (*discoverypb.ListResponse, error) {
	if err := s.admit(ctx, req.GetClusterId()); err != nil {
		return nil, err
	}
	res := &discoverypb.ListResponse{}
	err := s.with(req.GetClusterId(), false, func(c *cluster) error {
		res.Affiliates = c.list()
		return nil
	})
	if err != nil {
		return nil, s.refused(err)
	}
	s.count.lists.Add(1)
	return res, nil
}

// Watch implements the service. The first message holds all affiliates and is sent even if there are none.
func (s *Server) Watch(req *discoverypb.WatchRequest, stream discoverypb.Cluster_WatchServer) error {
	ctx := stream.Context()
	if err := s.admit(ctx, req.GetClusterId()); err != nil {
		return err
	}
	var c *cluster
	var pos uint64
	first := &discoverypb.WatchResponse{}
	err := s.with(req.GetClusterId(), true, func(cl *cluster) error {
		if cl.watchers >= s.config.Limits.Watchers {
			return status.Errorf(codes.ResourceExhausted, "the cluster has %d watchers, which is the limit", cl.watchers)
		}
		cl.watchers++
		c, pos, first.Affiliates = cl, cl.first+uint64(len(cl.changes)), cl.list()
		return nil
	})
	if err != nil {
		return s.refused(err)
	}
	s.count.watches.Add(1)
	s.count.currentWatchers.Add(1)
	defer func() {
		s.count.currentWatchers.Add(-1)
		c.mu.Lock()
		c.watchers--
		empty := c.empty()
		c.mu.Unlock()
		if empty {
			s.mu.Lock()
			s.drop(c)
			s.mu.Unlock()
		}
	}()

	send, stop := s.sender(stream)
	defer stop()
	if err := send(first); err != nil {
		return err
	}
	for {
		out, next, wake, ok := c.since(pos)
		if !ok {
			s.count.slow.Add(1)
			return status.Errorf(codes.ResourceExhausted, "the watcher is more than %d changes behind: watch again", History)
		}
		for _, m := range out {
			if err := send(m); err != nil {
				return err
			}
		}
		pos = next
		if wake == nil {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.closed:
			return status.Error(codes.Unavailable, "the discovery service is closing")
		}
	}
}

// sender returns a function that sends a message and gives up after SendTimeout, which stream.Send cannot. After stop, and
// after the handler has returned, its goroutine ends: returning ends the stream and with it a Send that hangs.
func (s *Server) sender(stream discoverypb.Cluster_WatchServer) (send func(*discoverypb.WatchResponse) error, stop func()) {
	in, sent := make(chan *discoverypb.WatchResponse), make(chan error, 1)
	go func() {
		for m := range in {
			sent <- stream.Send(m)
		}
	}()
	timer := time.NewTimer(SendTimeout)
	send = func(m *discoverypb.WatchResponse) error {
		timer.Reset(SendTimeout)
		in <- m
		select {
		case err := <-sent:
			return err
		case <-timer.C:
			s.count.slow.Add(1)
			return status.Errorf(codes.ResourceExhausted, "the watcher did not take a message within %v: watch again", SendTimeout)
		case <-s.closed:
			return status.Error(codes.Unavailable, "the discovery service is closing")
		}
	}
	return send, func() {
		timer.Stop()
		close(in)
	}
}
