package etcdop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Ports of etcd (contract.md, section 6.3).
const (
	ClientPort = 2379
	PeerPort   = 2380
	HTTPPort   = 2383
)

// Errors of an Operator. Those that are returned wrap one of these, or what etcd or the network said.
var (
	ErrNotFound   = errors.New("no such member of etcd")
	ErrQuorum     = errors.New("etcd would lose its quorum")
	ErrLastMember = errors.New("it is the last member of etcd")
)

const (
	callTime   = 30 * time.Second
	dialTime   = 3 * time.Second
	memberTime = 3 * time.Second // for one member to say how it does
)

// Operator talks to etcd. Its methods are safe for concurrent use.
type Operator struct {
	// PKI is the directory with ca.crt, admin.crt and admin.key, which are read for each call.
	PKI string
	// Local is the member on this node; empty means https://127.0.0.1:2379.
	Local string
}

// Endpoint returns the URL of the member at an address, for its clients.
func Endpoint(a netip.Addr) string { return "https://" + netip.AddrPortFrom(a, ClientPort).String() }

// PeerURL returns the URL of the member at an address, for other members.
func PeerURL(a netip.Addr) string { return "https://" + netip.AddrPortFrom(a, PeerPort).String() }

func (o Operator) local() string {
	if o.Local == "" {
		return "https://" + net.JoinHostPort("127.0.0.1", fmt.Sprint(ClientPort))
	}
	return o.Local
}

// tls reads the certificates.
func (o Operator) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(o.PKI, "admin.crt"), filepath.Join(o.PKI, "admin.key"))
	if err != nil {
		return nil, fmt.Errorf("read the client certificate for etcd: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(o.PKI, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read etcd's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("read etcd's authority: no certificate in %s", filepath.Join(o.PKI, "ca.crt"))
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// with calls f with a client of the endpoints, of the local member if there are none.
func (o Operator) with(ctx context.Context, what string, endpoints []string, f func(ctx context.Context, c *clientv3.Client) error) error {
	if len(endpoints) == 0 {
		endpoints = []string{o.local()}
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return o.connect(ctx, what, endpoints, f)
}

func (o Operator) connect(ctx context.Context, what string, endpoints []string, f func(ctx context.Context, c *clientv3.Client) error) error {
	conf, err := o.tls()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: conf, Context: ctx, Logger: zap.NewNop(), DialTimeout: dialTime,
		// Where nobody listens, the answer is an error after about a second, not at the end of the context.
		MaxUnaryRetries: 10, BackoffWaitBetween: 100 * time.Millisecond,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(failFast), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}, MinConnectTimeout: dialTime,
		})},
	})
	if err != nil {
		return fmt.Errorf("%s: connect to etcd at %s: %w", what, strings.Join(endpoints, ", "), err)
	}
	defer func() { _ = c.Close() }()
	if err := f(ctx, c); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// failFast undoes the client's own default, to wait for a connection until the end of the context.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

// Member is a member of the cluster.
type Member struct {
	ID       uint64
	Name     string // empty before it has started for the first time
	PeerURLs []string
	// ClientURLs are where its clients reach it; none before it has started for the first time.
	ClientURLs []string
	Learner    bool
}

func membersOf(list []*etcdserverpb.Member) []Member {
	out := make([]Member, 0, len(list))
	for _, m := range list {
		out = append(out, Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner})
	}
	slices.SortFunc(out, func(a, b Member) int {
		if d := strings.Compare(a.Name, b.Name); d != 0 {
			return d
		}
		return strings.Compare(fmt.Sprintf("%016x", a.ID), fmt.Sprintf("%016x", b.ID))
	})
	return out
}

// Members lists the members of the cluster, by name. With local it is what this node's member knows, which may be old and needs
// no quorum.
func (o Operator) Members(ctx context.Context, local bool) ([]Member, error) {
	var out []Member
	return out, o.with(ctx, "list the members of etcd", nil, func(ctx context.Context, c *clientv3.Client) error {
		var opts []clientv3.OpOption
		if local {
			opts = append(opts, clientv3.WithSerializable())
		}
		r, err := c.MemberList(ctx, opts...)
		if err == nil {
			out = membersOf(r.Members)
		}
		return err
	})
}

