package e2e

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"talos.internal/internal/proxy"
	"talos.internal/internal/trust"
	"talos.internal/secret"
)

// TestGarbageChangesNothing throws at the ports what is not the protocol. The node answers as before, and no process of it is
// another.
func TestGarbageChangesNothing(t *testing.T) {
	l := newLab(t, "e2e-garbage", 55, options{}).ready()
	l.until("trustd to serve", func(ctx context.Context) error { return l.greets(ctx, trust.Port) })
	names := []string{"init", "apid", "trustd"}
	before := map[string]int{}
	for _, name := range names {
		before[name] = l.process(l.control(), name)
	}
	admin := l.as(l.control(), secret.RoleAdmin)
	stop := l.undisturbed(func(ctx context.Context) error { return version(ctx, admin) })

	for _, port := range []int{proxy.Port, trust.Port} {
		t.Run(fmt.Sprint("port ", port), func(t *testing.T) {
			l := l.on(t)
			for _, tc := range []struct {
				name  string
				times int
				do    func(c net.Conn) error
			}{
				{"random bytes", 200, func(c net.Conn) error { return write(c, random(1+int(random(1)[0])*8)) }},
				{"a TLS record of random bytes", 200, func(c net.Conn) error {
					body := random(1 + int(random(1)[0]))
					return write(c, append([]byte{22, 3, 1, 0, byte(len(body))}, body...))
				}},
				{"a TLS record that is longer than it may be", 20, func(c net.Conn) error { return write(c, append([]byte{22, 3, 3, 0xff, 0xff}, random(4096)...)) }},
				{"a hello that is cut off", 50, func(c net.Conn) error { return write(c, hello(t)[:1+int(random(1)[0])%150]) }},
				{"a hello with changed bytes", 200, func(c net.Conn) error {
					h := hello(t)
					for range 1 + int(random(1)[0])%8 {
						r := random(3)
						h[(int(r[0])<<8|int(r[1]))%len(h)] = r[2]
					}
					return write(c, h)
				}},
				{"a hello and then nothing more", 50, func(c net.Conn) error { return write(c, hello(t)) }},
				{"plain HTTP", 20, func(c net.Conn) error { return write(c, []byte("GET / HTTP/1.1\r\nHost: node\r\n\r\n")) }},
				{"HTTP/2 without TLS", 20, func(c net.Conn) error {
					return write(c, append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), random(512)...))
				}},
				{"nothing", 200, func(net.Conn) error { return nil }},
			} {
				t.Run(tc.name, func(t *testing.T) {
					for range tc.times {
						c, err := net.DialTimeout("tcp", net.JoinHostPort(l.control().Endpoint, fmt.Sprint(port)), limit)
						if err != nil {
							t.Fatal(err)
						}
						_ = tc.do(c) // the node may end it at any time
						_ = c.Close()
					}
				})
			}
			t.Run("garbage inside of TLS", func(t *testing.T) {
				l := l.on(t)
				config := &tls.Config{
					RootCAs: l.secrets.OS.Pool(), ServerName: l.control().Endpoint, NextProtos: []string{"h2"},
					Certificates: []tls.Certificate{l.certificate(secret.RoleAdmin).TLS()},
				}
				for i := range 100 {
					d := tls.Dialer{Config: config}
					c, err := d.DialContext(l.context(), "tcp", net.JoinHostPort(l.control().Endpoint, fmt.Sprint(port)))
					if err != nil {
						t.Fatal(err)
					}
					if i%2 == 0 { // inside of HTTP/2
						_ = write(c, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
					}
					_ = write(c, random(2048))
					_ = c.Close()
				}
			})
			t.Run("connections that stay and say nothing", func(t *testing.T) {
				l := l.on(t)
				for range 200 {
					c, err := net.DialTimeout("tcp", net.JoinHostPort(l.control().Endpoint, fmt.Sprint(port)), limit)
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
				}
				l.until("a handshake beside them", func(ctx context.Context) error { return l.greets(ctx, port) })
			})
		})
	}
	if n := stop(); n < 10 {
		t.Errorf("%d calls were made meanwhile; this test shows nothing", n)
	}
	for _, name := range names {
		if now := l.process(l.control(), name); now != before[name] {
			t.Errorf("%s is process %d; it was %d", name, now, before[name])
		}
	}
	l.until("trustd to serve", func(ctx context.Context) error { return l.greets(ctx, trust.Port) })
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func write(c net.Conn, b []byte) error {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Write(b)
	return err
}

// hello is the first thing that a TLS client says.
func hello(t *testing.T) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "node", NextProtos: []string{"h2"}}).Handshake()
		_ = client.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}
