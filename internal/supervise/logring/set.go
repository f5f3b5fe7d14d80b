package logring

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Set is the logs of all services, by id. Its methods are safe for concurrent use.
type Set struct {
	codec   *codec
	limit   int
	mu      sync.Mutex
	rings   map[string]*Ring
	changed chan struct{} // closed when a ring comes or goes
}

// NewSet returns an empty set. limit is the memory in bytes that each ring takes at most; 0 is [DefaultLimit], and less
// than 128 KiB is an error.
func NewSet(limit int) (*Set, error) {
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 2*chunkSize {
		return nil, errors.New("make log rings: a limit under 128 KiB has no room for history")
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	return &Set{codec: c, limit: limit, rings: map[string]*Ring{}}, nil
}

// Ring returns the ring of service id, which is made if there is none.
func (s *Set) Ring(id string) *Ring {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rings[id]
	if !ok {
		r = &Ring{codec: s.codec, limit: s.limit}
		s.rings[id] = r
		s.wake()
	}
	return r
}

// Find returns the ring of service id, or false.
func (s *Set) Find(id string) (*Ring, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.rings[id]
	return r, ok
}

// IDs returns the services that have a ring, sorted.
func (s *Set) IDs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.rings))
}

// Rings returns the rings by service, in a map of the caller's, and a channel that is closed when one comes or goes after that.
func (s *Set) Rings() (map[string]*Ring, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return maps.Clone(s.rings), s.changed
}

func (s *Set) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Remove forgets the log of service id. Its readers come to an end, and what its writers still write is thrown away.
func (s *Set) Remove(id string) {
	s.mu.Lock()
	r, ok := s.rings[id]
	delete(s.rings, id)
	if ok {
		s.wake()
	}
	s.mu.Unlock()
	if ok {
		r.close()
	}
}

// Open returns a writer to the log of service id, which is made if there is none.
func (s *Set) Open(id string) io.WriteCloser { return s.Ring(id).NewWriter() }

// Tail returns the last n lines of service id without their ends; all of them if n is negative ([All]).
func (s *Set) Tail(id string, n int) []string {
	ring, ok := s.Find(id)
	if !ok {
		return nil
	}
	var text strings.Builder
	for r := ring.NewReader(n, false); ; {
		lines, err := r.Next(context.Background())
		if err != nil {
			break
		}
		text.Write(lines)
	}
	if text.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}