// Status is how a member does.
type Status struct {
	MemberID, Leader                      uint64
	Version, StorageVersion               string
	DBSize, DBSizeInUse                   int64
	RaftIndex, RaftTerm, RaftAppliedIndex uint64
	Errors                                []string
	Learner                               bool
}

// Status tells how this node's member does. It needs no quorum.
func (o Operator) Status(ctx context.Context) (Status, error) {
	var out Status
	return out, o.with(ctx, "ask etcd for its status", nil, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Status(ctx, o.local())
		if err != nil {
			return err
		}
		out = Status{
			MemberID: r.Header.GetMemberId(), Leader: r.Leader, Version: r.Version, StorageVersion: r.StorageVersion,
			DBSize: r.DbSize, DBSizeInUse: r.DbSizeInUse, RaftIndex: r.RaftIndex, RaftTerm: r.RaftTerm,
			RaftAppliedIndex: r.RaftAppliedIndex, Errors: r.Errors, Learner: r.IsLearner,
		}
		return nil
	})
}

// Healthy returns nil if this node's member can read with the agreement of a quorum. A learner cannot: for it it is enough to
// answer and to know a leader.
func (o Operator) Healthy(ctx context.Context) error {
	return o.with(ctx, "check etcd", nil, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Status(ctx, o.local())
		if err != nil {
			return err
		}
		if r.IsLearner {
			if r.Leader == 0 {
				return errors.New("it is a learner that knows no leader")
			}
			return nil
		}
		_, err = c.Get(ctx, "health")
		if errors.Is(err, rpctypes.ErrPermissionDenied) {
			return nil // the cluster has agreed on that, too
		}
		return err
	})
}

