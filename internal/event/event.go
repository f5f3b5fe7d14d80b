// Package event is the stream of runtime events of a node: what the API's Events call shows.
//
// A [Stream] keeps the last events in a ring of fixed size. [Stream.Publish] never waits: it gives the event an id and puts it in
// the place of the oldest. A [Watcher] reads at its own pace; one that is so slow that an event was overwritten before it took it
// is cut off with [ErrSlow] and may begin again after the last id that it saw.
//
// Ids sort as the events do, also across restarts of the node as long as its clock does not go back: like those of xid they are
// twelve bytes in base32hex, seconds since 1970 first, then five bytes of the process and a counter. Events that belong to one
// call, such as a reboot, carry its actor id, so that the caller can follow what came of it.
//
// The payload is any message; the API has those of machine/events.proto. The package keeps nothing on disk. Controllers, the
// server and who composes them import it.
package event

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"talos.internal/api/machinepb"
)

// DefaultCapacity is how many events a Stream keeps if nothing else is said.
const DefaultCapacity = 1000

// urlPrefix is what the public client expects before the name of the message in Event.data.
const urlPrefix = "talos/runtime/"

// ErrSlow ends a watch whose owner did not take its events in time.
var ErrSlow = errors.New("watcher is too slow, events were lost")

// ErrID is wrapped by the error for an id that no Stream ever made.
var ErrID = errors.New("not the id of an event")

// Event is one event. It is shared between watchers and must not be changed.
type Event struct {
	ID string
	// Actor is the id of the call that caused it; empty if none did.
	Actor string
	Time  time.Time
	// Payload is the message, packed as the API sends it.
	Payload *anypb.Any
}

// Proto returns e as the API sends it.
func (e Event) Proto() *machinepb.Event {
	return &machinepb.Event{Id: e.ID, ActorId: e.Actor, Data: e.Payload}
}

// Stream is the events of one node. It is safe for concurrent use. Use [New].
type Stream struct {
	process [5]byte

	mu      sync.Mutex
	ring    []Event
	next    uint64 // number of the event to come; that of number n is ring[n % len]
	seconds uint32 // of the last id
	counter uint32 // of the last id
	changed chan struct{}
}

// New returns an empty stream that keeps capacity events; zero or less is DefaultCapacity.
func New(capacity int) *Stream {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	s := &Stream{ring: make([]Event, capacity), changed: make(chan struct{})}
	_, _ = rand.Read(s.process[:]) // never fails (crypto/rand)
	return s
}

// Publish adds an event and returns its id. payload is not kept; actor may be empty. A message that cannot be marshalled, which
// only one with text that is no UTF-8 is, is an error, and nothing is added.
func (s *Stream) Publish(payload proto.Message, actor string) (string, error) {
	body, err := proto.Marshal(payload)
	if err != nil {
		return "", fmt.Errorf("publish event %s: %w", payload.ProtoReflect().Descriptor().FullName(), err)
	}
	packed := &anypb.Any{TypeUrl: urlPrefix + string(payload.ProtoReflect().Descriptor().FullName()), Value: body}

	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	id := s.newID(now)
	s.ring[s.next%uint64(len(s.ring))] = Event{ID: id, Actor: actor, Time: now, Payload: packed}
	s.next++
	close(s.changed)
	s.changed = make(chan struct{})
	return id, nil
}

// encoding keeps the order of the bytes.
var encoding = base32.HexEncoding.WithPadding(base32.NoPadding)

const maxCounter = 1<<24 - 1

// newID returns an id that is greater than the last. The clock may have gone back, and the counter may be used up.
func (s *Stream) newID(now time.Time) string {
	if seconds := uint32(now.Unix()); seconds > s.seconds {
		s.seconds = seconds
	}
	s.counter++
	if s.counter > maxCounter {
		s.counter = 0
		s.seconds++
	}
	var b [12]byte
	binary.BigEndian.PutUint32(b[:4], s.seconds)
	copy(b[4:9], s.process[:])
	b[9], b[10], b[11] = byte(s.counter>>16), byte(s.counter>>8), byte(s.counter)
	return strings.ToLower(encoding.EncodeToString(b[:]))
}

// Options say where a watch begins and what it sees. The zero value sees what is published after the call. Of what came before,
// it sees what all the fields that are set allow.
type Options struct {
	// Tail begins with the last so many events that the watch selects; negative with all that are kept.
	Tail int
	// After begins after the event with this id. One that is no longer kept, or is of an earlier start of the node, has its place
	// by the order of ids.
	After string
	// Since begins with events that are at most so old.
	Since time.Duration
	// Actor selects the events of one actor; empty all.
	Actor string
}

// Watch begins a watch. The error wraps [ErrID]. A Watcher costs the stream nothing and need not be closed.
func (s *Stream) Watch(o Options) (*Watcher, error) {
	if o.After != "" {
		if b, err := encoding.DecodeString(strings.ToUpper(o.After)); err != nil || len(b) != 12 {
			return nil, fmt.Errorf("watch events after %q: %w; an id has 20 letters and digits", o.After, ErrID)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &Watcher{stream: s, actor: o.Actor, at: s.next}
	if o.Tail == 0 && o.After == "" && o.Since <= 0 {
		return w, nil
	}
	now, left := time.Now(), o.Tail
	for w.at > s.first() {
		e := s.ring[(w.at-1)%uint64(len(s.ring))]
		if o.After != "" && e.ID <= o.After || o.Since > 0 && now.Sub(e.Time) > o.Since {
			break
		}
		if o.Tail > 0 && w.selects(e) {
			if left == 0 {
				break
			}
			left--
		}
		w.at--
	}
	return w, nil
}

// first is the number of the oldest event that is kept.
func (s *Stream) first() uint64 {
	if n := uint64(len(s.ring)); s.next > n {
		return s.next - n
	}
	return 0
}

// Watcher reads the events of one watch. It is for one goroutine.
type Watcher struct {
	stream *Stream
	actor  string
	at     uint64
}

func (w *Watcher) selects(e Event) bool { return w.actor == "" || e.Actor == w.actor }

// Next waits for the next event and returns it. Its errors are the context's, and [ErrSlow], after which the watch is over.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		w.stream.mu.Lock()
		for w.at < w.stream.next {
			if lost := w.stream.first(); w.at < lost {
				w.stream.mu.Unlock()
				return Event{}, fmt.Errorf("watch events: %w: %d of them; begin again after the last one that was seen", ErrSlow, lost-w.at)
			}
			e := w.stream.ring[w.at%uint64(len(w.stream.ring))]
			w.at++
			if w.selects(e) {
				w.stream.mu.Unlock()
				return e, nil
			}
		}
		changed := w.stream.changed
		w.stream.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}
