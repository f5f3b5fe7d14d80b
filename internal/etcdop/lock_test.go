package etcdop

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestALockIsForOneAlone holds that the second waits for the first, that a wait ends with its context, and that a lock is free when
// it was given back after the end of the context under which it was taken.
func TestALockIsForOneAlone(t *testing.T) {
	program := component(t, "etcd/etcd")
	dir := t.TempDir()
	pki(t, dir)
	s := newServer(t, "a", dir)
	begin := time.Now()
	if _, err := s.Lock(t.Context(), "talos:v1:test"); err == nil || time.Since(begin) > 15*time.Second {
		t.Errorf("Lock without etcd = %v after %v; want an error soon", err, time.Since(begin))
	}
	s.start(t, program, "a="+s.peer, "new")
	eventually(t, "the member", s.Healthy)

	taking, cancel := context.WithCancel(t.Context())
	unlock, err := s.Lock(taking, "talos:v1:test")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	waiting, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	_, err = s.Lock(waiting, "talos:v1:test")
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "talos:v1:test") {
		t.Errorf("Lock of what is locked = %v; want a deadline that names it", err)
	}
	if other, err := s.Lock(t.Context(), "talos:v1:other"); err != nil {
		t.Errorf("Lock of another name = %v", err)
	} else {
		other()
	}
	got := make(chan error, 1)
	go func() {
		unlock, err := s.Lock(t.Context(), "talos:v1:test")
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("Lock of what is locked = %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	unlock()
	unlock()
	if err := <-got; err != nil {
		t.Errorf("Lock of what was unlocked = %v", err)
	}
}
