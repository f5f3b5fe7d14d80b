package nodes

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/commonpb"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
)

func TestOneLine(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"one", "a: b", "a: b"},
		{"a list after a colon", "no connection:\n  a: refused\n  b: timeout\n", "no connection: a: refused; b: timeout"},
		{"what disturbs a terminal", "a\x1b[31m\nb", "a\uFFFD[31m; b"},
		{"nothing", "\n \n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := OneLine(tt.text); got != tt.want {
				t.Errorf("OneLine(%q) = %q; want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_260_000: "1.3 MB", 9_949_999: "9.9 MB", 9_950_000: "10 MB", 999_400: "999 kB", 999_500: "1.0 MB", 1 << 63: "9.2 EB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q; want %q", n, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{now.Add(-90 * time.Second), "1m30s ago"}, {now, "0s ago"}, {now.Add(time.Minute), "1m0s ahead"}, {time.Time{}, ""}, {time.Unix(0, 0), ""},
	} {
		if got := Ago(now, tt.at); got != tt.want {
			t.Errorf("Ago(%s) = %q; want %q", tt.at, got, tt.want)
		}
	}
}

func TestLinesArePrintedWhole(t *testing.T) {
	var b bytes.Buffer
	l := NewLines(&b)
	for _, part := range [][2]string{{"a", "one\ntw"}, {"b", "uno"}, {"a", "o\nthree"}} {
		if err := l.Write(part[0], []byte(part[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush([]string{"a", "b", "c"}); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "a: one\na: two\na: three\nb: uno\n"; got != want {
		t.Errorf("printed %q; want %q", got, want)
	}
}

// A machine that never ends its line must not fill the memory.
func TestLinesOfEndlessLength(t *testing.T) {
	var b bytes.Buffer
	l := NewLines(&b)
	for range 5 {
		if err := l.Write("a", bytes.Repeat([]byte("x"), longest/2)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(b.String(), "\n"); got != 2 || len(l.partial["a"]) != longest/2 {
		t.Errorf("printed %d lines and kept %d bytes; want 2 and %d", got, len(l.partial["a"]), longest/2)
	}
}

func TestLiveTableGrows(t *testing.T) {
	var b bytes.Buffer
	lt := NewLiveTable(&b, []string{"A", "B"}, "xx")
	for _, row := range [][]any{{1, "x"}, {"longer", "y"}, {2, "z"}} {
		if err := lt.Row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.String(), "A    B\n1    x\nlonger   y\n2        z\n"; got != want {
		t.Errorf("printed %q; want %q", got, want)
	}
}

func TestByCluster(t *testing.T) {
	c := &talosconfig.Config{Contexts: map[string]*talosconfig.Context{"a": {Cluster: "one"}, "b": {Cluster: "two"}, "c": {Cluster: "two"}}}
	if got, err := byCluster(c, "one"); got != "a" || err != nil {
		t.Errorf("byCluster(one) = %q, %v; want a", got, err)
	}
	for _, cluster := range []string{"two", "three"} {
		if got, err := byCluster(c, cluster); err == nil {
			t.Errorf("byCluster(%s) = %q; want an error", cluster, got)
		}
	}
}

// silentStream sends some messages and then nothing.
type silentStream struct {
	grpc.ServerStreamingClient[commonpb.Data]
	ctx  context.Context
	left int
}

func (s *silentStream) Recv() (*commonpb.Data, error) {
	if s.left == 0 {
		<-s.ctx.Done()
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
	s.left--
	time.Sleep(50 * time.Second) // almost too long, each time
	return &commonpb.Data{}, nil
}

func TestSilenceHasALimit(t *testing.T) {
	for _, tt := range []struct {
		left int
		want string
	}{{0, "no answer in 1m0s: waited for the first message"}, {3, "nothing more came in 1m0s: waited for the next message after 3"}} {
		synctest.Test(t, func(t *testing.T) {
			s, err := watched(t.Context(), time.Minute, func(ctx context.Context) (grpc.ServerStreamingClient[commonpb.Data], error) {
				return &silentStream{ctx: ctx, left: tt.left}, nil
			})
			for err == nil {
				_, err = s.Recv()
			}
			if err.Error() != tt.want {
				t.Errorf("error = %q; want %q", err, tt.want)
			}
		})
	}
}

// failing is a stream with a message in which a machine's error is.
type failing struct {
	grpc.ServerStreamingClient[commonpb.Data]
}

func (failing) Recv() (*commonpb.Data, error) {
	return &commonpb.Data{Metadata: &commonpb.Metadata{Hostname: "a", Error: "it broke"}}, nil
}

func TestAnErrorInsideAStreamIsOne(t *testing.T) {
	s, err := watched(t.Context(), 0, func(context.Context) (grpc.ServerStreamingClient[commonpb.Data], error) { return failing{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err == nil || !strings.Contains(err.Error(), "it broke") {
		t.Errorf("Recv = %v; want the error", err)
	}
}

func TestFailIsOneLine(t *testing.T) {
	var b bytes.Buffer
	s := &Session{env: command.Env{Stderr: &b}}
	if s.Err() != nil {
		t.Fatal("Err before a failure; want nil")
	}
	s.Fail("10.5.0.2", status.Error(codes.NotFound, "a:\n  b\n"))
	if got, want := b.String(), "error: 10.5.0.2: NotFound: a: b\n"; got != want || !errors.Is(s.Err(), command.ErrReported) {
		t.Errorf("printed %q, Err = %v; want %q and ErrReported", got, s.Err(), want)
	}
}
