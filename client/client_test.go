package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/google/go-cmp/cmp"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client/talosconfig"
	"talos.internal/secret"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()

	ca := newAuthority(t, time.Now())
	change := func(f func(*talosconfig.Context)) Options {
		c := contextOf(t, ca, time.Now(), 0, "10.0.0.1")
		f(c)

		return Options{Context: c}
	}

	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"nothing", Options{}, "no endpoint is given"},
		{"no credentials", Options{Endpoints: []string{"a"}}, "there is no context"},
		{"no endpoint", change(func(c *talosconfig.Context) { c.Endpoints = nil }), "no endpoint is given"},
		{"broken endpoint", change(func(c *talosconfig.Context) { c.Endpoints = []string{"a:x"} }), `endpoint "a:x"`},
		{"no certificate", change(func(c *talosconfig.Context) { c.Crt, c.Key = "", secret.Text{} }), "crt, key: the context has no client certificate"},
		{"broken CA", change(func(c *talosconfig.Context) { c.CA = "%" }), "ca: not base64"},
		{"proxy", change(func(c *talosconfig.Context) { c.ProxyURL = "socks5://u:p@h" }), "proxy-url: connecting through a proxy is not supported"},
		{"signed requests", change(func(c *talosconfig.Context) {
			c.Auth = &talosconfig.Auth{SideroV1: &talosconfig.SideroV1{Identity: "i"}}
		}), "auth.siderov1: signing requests is not supported"},
		{"the endpoints of a cluster in maintenance mode", func() Options {
			o := change(func(*talosconfig.Context) {})
			o.Maintenance = &Maintenance{}

			return o
		}(), "no endpoint is given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			c, err := New(tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || c != nil {
				t.Errorf("New = %v, %v; want an error with %q", c, err, tt.want)
			}
		})
	}
}

func TestCallsGoToTheNode(t *testing.T) {
	t.Parallel()

	ca := newAuthority(t, time.Now())
	address, _ := serve(t, "a", serverTLS(t, ca, time.Now(), loopbackNames))
	_, port, _ := net.SplitHostPort(address)

	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"address", Options{Context: contextOf(t, ca, time.Now(), 0, address)}},
		{"name", Options{Context: contextOf(t, ca, time.Now(), 0, "localhost:"+port)}},
		{"URL", Options{Context: contextOf(t, ca, time.Now(), 0, "https://"+address+"/")}},
		{"other endpoints than the context's", Options{Context: contextOf(t, ca, time.Now(), 0, "256.bad."), Endpoints: []string{address}}},
		{"own TLS", Options{Endpoints: []string{address}, TLS: &tls.Config{
			RootCAs:      ca.Pool(),
			Certificates: []tls.Certificate{must(ca.Issue(secret.OSClient([]string{admin}, 0), time.Now()))(t).TLS()},
		}}},
		{"own dialer in place of a proxy", func() Options {
			c := contextOf(t, ca, time.Now(), 0, "localhost:1")
			c.ProxyURL = "http://proxy"

			return Options{Context: c, Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", address)
			}}
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			c := newTestClient(t, tt.o)

			for _, node := range []string{"", "n1"} {
				if got, err := c.ask(limited(t), node); err != nil || got != "a/"+node {
					t.Errorf("ask(%q) = %s, %v; want a/%s", node, got, err, node)
				}
			}
		})
	}
}

func TestMaintenance(t *testing.T) {
	t.Parallel()

	config, cert := maintenanceTLS(t)
	config.ClientAuth = tls.RequestClientCert
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) != 0 {
			return errors.New("the client shows its credentials to a stranger")
		}

		return nil
	}
	address, _ := serve(t, "m", config)
	other := newAuthority(t, time.Now())

	for _, tt := range []struct {
		name string
		pins []secret.Fingerprint
	}{
		{"without a pin", nil},
		{"one of the pins", []secret.Fingerprint{other.Fingerprint(), secret.CertificateFingerprint(cert)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			c := newTestClient(t, Options{
				Context:   contextOf(t, other, time.Now(), 0, "10.0.0.1"),
				Endpoints: []string{address}, Maintenance: &Maintenance{Fingerprints: tt.pins},
			})
			if got, err := c.ask(limited(t), ""); err != nil || got != "m/" {
				t.Errorf("ask = %s, %v; want m/", got, err)
			}
		})
	}
}

