package etcdop

import (
	"context"
	"testing"
	"time"
)

// TestATurnIsForOneAlone holds that the second waits for the end of the first's turn, that a turn ends with its context, and that without
// etcd there is an error soon.
func TestATurnIsForOneAlone(t *testing.T) {
	program := component(t, "etcd/etcd")
	dir := t.TempDir()
	pki(t, dir)
	s := newServer(t, "a", dir)
	begin := time.Now()
	if err := s.Hold(t.Context(), "talos:v1:test", func(context.Context) { t.Error("a turn without etcd") }); err == nil || time.Since(begin) > 15*time.Second {
		t.Errorf("Hold without etcd = %v after %v; want an error soon", err, time.Since(begin))
	}
	s.start(t, program, "a="+s.peer, "new")
	eventually(t, "the member", s.Healthy)

	turns, done := make(chan string, 4), make(chan error, 2)
	hold := func(ctx context.Context, name string) {
		done <- s.Hold(ctx, "talos:v1:test", func(turn context.Context) {
			turns <- name
			<-turn.Done()
		})
	}
	first, endFirst := context.WithCancel(t.Context())
	go hold(first, "first")
	if got := <-turns; got != "first" {
		t.Fatalf("the turn of %s", got)
	}
	second, endSecond := context.WithCancel(t.Context())
	go hold(second, "second")
	select {
	case got := <-turns:
		t.Errorf("the turn of %s during that of the first", got)
	case <-time.After(300 * time.Millisecond):
	}
	endFirst()
	select {
	case got := <-turns:
		if got != "second" {
			t.Errorf("the turn of %s", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the turn of the second does not begin")
	}
	endSecond()
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("Hold whose context has ended = %v", err)
		}
	}
}
