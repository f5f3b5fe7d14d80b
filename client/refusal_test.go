package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/secret"
)

var aTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

func failing(err error) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
}

// accept handles each connection by f, which need not close it.
func accept(t *testing.T, f func(net.Conn)) string {
	t.Helper()

	l := listen(t)

	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}

			f(conn)

			_ = conn.Close() // a test's connection
		}
	}()

	return l.Addr().String()
}

// TestRefusals has each way in which a connection does not come about, with a real TLS server where that is the reason.
func TestRefusals(t *testing.T) {
	t.Parallel()

	now := time.Now()
	ca, other := newAuthority(t, now), newAuthority(t, now)
	old := newAuthority(t, now.Add(-72*time.Hour))
	wrong := must(secret.ParseSANs([]string{"10.9.8.7", "node.example.org"}))(t)

	// with is a client of ca for a server on loopback.
	with := func(config *tls.Config) func(*testing.T) Options {
		return func(t *testing.T) Options {
			address, _ := serve(t, "a", config)

			return Options{Context: contextOf(t, ca, now, 0, address)}
		}
	}

	dialing := func(endpoint string, err error) func(*testing.T) Options {
		return func(t *testing.T) Options {
			return Options{Context: contextOf(t, ca, now, 0, endpoint), Dialer: failing(err)}
		}
	}

	const renew = "make new credentials with talosctl config new, or from the cluster's secrets"

	for _, tt := range []struct {
		name  string
		setup func(t *testing.T) Options
		cause Cause
		want  string // after the endpoint; TIME stands for any time
	}{
		{"connection refused", func(t *testing.T) Options {
			l := listen(t)
			address := l.Addr().String()
			_ = l.Close() // nothing listens any more, which is the point

			return Options{Context: contextOf(t, ca, now, 0, address)}
		}, CauseRefused, "connection refused: nothing listens there; is the node up, and is that the port of the machine API, 50000?"},
		{"dialing takes too long", dialing("10.0.0.1", os.ErrDeadlineExceeded), CauseTimeout,
			"no answer; is the node up, is the address right, and does every firewall between let the port through?"},
		{"no route", dialing("10.0.0.1", os.NewSyscallError("connect", syscall.EHOSTUNREACH)), CauseUnreachable,
			"no route to the address; is the node up, and is this computer in a network that reaches it?"},
		{"unknown name", dialing("cp", &net.DNSError{Err: "no such host", Name: "cp", IsNotFound: true}), CauseUnknownName,
			"the name cp cannot be resolved; is it spelled right, and is the DNS server up?"},
		{"something unforeseen", dialing("cp", errBroken), CauseOther, "dial tcp: broken"},
		{"server of another cluster", with(serverTLS(t, other, now, loopbackNames)), CauseAuthority,
			"its certificate is not signed by an authority that the talosconfig trusts; is it a node of this cluster, and is the right context in use?"},
		{"server in maintenance mode", func(t *testing.T) Options {
			config, _ := maintenanceTLS(t)

			return with(config)(t)
		}, CauseMaintenance, "the machine is in maintenance mode: it has no config of this cluster; use --insecure, and --cert-fingerprint if you know it"},
		{"server's certificate expired", func(t *testing.T) Options {
			address, _ := serve(t, "a", serverTLS(t, old, now.Add(-48*time.Hour), loopbackNames))

			return Options{Context: contextOf(t, old, now, 0, address)}
		}, CauseExpired, "its certificate expired at TIME, and here it is TIME; nodes renew theirs by themselves: is the clock of this computer or that of the node wrong?"},
		{"server's certificate not yet valid", func(t *testing.T) Options {
			address, _ := serve(t, "a", serverTLS(t, ca, now.Add(48*time.Hour), loopbackNames))

			return Options{Context: contextOf(t, ca, now, 0, address)}
		}, CauseNotYetValid, "its certificate is valid only from TIME, and here it is TIME; is the clock of this computer or that of the node wrong?"},
		{"server has another name", with(serverTLS(t, ca, now, wrong)), CauseWrongName,
			"its certificate is not for 127.0.0.1 but for 10.9.8.7, node.example.org; connect by one of these, or add the missing one to machine.certSANs"},
		{"server has another fingerprint", func(t *testing.T) Options {
			config, _ := maintenanceTLS(t)
			address, _ := serve(t, "a", config)

			return Options{Endpoints: []string{address}, Maintenance: &Maintenance{Fingerprints: []secret.Fingerprint{ca.Fingerprint()}}}
		}, CauseFingerprint, "its certificate has another fingerprint than the expected: PRINT; compare it with what the machine's console shows; if they differ, somebody is between"},
		{"client of another cluster", func(t *testing.T) Options {
			address, _ := serve(t, "a", serverTLS(t, ca, now, loopbackNames))
			// With another subject: crypto/tls would by itself not show a certificate that the server does not name the issuer of.
			spec := secret.OS.Spec()
			spec.Organization = "other"
			credentials := contextOf(t, must(secret.NewCustomAuthority(spec, now))(t), now, 0, address)
			credentials.CA = contextOf(t, ca, now, 0).CA

			return Options{Context: credentials}
		}, CauseCredentials, "the server refused your client certificate (unknown certificate authority); is it of this cluster and for clients, and is the node's clock right? Else " + renew},
		{"server does not say why", func(t *testing.T) Options {
			config := serverTLS(t, ca, now, loopbackNames)
			config.VerifyConnection = func(tls.ConnectionState) error { return errBroken }

			return with(config)(t)
		}, CauseCredentials, "the server refused your client certificate (bad certificate); is it of this cluster and for clients, and is the node's clock right? Else " + renew},
		{"client's certificate expired", func(t *testing.T) Options {
			address, _ := serve(t, "a", serverTLS(t, old, now, loopbackNames))

			return Options{Context: contextOf(t, old, now.Add(-48*time.Hour), time.Hour, address)}
		}, CauseCredentials, "your client certificate expired at TIME; " + renew},
		{"client's certificate not yet valid", func(t *testing.T) Options {
			address, _ := serve(t, "a", serverTLS(t, ca, now, loopbackNames))

			return Options{Context: contextOf(t, ca, now.Add(48*time.Hour), time.Hour, address)}
		}, CauseCredentials, "your client certificate is valid only from TIME, and here it is TIME; is the clock of this computer wrong?"},
		{"no client certificate", func(t *testing.T) Options {
			address, _ := serve(t, "a", serverTLS(t, ca, now, loopbackNames))

			return Options{Endpoints: []string{address}, Maintenance: &Maintenance{}}
		}, CauseCredentials, "the server wants a client certificate, and accepted none (certificate required); the node is not in maintenance mode: leave out --insecure, and use a talosconfig with credentials"},
		{"server of TLS 1.2", func(t *testing.T) Options {
			config := serverTLS(t, ca, now, loopbackNames)
			config.MinVersion, config.MaxVersion = 0, tls.VersionTLS12

			return with(config)(t)
		}, CauseOther, "the server ended the handshake: protocol version not supported"},
		{"not TLS", func(t *testing.T) Options {
			return Options{Context: contextOf(t, ca, now, 0, accept(t, func(conn net.Conn) {
				_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_10.0\r\n")) // the client decides what it thinks of it
				_, _ = conn.Read(make([]byte, 4096))
			}))}
		}, CauseNotTLS, "what answers does not speak TLS; is that the port of the machine API, 50000?"},
		{"peer hangs up", func(t *testing.T) Options {
			return Options{Context: contextOf(t, ca, now, 0, accept(t, func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 4096)) // so that closing is an end and not a reset
			}))}
		}, CauseClosed, "closed the connection before it was set up; is the node starting or shutting down, or is there a proxy between?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			o := tt.setup(t)
			c := newTestClient(t, o)
			_, err := c.ask(limited(t), "")

			var connection *ConnectionError
			if !errors.As(err, &connection) || len(connection.Endpoints) != 1 {
				t.Fatalf("call = %v; want a ConnectionError with one endpoint", err)
			}

			got := strings.TrimPrefix(Explain(err), "machine API at "+connection.Endpoints[0].Endpoint+": ")
			got = aTime.ReplaceAllString(got, "TIME")
			got = regexp.MustCompile(`[0-9A-F]{2}(:[0-9A-F]{2}){31}`).ReplaceAllString(got, "PRINT")

			if got != tt.want {
				t.Errorf("Explain = %s\nwant      %s", got, tt.want)
			}

			if !errors.Is(err, tt.cause) || connection.Endpoints[0].Cause != tt.cause {
				t.Errorf("cause = %s; want %s", connection.Endpoints[0].Cause, tt.cause)
			}

			if code := status.Code(err); code != codes.Unavailable {
				t.Errorf("code = %s; want %s", code, codes.Unavailable)
			}

			// A second call must not know less: it fails at once with what is known.
			if _, again := c.ask(limited(t), ""); !errors.Is(again, tt.cause) {
				t.Errorf("second call = %v; want the cause %s", again, tt.cause)
			}
		})
	}
}

