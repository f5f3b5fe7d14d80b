package logship

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestMessagesAreLinesOverTCPAndDatagramsOverUDP(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	messages := [][]byte{[]byte(`{"a":1}`), []byte(`{"b":2}`)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := NewSender(parse(t, "tcp://"+l.Addr().String()), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(ctx, messages); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "{\"a\":1}\n{\"b\":2}\n" || err != nil {
		t.Errorf("over TCP came %q, %v", got, err)
	}

	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if s, err = NewSender(parse(t, "udp://"+p.LocalAddr().String()), nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	long := Message{Service: "x", Text: strings.Repeat("\x01", 40<<10)}.Append(nil, nil)
	if err := s.Send(ctx, append(messages, long)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for i, want := range []string{`{"a":1}`, `{"b":2}`, `{"msg":"a message too long`} {
		if err := p.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := p.ReadFrom(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("datagram %d = %.60q, %v; want %q", i, buf[:n], err, want)
		}
	}
}

func TestASenderConnectsAgainWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		var dials []time.Duration
		began := time.Now()
		lines := make(chan string, 10)
		var receiver net.Conn
		reads := true
		s, err := NewSender(parse(t, "tcp://10.5.0.1:5000"), func(context.Context, string, string) (net.Conn, error) {
			dials = append(dials, time.Since(began))
			if len(dials) < 6 {
				return nil, errors.New("connection refused")
			}
			var c net.Conn
			receiver, c = net.Pipe()
			if reads {
				go func(r net.Conn) {
					for in := bufio.NewScanner(r); in.Scan(); {
						lines <- in.Text()
					}
				}(receiver)
			}
			return c, nil
		}, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), [][]byte{[]byte("one")}); err != nil || <-lines != "one" {
			t.Fatalf("Send = %v", err)
		}
		if len(dials) != 6 || dials[5] < 10*time.Second || dials[5] > 25*time.Second {
			t.Errorf("dialled at %v; want 6 times with growing pauses", dials)
		}
		if n := strings.Count(said.String(), "logs are not sent"); n != 1 || !strings.Contains(said.String(), "sent again") {
			t.Errorf("said %q; want each once", &said)
		}
		// The receiver goes; what was not taken is sent to the next.
		_ = receiver.Close()
		if err := s.Send(t.Context(), [][]byte{[]byte("two")}); err != nil || <-lines != "two" {
			t.Errorf("Send after the receiver was started again = %v", err)
		}
		// One that takes nothing holds up until its deadline, and the context's end ends it.
		reads = false
		_ = receiver.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Send(ctx, [][]byte{[]byte("three")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Send to one that reads nothing = %v; want the end of its context", err)
		}
		_ = s.Close()
	})
}

func TestOnlyReceiversWithAPortAreTaken(t *testing.T) {
	for _, u := range []string{"http://a:1", "tcp://a", "a"} {
		if _, err := NewSender(parse(t, u), nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("NewSender(%s) = nil; want an error", u)
		}
	}
}
