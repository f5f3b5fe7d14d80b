package client

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// hungUp is a connection whose peer has gone: nothing can be written, and read is its last word.
type hungUp struct {
	net.Conn

	read error
}

func (hungUp) Write([]byte) (int, error)       { return 0, syscall.EPIPE }
func (h hungUp) Read([]byte) (int, error)      { return 0, h.read }
func (hungUp) SetReadDeadline(time.Time) error { return nil }

// TestReasonSurvivesAFailedWrite is about a race that was seen in one of twenty connections: the server's refusal and its
// end arrive while the client still writes its first frames, and gRPC closes the connection without reading on.
func TestReasonSurvivesAFailedWrite(t *testing.T) {
	t.Parallel()

	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}

	for _, tt := range []struct {
		name    string
		decided bool
		read    error
		want    error
	}{
		{"the alert is there", false, alert, alert},
		{"nothing is there", false, os.ErrDeadlineExceeded, syscall.EPIPE},
		{"the server has spoken before", true, alert, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			a := newAttempts([]Endpoint{{Host: "e", Port: 1}}, nil)
			c := &watchedConn{Conn: hungUp{read: tt.read}, endpoint: "e:1", attempts: a}
			c.decided.Store(tt.decided)

			if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
				t.Errorf("Write = %d, %v; want 0, %v", n, err, syscall.EPIPE)
			}

			// gRPC's reader, after gRPC has closed the connection.
			c.Conn = hungUp{read: net.ErrClosed}
			_, _ = c.Read(make([]byte, 1)) // what it returns is the connection's matter

			if got := a.last["e:1"].err; !errors.Is(got, tt.want) {
				t.Errorf("what is known = %v; want %v", got, tt.want)
			}
		})
	}
}