func TestAllEndpointsAreExplained(t *testing.T) {
	t.Parallel()

	now := time.Now()
	ca, other := newAuthority(t, now), newAuthority(t, now)
	stranger, _ := serve(t, "a", serverTLS(t, other, now, loopbackNames))

	l := listen(t)
	dead := l.Addr().String()
	_ = l.Close() // nothing listens any more, which is the point

	c := newTestClient(t, Options{Context: contextOf(t, ca, now, 0, stranger, dead)})

	_, err := c.ask(limited(t), "")
	text := Explain(err)

	for _, want := range []string{
		"none of 2 endpoints of the machine API can be used:",
		"\n  " + stranger + ": its certificate is not signed",
		"\n  " + dead + ": connection refused",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("Explain = %s\nwant it to contain %q", text, want)
		}
	}

	if errors.Is(err, CauseRefused) || errors.Is(err, CauseAuthority) {
		t.Errorf("%v has one cause for all", err)
	}

	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v does not wrap ECONNREFUSED", err)
	}
}

func TestDeadlineBeforeAnyConnectionSaysHowFarItCame(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name string
		dial func(ctx context.Context, address string) (net.Conn, error)
		want string
	}{
		{"dialing", func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()

			return nil, ctx.Err()
		}, "no answer; is the node up, is the address right, and does every firewall between let the port through?"},
		{"handshake", func(ctx context.Context, _ string) (net.Conn, error) {
			near, far := net.Pipe()
			context.AfterFunc(ctx, func() { _ = far.Close() }) // a pipe's Close never fails

			return near, nil
		}, "accepted the connection, but has not finished the handshake; is the node overloaded, or does something else listen there?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			synctest.Test(t, func(t *testing.T) {
				c := newTestClient(t, Options{Context: contextOf(t, newAuthority(t, time.Now()), time.Now(), 0, "10.0.0.1"), Dialer: tt.dial})

				got := Each(t.Context(), []string{"n"}, c.ask, WithTimeout(5*time.Second))

				want := "no answer in 5s: waited for a connection, to call /machine.MachineService/Version: machine API at 10.0.0.1:50000: " + tt.want
				if text := Explain(got[0].Err); text != want {
					t.Errorf("Explain = %s\nwant      %s", text, want)
				}

				if !errors.Is(got[0].Err, context.DeadlineExceeded) || status.Code(got[0].Err) != codes.DeadlineExceeded {
					t.Errorf("%v is not DeadlineExceeded", got[0].Err)
				}
			})
		})
	}
}
