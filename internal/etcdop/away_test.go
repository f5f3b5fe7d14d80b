package etcdop

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheckAway(t *testing.T) {
	member := func(id uint64, learner bool) Member {
		return Member{ID: id, Name: string(rune('a' + id)), Learner: learner}
	}
	three := []Member{member(0, false), member(1, false), member(2, false)}
	for _, tc := range []struct {
		name    string
		members []Member
		answer  []uint64
		err     bool
	}{
		{"alone", three[:1], []uint64{0}, false},
		{"two", three[:2], []uint64{0, 1}, false},
		{"two, one of which is silent", three[:2], []uint64{0}, true},
		{"three", three, []uint64{0, 1, 2}, false},
		{"three, one of which is silent", three, []uint64{0, 2}, true},
		{"two and a learner that is silent", append(three[:2:2], member(2, true)), []uint64{0, 1}, false},
		{"a learner itself", []Member{member(0, true), member(1, false), member(2, false)}, []uint64{0, 1}, false},
		{"five, one of which is silent", append(three[:3:3], member(3, false), member(4, false)), []uint64{0, 1, 2, 3}, false},
	} {
		answers := map[uint64]bool{}
		for _, id := range tc.answer {
			answers[id] = true
		}
		err := checkAway(tc.members, answers, 0)
		if errors.Is(err, ErrQuorum) != tc.err || (err == nil) == tc.err {
			t.Errorf("%s: checkAway = %v; want an error: %t", tc.name, err, tc.err)
		}
	}
}

func TestAClaimOutlivesItsConnection(t *testing.T) {
	program := component(t, "etcd/etcd")
	dir := t.TempDir()
	pki(t, dir)
	s := newServer(t, "a", dir)
	s.start(t, program, "a="+s.peer, "new")
	eventually(t, "the member", s.Healthy)
	if err := s.MayBeAway(t.Context()); err != nil {
		t.Errorf("MayBeAway of the only member = %v", err)
	}
	const key = "talos:v1:upgrade"
	for range 2 { // it may be taken again by who has it
		if err := s.Claim(t.Context(), key, "node-1", time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Claim(t.Context(), key, "node-2", time.Minute); !errors.Is(err, ErrClaimed) || !strings.Contains(err.Error(), "node-1") {
		t.Errorf("Claim of what node-1 has = %v", err)
	}
	if err := s.Release(t.Context(), key, "node-2"); err != nil {
		t.Error(err)
	}
	if err := s.Claim(t.Context(), key, "node-2", time.Minute); !errors.Is(err, ErrClaimed) {
		t.Errorf("another node has released it: %v", err)
	}
	if err := s.Release(t.Context(), key, "node-1"); err != nil {
		t.Error(err)
	}
	if err := s.Claim(t.Context(), key, "node-2", time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the claim of node-2 to end by itself", func(ctx context.Context) error { return s.Claim(ctx, key, "node-1", time.Minute) })
}