// reachable asks each member for its status, all at once.
func reachable(ctx context.Context, c *clientv3.Client, members []Member) map[uint64]bool {
	var mu sync.Mutex
	var all sync.WaitGroup
	out := map[uint64]bool{}
	for _, m := range members {
		if len(m.ClientURLs) == 0 {
			continue
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, memberTime)
			defer cancel()
			if _, err := c.Status(ctx, m.ClientURLs[0]); err == nil {
				mu.Lock()
				out[m.ID] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return out
}

// checkRemoval returns why a member may not be removed: what is left has to have a quorum of members that answer. Learners do not
// count, and can always go.
func checkRemoval(members []Member, answers map[uint64]bool, id uint64) error {
	at := slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
	if at < 0 {
		return fmt.Errorf("%w: %016x", ErrNotFound, id)
	}
	if members[at].Learner {
		return nil
	}
	total, answering := 0, 0 // as it is now
	voters, alive := 0, 0    // as it would be
	var silent []string
	for _, m := range members {
		if m.Learner {
			continue
		}
		total++
		if answers[m.ID] {
			answering++
		}
		if m.ID == id {
			continue
		}
		voters++
		if answers[m.ID] {
			alive++
		} else {
			silent = append(silent, title(m))
		}
	}
	switch {
	case voters == 0:
		return fmt.Errorf("%w: without it nothing is left; reset the node instead", ErrLastMember)
	case answering < total/2+1:
		return fmt.Errorf("%w: it has none now, %d of %d members answer; bring one back first, or recover from a snapshot",
			ErrQuorum, answering, total)
	case alive < voters/2+1:
		return fmt.Errorf("%w: of %d members that would be left, %d answer and %d have to (no answer: %s); bring one back first",
			ErrQuorum, voters, alive, voters/2+1, strings.Join(silent, ", "))
	}
	return nil
}

// title is what a member is called in messages.
func title(m Member) string {
	if m.Name == "" {
		return fmt.Sprintf("%016x", m.ID)
	}
	return m.Name
}

// Remove removes a member, which has to be known to be gone or about to go. It is refused with ErrQuorum, ErrLastMember or
// ErrNotFound.
func (o Operator) Remove(ctx context.Context, id uint64) error {
	return o.with(ctx, fmt.Sprintf("remove member %016x of etcd", id), nil, func(ctx context.Context, c *clientv3.Client) error {
		return remove(ctx, c, id)
	})
}

func remove(ctx context.Context, c *clientv3.Client, id uint64) error {
	r, err := c.MemberList(ctx)
	if err != nil {
		return err
	}
	members := membersOf(r.Members)
	if err := checkRemoval(members, reachable(ctx, c, members), id); err != nil {
		return err
	}
	err = removeMember(ctx, c, id)
	if errors.Is(err, rpctypes.ErrMemberNotFound) {
		return fmt.Errorf("%w: %016x", ErrNotFound, id)
	}
	return err
}

// removeMember removes a member. etcd refuses to change its members until all of them have been connected for five seconds; that is
// waited for.
func removeMember(ctx context.Context, c *clientv3.Client, id uint64) error {
	for end := time.Now().Add(10 * time.Second); ; {
		_, err := c.MemberRemove(ctx, id)
		if !errors.Is(err, rpctypes.ErrUnhealthy) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// Leave takes this node's member out of the cluster: it gives the leadership to another one and removes itself. Its data is still
// there, and useless; see etcdctrl for what follows. The errors are those of Remove.
func (o Operator) Leave(ctx context.Context) error {
	const what = "leave etcd"
	var self uint64
	var ask []string
	err := o.with(ctx, what, nil, func(ctx context.Context, c *clientv3.Client) error {
		s, err := c.Status(ctx, o.local())
		if err != nil {
			return err
		}
		self = s.Header.GetMemberId()
		r, err := c.MemberList(ctx)
		if err != nil {
			return err
		}
		members := membersOf(r.Members)
		answers := reachable(ctx, c, members)
		if err := checkRemoval(members, answers, self); err != nil {
			return err
		}
		for _, m := range members {
			if m.ID != self && !m.Learner && answers[m.ID] {
				ask = append(ask, m.ClientURLs...)
			}
		}
		if s.Leader == self {
			_, err = o.forfeit(ctx, c, members, answers, self)
		}
		return err
	})
	if err != nil {
		return err
	}
	// The others are asked: this member stops as soon as it has heard of it, and might not answer any more.
	return o.with(ctx, what, ask, func(ctx context.Context, c *clientv3.Client) error {
		return removeMember(ctx, c, self)
	})
}

// ForfeitLeadership makes another member the leader, and returns its name; an empty name says that this member is not the leader.
func (o Operator) ForfeitLeadership(ctx context.Context) (name string, err error) {
	err = o.with(ctx, "give etcd's leadership to another member", nil, func(ctx context.Context, c *clientv3.Client) error {
		s, err := c.Status(ctx, o.local())
		if err != nil || s.Leader != s.Header.GetMemberId() {
			return err
		}
		r, err := c.MemberList(ctx)
		if err != nil {
			return err
		}
		members := membersOf(r.Members)
		name, err = o.forfeit(ctx, c, members, reachable(ctx, c, members), s.Leader)
		return err
	})
	return name, err
}

func (o Operator) forfeit(ctx context.Context, c *clientv3.Client, members []Member, answers map[uint64]bool, self uint64) (string, error) {
	for _, m := range members {
		if m.ID == self || m.Learner || !answers[m.ID] {
			continue
		}
		if _, err := c.MoveLeader(ctx, m.ID); err != nil {
			return "", fmt.Errorf("make %s the leader: %w", title(m), err)
		}
		return title(m), nil
	}
	return "", errors.New("no other member answers that could be the leader")
}

// UpdatePeerURLs says where other members reach member id. That they are so already is no error.
func (o Operator) UpdatePeerURLs(ctx context.Context, id uint64, urls []string) error {
	return o.with(ctx, fmt.Sprintf("set the peer URLs of member %016x of etcd", id), nil, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.MemberUpdate(ctx, id, urls)
		return err
	})
}