// A person can compare the fingerprint only if he is told it.
func TestMaintenanceTellsTheFingerprint(t *testing.T) {
	t.Parallel()

	config, cert := maintenanceTLS(t)
	address, _ := serve(t, "m", config)
	told := make(chan secret.Fingerprint, 1)
	c := newTestClient(t, Options{Endpoints: []string{address}, Maintenance: &Maintenance{Unpinned: func(got secret.Fingerprint) { told <- got }}})

	if _, err := c.ask(limited(t), ""); err != nil {
		t.Fatal(err)
	}

	if got, want := <-told, secret.CertificateFingerprint(cert); got != want {
		t.Errorf("told %s; want %s", got, want)
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()

	ca, other := newAuthority(t, time.Now()), newAuthority(t, time.Now())
	good := serverTLS(t, ca, time.Now(), loopbackNames)
	stranger, _ := serve(t, "stranger", serverTLS(t, other, time.Now(), loopbackNames))

	l := listen(t)
	dead := l.Addr().String()
	_ = l.Close() // nothing listens any more, which is the point

	addresses, stops := []string{}, map[string]func(){}

	for _, name := range []string{"a", "b"} {
		address, stop := serve(t, name, good)
		addresses = append(addresses, address)
		stops[name+"/"] = stop
	}

	// The order is random: with sixteen clients, some have the dead one or the stranger first, but for once in 2^16.
	for range 16 {
		c := newTestClient(t, Options{Context: contextOf(t, ca, time.Now(), 0, append(addresses, dead, stranger)...)})
		if got, err := c.ask(limited(t), ""); err != nil || stops[got] == nil {
			t.Errorf("ask = %s, %v; want a/ or b/", got, err)
		}
	}

	c := newTestClient(t, Options{Context: contextOf(t, ca, time.Now(), 0, append(addresses, dead, stranger)...)})

	first := must(c.ask(limited(t), ""))(t)
	stops[first]()

	// A call may still be given to the lost connection, and says so; no call is sent twice by itself.
	ctx := limited(t)
	for {
		second, err := c.ask(ctx, "")

		var connection *ConnectionError
		if errors.As(err, &connection) && errors.Is(err, CauseLost) && ctx.Err() == nil {
			continue
		}

		if err != nil || second == first {
			t.Errorf("after %s stopped: ask = %s, %v; want the other", first, second, err)
		}

		return
	}
}

func TestOrderOfEndpointsIsRandom(t *testing.T) {
	t.Parallel()

	seen := map[string]bool{}

	for range 200 {
		c := newTestClient(t, Options{Endpoints: []string{"a", "b", "c"}, Maintenance: &Maintenance{}})
		seen[c.attempts.order[0]] = true
	}

	// It fails by chance once in 10^34 runs.
	if len(seen) != 3 {
		t.Errorf("first of 200 clients = %v; want each of three endpoints", seen)
	}
}

func TestServersOwnErrorsStay(t *testing.T) {
	t.Parallel()

	ca := newAuthority(t, time.Now())
	address, _ := serve(t, "a", serverTLS(t, ca, time.Now(), loopbackNames))
	c := newTestClient(t, Options{Context: contextOf(t, ca, time.Now(), 0, address)})

	var connection *ConnectionError

	_, err := c.ask(limited(t), "unavailable")
	if status.Code(err) != codes.Unavailable || errors.As(err, &connection) || Explain(err) != "not available: node is down" {
		t.Errorf("ask = %v; want the server's own Unavailable", err)
	}

	_, err = c.Machine().Reboot(limited(t), &machinepb.RebootRequest{})
	if got := Explain(err); !strings.HasPrefix(got, "not supported: ") {
		t.Errorf("Explain = %s; want not supported", got)
	}

	_, err = c.ask(limited(t), "stop")
	if !errors.Is(err, CauseLost) || !strings.Contains(Explain(err), address+": the connection was lost during the call of /machine.MachineService/Version") {
		t.Errorf("ask = %v; want a lost connection", err)
	}
}

func TestMessagesUpToTheLimit(t *testing.T) {
	t.Parallel()

	ca := newAuthority(t, time.Now())
	address, _ := serve(t, "a", serverTLS(t, ca, time.Now(), loopbackNames))
	c := newTestClient(t, Options{Context: contextOf(t, ca, time.Now(), 0, address)})

	read := func(size int) (int, error) {
		s, err := c.Machine().Read(limited(t), &machinepb.ReadRequest{Path: fmt.Sprint(size)})
		if err != nil {
			return 0, err
		}

		m, err := s.Recv()

		return len(m.GetBytes()), err
	}

	if n, err := read(MaxMessage - 64); err != nil || n != MaxMessage-64 {
		t.Errorf("message of %d bytes = %d, %v; want all", MaxMessage-64, n, err)
	}

	if _, err := read(MaxMessage); !strings.Contains(Explain(err), "a message may have at most 32 MiB") {
		t.Errorf("message over the limit: %s; want it refused", Explain(err))
	}
}

// inBubble is a client with a server, both without a socket, for a synctest bubble.
func inBubble(t *testing.T) *Client {
	t.Helper()

	ca := newAuthority(t, time.Now())
	l := bufconn.Listen(1 << 16)
	serveOn(t, l, "a", serverTLS(t, ca, time.Now(), loopbackNames))

	return newTestClient(t, Options{
		Context: contextOf(t, ca, time.Now(), 0, "127.0.0.1"),
		Dialer:  func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) },
	})
}

