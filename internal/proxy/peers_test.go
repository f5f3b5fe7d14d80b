package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/mem"
)

// fakeConn is a connection whose calls are answered by invoke or stream.
type fakeConn struct {
	invoke func(context.Context) ([]byte, error)
	stream grpc.ClientStream
	state  connectivity.State

	mu     sync.Mutex
	closed int
}

func (f *fakeConn) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	b, err := f.invoke(ctx)
	reply.(*frame).data = mem.BufferSlice{mem.SliceBuffer(b)}

	return err
}

func (f *fakeConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return f.stream, nil
}

func (f *fakeConn) GetState() connectivity.State { return f.state }

func (f *fakeConn) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.closed++

	return nil
}

func (f *fakeConn) closes() int {
	f.mu.Lock()
	defer f.mu.Unlock()

	return f.closed
}

type dialled struct {
	state connectivity.State
	conns []*fakeConn
}

func (d *dialled) dial(string, *Identity) (peerConn, error) {
	c := &fakeConn{state: d.state}
	d.conns = append(d.conns, c)

	return c, nil
}

func (d *dialled) wantClosed(t *testing.T, when string, want ...int) {
	t.Helper()

	var got []int
	for _, c := range d.conns {
		got = append(got, c.closes())
	}

	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: closes of the connections = %v; want %v", when, got, want)
	}
}

func take(t *testing.T, ps *peers, key string, id *Identity) *link {
	t.Helper()

	return must(ps.acquire(key, id))(t)
}

func TestAConnectionIsKeptWhileItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialled

		ps, id := newPeers(10, d.dial), &Identity{}
		first := take(t, ps, "a", id)

		time.Sleep(2 * peerIdle)
		d.wantClosed(t, "in use for long", 0)

		second := take(t, ps, "a", id)
		ps.release(first)
		time.Sleep(2 * peerIdle)
		d.wantClosed(t, "one of two users left", 0)

		ps.release(second)
		time.Sleep(peerIdle - 1)

		third := take(t, ps, "a", id)
		time.Sleep(2 * peerIdle)
		d.wantClosed(t, "used again just in time", 0)

		ps.release(third)
		time.Sleep(peerIdle)
		synctest.Wait()
		d.wantClosed(t, "unused for 15 minutes", 1)

		ps.release(take(t, ps, "a", id))
		d.wantClosed(t, "used again after that", 1, 0)

		ps.close()
		d.wantClosed(t, "closed", 1, 1)

		if ps.size() != 0 {
			t.Errorf("size = %d; want 0", ps.size())
		}

		_, err := ps.acquire("a", id)
		wantCode(t, "acquire after close", err, codes.Unavailable)
	})
}

func TestAConnectionThatFailsIsNotKeptForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dialled{state: connectivity.TransientFailure}
		ps := newPeers(10, d.dial)

		ps.release(take(t, ps, "a", &Identity{}))
		time.Sleep(peerIdleFailing - 1)
		d.wantClosed(t, "before", 0)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		d.wantClosed(t, "after", 1)
	})
}

func TestARenewedIdentityGetsNewConnectionsAndCutsOffNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialled

		ps, before, after := newPeers(10, d.dial), &Identity{}, &Identity{server: testCertificate}

		used := take(t, ps, "a", before)
		ps.release(take(t, ps, "b", before))

		ps.release(take(t, ps, "a", after))
		ps.release(take(t, ps, "b", after))
		d.wantClosed(t, "a is in use, b is not", 0, 1, 0, 0)

		time.Sleep(24 * time.Hour)
		synctest.Wait()
		d.wantClosed(t, "a day later", 0, 1, 1, 1)

		ps.release(used)
		d.wantClosed(t, "its last user left", 1, 1, 1, 1)

		if ps.size() != 0 {
			t.Errorf("size = %d; want 0", ps.size())
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d dialled

		ps, id := newPeers(3, d.dial), &Identity{}

		used := take(t, ps, "used", id)
		ps.release(take(t, ps, "old", id))
		time.Sleep(time.Second)
		ps.release(take(t, ps, "new", id))
		time.Sleep(time.Second)
		ps.release(take(t, ps, "another", id))
		d.wantClosed(t, "one too many", 0, 1, 0, 0)

		take(t, ps, "new", id)
		take(t, ps, "another", id)

		_, err := ps.acquire("none", id)
		wantCode(t, "acquire while all are used", err, codes.ResourceExhausted)

		ps.release(used)
		take(t, ps, "none", id)
		d.wantClosed(t, "room was made", 1, 1, 0, 0, 0)
		ps.close()
	})
}

func TestADialThatFailsLeavesNothing(t *testing.T) {
	ps := newPeers(1, func(string, *Identity) (peerConn, error) { return nil, errors.New("no certificate") })

	_, err := ps.acquire("a", &Identity{})
	wantCode(t, "acquire", err, codes.Unavailable)

	if ps.size() != 0 {
		t.Errorf("size = %d; want 0", ps.size())
	}
}

func TestConnectionsAreSharedSafely(t *testing.T) {
	ps := newPeers(4, func(string, *Identity) (peerConn, error) { return &fakeConn{}, nil })
	ids := []*Identity{{}, {server: testCertificate}}

	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			for j := range 500 {
				if p, err := ps.acquire(fmt.Sprint((i+j)%6), ids[j/100%2]); err == nil {
					ps.release(p)
				}
			}
		})
	}

	users.Wait()
	ps.close()

	if ps.size() != 0 {
		t.Errorf("size = %d; want 0", ps.size())
	}
}
