package etcdop

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"talos.internal/secret"
)

func TestAMemberIsRemovedOnlyIfAQuorumIsLeft(t *testing.T) {
	a, b, c := Member{ID: 1, Name: "a"}, Member{ID: 2, Name: "b"}, Member{ID: 3, Name: "c"}
	d, l := Member{ID: 4}, Member{ID: 9, Name: "l", Learner: true}
	for _, tc := range []struct {
		name    string
		members []Member
		answer  []uint64
		id      uint64
		want    error
		text    string
	}{
		{"of three, one that answers", []Member{a, b, c}, []uint64{1, 2, 3}, 3, nil, ""},
		{"of three, one that is dead", []Member{a, b, c}, []uint64{1, 2}, 3, nil, ""},
		{"of three, one that answers while another is dead", []Member{a, b, c}, []uint64{1, 2}, 2, ErrQuorum, "of 2 members that would be left, 1 answer and 2 have to (no answer: c)"},
		{"of two, the other is dead", []Member{a, b}, []uint64{1}, 2, ErrQuorum, "it has none now, 1 of 2 members answer"},
		{"of two", []Member{a, b}, []uint64{1, 2}, 2, nil, ""},
		{"the last", []Member{a}, []uint64{1}, 1, ErrLastMember, ""},
		{"the last voter", []Member{a, l}, []uint64{1, 9}, 1, ErrLastMember, ""},
		{"a learner, whatever the rest does", []Member{a, b, l}, []uint64{1}, 9, nil, ""},
		{"learners that answer are no quorum", []Member{a, b, c, l}, []uint64{1, 2, 9}, 2, ErrQuorum, ""},
		{"unknown", []Member{a, b, c}, []uint64{1, 2, 3}, 7, ErrNotFound, "0000000000000007"},
		{"one without a name that never started", []Member{a, b, c, d}, []uint64{1, 2, 3}, 4, nil, ""},
		{"of four, one without a name is silent", []Member{a, b, c, d}, []uint64{1, 2, 3}, 3, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answers := map[uint64]bool{}
			for _, id := range tc.answer {
				answers[id] = true
			}
			err := checkRemoval(tc.members, answers, tc.id)
			if !errors.Is(err, tc.want) || tc.text != "" && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("checkRemoval = %v; want %v, %q", err, tc.want, tc.text)
			}
		})
	}
}

func TestInitialClusterHasEachMemberThatHasAName(t *testing.T) {
	members := []Member{{ID: 1, Name: "a", PeerURLs: []string{"https://10.0.0.1:2380", "https://[fd00::1]:2380"}},
		{ID: 2, PeerURLs: []string{"https://10.0.0.2:2380"}}, {ID: 3, PeerURLs: []string{"https://10.0.0.3:2380"}}}
	want := "a=https://10.0.0.1:2380,a=https://[fd00::1]:2380,new=https://10.0.0.3:2380"
	if got := initialCluster(members, 3, "new"); got != want {
		t.Errorf("initialCluster = %s; want %s", got, want)
	}
}

func TestURLsOfAddresses(t *testing.T) {
	for a, want := range map[string]string{"10.0.0.1": "https://10.0.0.1:2379", "fd00::1": "https://[fd00::1]:2379"} {
		if got := Endpoint(netip.MustParseAddr(a)); got != want {
			t.Errorf("Endpoint(%s) = %s; want %s", a, got, want)
		}
	}
}

// server is an etcd of the test's own, as a process.
type server struct {
	name, dir, client, peer string
	cmd                     *exec.Cmd
	log                     bytes.Buffer
	Operator
}

// component returns a program that "make components" builds.
func component(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TALOS_COMPONENTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "_out", "components")
	}
	p, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the component %s is missing: %v", name, err)
		}
		t.Skipf("%v: build it with \"make components\"", err)
	}
	return p
}

func freeURL(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "https://" + l.Addr().String()
}

// pki issues what members and their clients need, to dir.
func pki(t testing.TB, dir string) {
	t.Helper()
	now := time.Now()
	ca, err := secret.NewAuthority(secret.Etcd, now)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sans := secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	write("ca.crt", ca.CertificatePEM())
	for name, leaf := range map[string]secret.Leaf{"server": secret.EtcdServer("node", sans), "peer": secret.EtcdPeer("node", sans), "admin": secret.EtcdClient("admin")} {
		pair, err := ca.Issue(leaf, now)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".crt", pair.CertificatePEM())
		write(name+".key", pair.Key().PEM())
	}
}

func newServer(t testing.TB, name, pki string) *server {
	t.Helper()
	s := &server{name: name, dir: filepath.Join(t.TempDir(), name), client: freeURL(t), peer: freeURL(t)}
	s.Operator = Operator{PKI: pki, Local: s.client}
	t.Cleanup(func() { s.kill() })
	return s
}