func TestEachOverTheWire(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		c := inBubble(t)

		var got []string
		for _, r := range Each(t.Context(), []string{"n1", "hang", "unavailable", "error", "n2"}, c.ask, WithTimeout(time.Minute)) {
			got = append(got, r.Node+": "+r.Value+Explain(r.Err))
		}

		want := []string{
			"n1: a/n1",
			"hang: no answer in 1m0s: waited for the answer to /machine.MachineService/Version, asked through bufconn",
			"unavailable: not available: node is down",
			"error: inside",
			"n2: a/n2",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("results differ (-want +got):\n%s", diff)
		}
	})
}

func TestEachMessageOverTheWire(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		c := inBubble(t)

		var got []string

		for m, err := range EachMessage(t.Context(), []string{"n1", "unavailable"}, func(ctx context.Context, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
			return c.Machine().Dmesg(ctx, &machinepb.DmesgRequest{})
		}, WithTimeout(time.Minute)) {
			got = append(got, m.Node+": "+string(m.Value.GetBytes())+Explain(err))
		}

		slices.Sort(got)

		want := []string{
			"n1: [n1] 0", "n1: [n1] 1", "n1: [n1] 2",
			"n1: no answer in 1m0s: waited for message 4 of /machine.MachineService/Dmesg",
			"unavailable: [unavailable] 0", "unavailable: [unavailable] 1", "unavailable: [unavailable] 2",
			"unavailable: not available: node is down",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("messages differ (-want +got):\n%s", diff)
		}
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"nothing", nil, ""},
		{"plain", errBroken, "broken"},
		{"status", status.Error(codes.NotFound, "no service x"), "NotFound: no service x"},
		{"unknown has no code to show", status.Error(codes.Unknown, "inside"), "inside"},
		{"wrapped", fmt.Errorf("reboot n1: %w", status.Error(codes.PermissionDenied, "needs os:admin")),
			"reboot n1: not allowed: needs os:admin; a role of your client certificate has to permit it"},
		{"no text", status.Error(codes.Unavailable, ""), "not available: no reason is given"},
		{"canceled", context.Canceled, "canceled"},
		{"canceled by status", status.Error(codes.Canceled, "context canceled"), "canceled"},
		{"end", io.EOF, "EOF"},
		{"rate limit", status.Error(codes.ResourceExhausted, "slow down"), "too much: slow down"},
		{"not known", status.Error(codes.Unauthenticated, "who?"), "not authenticated: who?; is the client certificate of this cluster?"},
		{"late server", status.Error(codes.DeadlineExceeded, "etcd"), "the node did not answer in time: etcd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			if got := Explain(tt.err); got != tt.want {
				t.Errorf("Explain(%v) = %s; want %s", tt.err, got, tt.want)
			}
		})
	}
}