func (s *server) start(t testing.TB, program, initial, state string) {
	t.Helper()
	file := func(name string) string { return filepath.Join(s.PKI, name) }
	s.cmd = exec.Command(program, "--name", s.name, "--data-dir", s.dir, "--listen-client-urls", s.client, "--advertise-client-urls", s.client,
		"--listen-peer-urls", s.peer, "--initial-advertise-peer-urls", s.peer, "--initial-cluster", initial, "--initial-cluster-state", state,
		"--cert-file", file("server.crt"), "--key-file", file("server.key"), "--trusted-ca-file", file("ca.crt"), "--client-cert-auth",
		"--peer-cert-file", file("peer.crt"), "--peer-key-file", file("peer.key"), "--peer-trusted-ca-file", file("ca.crt"), "--peer-client-cert-auth",
		"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "warn")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// eventually calls f until it returns nil.
func eventually(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %s; last: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestTheLifeOfACluster is one test, because members take a second to start.
func TestTheLifeOfACluster(t *testing.T) {
	program := component(t, "etcd/etcd")
	dir := t.TempDir()
	pki(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	a, b := newServer(t, "a", dir), newServer(t, "b", dir)
	if err := a.Healthy(ctx); err == nil {
		t.Error("Healthy without etcd = nil")
	}
	a.start(t, program, "a="+a.peer, "new")
	eventually(t, "the first member", a.Healthy)

	if err := a.Leave(ctx); !errors.Is(err, ErrLastMember) {
		t.Errorf("Leave of the only member = %v; want ErrLastMember", err)
	}
	if err := a.Remove(ctx, 7); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove of nobody = %v; want ErrNotFound", err)
	}

	// A member joins, as a learner, three times: the first time it never starts, and has another address afterwards; the second time
	// it does not start either.
	first, err := b.Join(ctx, []string{a.client}, "b", []string{b.peer, "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	joined, err := b.Join(ctx, []string{a.client}, "b", []string{b.peer})
	if err != nil || len(joined.Removed) != 1 || joined.Removed[0] != first.ID {
		t.Fatalf("Join with another address = %+v, %v; want that the first one was removed", joined, err)
	}
	if again, err := b.Join(ctx, []string{a.client}, "b", []string{b.peer}); err != nil || again.ID != joined.ID || len(again.Removed) != 0 {
		t.Fatalf("Join again = %+v, %v; want the same member", again, err)
	}
	if want := fmt.Sprintf("a=%s,b=%s", a.peer, b.peer); joined.InitialCluster != want && joined.InitialCluster != fmt.Sprintf("b=%s,a=%s", b.peer, a.peer) {
		t.Errorf("Join = %q; want %q", joined.InitialCluster, want)
	}
	b.start(t, program, joined.InitialCluster, "existing")
	eventually(t, "the learner", b.Healthy)
	if s, err := b.Status(ctx); err != nil || s.MemberID != joined.ID {
		t.Errorf("Status of the learner = %+v, %v; want member %x", s, err, joined.ID)
	}
	promote := func(ctx context.Context) error { return b.Promote(ctx, []string{a.client}) }
	eventually(t, "the learner to vote", promote)
	if err := promote(ctx); err != nil {
		t.Errorf("Promote of a voter = %v; want nil", err)
	}
	members, err := b.Members(ctx, false)
	if err != nil || len(members) != 2 || members[0].Name != "a" || members[1].Name != "b" || members[1].Learner {
		t.Errorf("Members = %+v, %v; want a and b, both voting", members, err)
	}

	// Leadership, URLs, upkeep.
	eventually(t, "b to be healthy", b.Healthy)
	if name, err := a.ForfeitLeadership(ctx); err != nil || name != "b" {
		t.Errorf("ForfeitLeadership = %q, %v; want b", name, err)
	}
	if name, err := a.ForfeitLeadership(ctx); err != nil || name != "" {
		t.Errorf("ForfeitLeadership of a follower = %q, %v; want none", name, err)
	}
	if err := b.UpdatePeerURLs(ctx, joined.ID, []string{b.peer}); err != nil {
		t.Error(err)
	}
	if err := a.Defragment(ctx); err != nil {
		t.Error(err)
	}
	if alarms, err := a.Alarms(ctx); err != nil || len(alarms) != 0 {
		t.Errorf("Alarms = %v, %v; want none", alarms, err)
	}
	if alarms, err := a.DisarmAlarms(ctx); err != nil || len(alarms) != 0 {
		t.Errorf("DisarmAlarms = %v, %v; want none", alarms, err)
	}
	if _, err := a.Downgrade(ctx, DowngradeValidate, "9.9"); err == nil {
		t.Error("Downgrade to 9.9 = nil")
	}
	put(t, a, "key", "value")
	var snapshot bytes.Buffer
	if err := a.Snapshot(ctx, &snapshot); err != nil || snapshot.Len() < 16<<10 || !bytes.Contains(snapshot.Bytes(), []byte("value")) {
		t.Errorf("Snapshot = %d bytes, %v; want the database", snapshot.Len(), err)
	}

	// One of two is gone: nothing can be removed, and the other says so.
	a.kill()
	eventually(t, "b without quorum", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if b.Healthy(ctx) == nil {
			return errors.New("it is healthy")
		}
		return nil
	})
	if members, err := b.Members(ctx, true); err != nil || len(members) != 2 {
		t.Errorf("the local list of members = %v, %v; want two", members, err)
	}
	a.start(t, program, "a="+a.peer, "existing")
	eventually(t, "a to be back", a.Healthy)

	// b is the leader or not; it leaves, and a is alone.
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a alone", func(ctx context.Context) error {
		m, err := a.Members(ctx, false)
		if err == nil && len(m) != 1 {
			err = fmt.Errorf("%d members", len(m))
		}
		return err
	})
	eventually(t, "a to be healthy", a.Healthy)
}

func put(t testing.TB, s *server, key, value string) {
	t.Helper()
	if err := s.with(context.Background(), "put", nil, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, key, value)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestStrangersAreNotBelieved(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	pki(t, dir)
	pki(t, other)
	pair, err := tls.LoadX509KeyPair(filepath.Join(other, "server.crt"), filepath.Join(other, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	o := Operator{PKI: dir, Local: "https://" + l.Addr().String()}
	if err := o.Healthy(ctx); err == nil || !strings.Contains(err.Error(), "check etcd") {
		t.Errorf("Healthy with a stranger = %v; want an error", err)
	}
	if err := (Operator{PKI: filepath.Join(dir, "not-there")}).Healthy(ctx); err == nil || !strings.Contains(err.Error(), "client certificate for etcd") {
		t.Errorf("Healthy without certificates = %v", err)
	}
}
