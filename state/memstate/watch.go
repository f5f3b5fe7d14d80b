package memstate

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"sync"

	"talos.internal/resource"
	"talos.internal/state"
)

// ring holds the last events, numbered from first up to but not including next. The first event ever is number 0.
type ring struct {
	limit uint64
	buf   []state.Event
	first uint64 // number of the oldest event
	next  uint64 // number that the next event gets
}

// add appends e, and forgets the oldest event if the ring is full and as large as it may be.
func (r *ring) add(e state.Event) {
	if n := uint64(len(r.buf)); r.next-r.first == n {
		if n < r.limit {
			// Nothing is forgotten while the ring grows, so event i is at place i and stays there.
			bigger := make([]state.Event, min(max(2*n, 16), r.limit))
			copy(bigger, r.buf)
			r.buf = bigger
		} else {
			r.first++
		}
	}
	r.buf[r.next%uint64(len(r.buf))] = e
	r.next++
}

func (r *ring) at(number uint64) state.Event { return r.buf[number%uint64(len(r.buf))] }

// A bookmark is the stamp of a collection and the number of the next event.
const bookmarkSize = 16

func stamp(incarnation uint64, kind resource.Kind) uint64 {
	h := fnv.New64a()
	h.Write([]byte(kind.Namespace + "\x00" + kind.Type))
	return h.Sum64() ^ incarnation
}

func bookmark(stamp, next uint64) state.Bookmark {
	var b [bookmarkSize]byte
	binary.BigEndian.PutUint64(b[:8], stamp)
	binary.BigEndian.PutUint64(b[8:], next)
	return state.Bookmark(b[:])
}

// batch bounds the events that one Next looks at under the lock, and with it how long a writer waits for a reader.
const batch = 256

// watcher is a position in the ring of a collection.
type watcher struct {
	c     *collection
	id    string // of the only resource to tell of; empty for all
	query resource.Query
	all   bool // nothing is filtered

	// For Next, which one goroutine calls at a time.
	prelude []state.Event // to tell before anything from the ring
	next    uint64        // number of the next event to look at
	buf     []state.Event

	stop func() bool // releases the context of the watch
	once sync.Once
	done chan struct{}
	err  error // why done was closed
}

// Watch implements [state.State].
func (s *Store) Watch(ctx context.Context, ref resource.Ref, opts state.WatchOptions) (state.Watcher, error) {
	if err := ref.Validate(); err != nil {
		return nil, failure("watch", ref, state.Invalid, "", err.Error())
	}
	if opts.Bootstrap || opts.BootstrapBookmark || !opts.Query.IsZero() {
		return nil, failure("watch", ref, state.Invalid, "", "options for a kind were given for one resource")
	}
	return s.watch(ctx, ref, opts)
}

// WatchKind implements [state.State].
func (s *Store) WatchKind(ctx context.Context, kind resource.Kind, opts state.WatchOptions) (state.Watcher, error) {
	if err := kind.Validate(); err != nil {
		return nil, failure("watch", kind.Ref(""), state.Invalid, "", err.Error())
	}
	if err := opts.Query.Validate(); err != nil {
		return nil, failure("watch", kind.Ref(""), state.Invalid, "", err.Error())
	}
	return s.watch(ctx, kind.Ref(""), opts)
}

func (s *Store) watch(ctx context.Context, ref resource.Ref, opts state.WatchOptions) (state.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	begins := 0
	for _, set := range []bool{opts.Bootstrap, opts.Tail != 0, opts.From != ""} {
		if set {
			begins++
		}
	}
	if begins > 1 || opts.Tail < 0 {
		return nil, failure("watch", ref, state.Invalid, "", "more than one beginning, or a negative tail")
	}
	w := &watcher{
		c: s.collection(ref.Kind()), id: ref.ID, query: opts.Query,
		all:  ref.ID == "" && opts.Query.IsZero(),
		done: make(chan struct{}),
	}
	if err := w.begin(ref, opts); err != nil {
		return nil, err
	}
	w.stop = context.AfterFunc(ctx, func() { w.end(ctx.Err()) })
	return w, nil
}

// begin finds the first position and what is to be told before it.
func (w *watcher) begin(ref resource.Ref, opts state.WatchOptions) error {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	w.next = c.ring.next
	here := bookmark(c.stamp, w.next)
	switch {
	case opts.From != "":
		if len(opts.From) != bookmarkSize {
			return failure("watch", ref, state.Invalid, "", "this is not a bookmark")
		}
		w.next = binary.BigEndian.Uint64([]byte(opts.From[8:]))
		if binary.BigEndian.Uint64([]byte(opts.From[:8])) != c.stamp || w.next > c.ring.next {
			return failure("watch", ref, state.Unavailable, state.HistoryLost, "the bookmark is of another store, or of another kind")
		}
		if w.next < c.ring.first {
			return w.lost()
		}
		here = opts.From
	case opts.Tail > 0:
		for left := opts.Tail; w.next > c.ring.first && left > 0; w.next-- {
			if e := c.ring.at(w.next - 1); w.id == "" || e.Resource.Metadata().ID() == w.id {
				left--
			}
		}
		here = bookmark(c.stamp, w.next)
	case w.id != "":
		first := state.Event{Type: state.Created, Resource: c.items[w.id], Bookmark: here}
		if first.Resource == nil {
			first.Type, first.Resource = state.Destroyed, resource.Tombstone(ref)
		}
		w.prelude = append(w.prelude, first)
	}
	if opts.BootstrapBookmark {
		w.prelude = append(w.prelude, state.Event{Type: state.Noop, Bookmark: here})
	}
	if opts.Bootstrap {
		for _, r := range c.snapshot() {
			if w.query.Match(r.Metadata()) {
				w.prelude = append(w.prelude, state.Event{Type: state.Created, Resource: r})
			}
		}
		w.prelude = append(w.prelude, state.Event{Type: state.Bootstrapped, Bookmark: here})
	}
	return nil
}

// lost is the error of a watcher whose next event is forgotten. c.mu is held.
func (w *watcher) lost() error {
	r := &w.c.ring
	return failure("watch", w.c.kind.Ref(w.id), state.Unavailable, state.HistoryLost,
		fmt.Sprintf("the watcher is %d events behind and the history holds %d", r.next-w.next, r.next-r.first))
}

func (w *watcher) end(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.done)
	})
}

// Close implements [state.Watcher].
func (w *watcher) Close() {
	w.stop()
	w.end(failure("watch", w.c.kind.Ref(w.id), state.Unavailable, "", "the watch was closed"))
}

// Next implements [state.Watcher].
func (w *watcher) Next(ctx context.Context) ([]state.Event, error) {
	for {
		select {
		case <-w.done:
			return nil, w.fail(w.err)
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, w.fail(err)
		}
		if len(w.prelude) > 0 {
			n := min(len(w.prelude), batch)
			events := w.prelude[:n:n]
			w.prelude = w.prelude[n:]
			return events, nil
		}
		wake, err := w.read()
		if err != nil {
			return nil, w.fail(err)
		}
		if len(w.buf) > 0 {
			return w.buf, nil
		}
		if wake == nil {
			continue // there was something, but all of it is filtered
		}
		select {
		case <-wake:
		case <-ctx.Done():
		case <-w.done:
		}
	}
}

// fail ends the watch with err and forgets what it holds.
func (w *watcher) fail(err error) error {
	w.stop()
	w.end(err)
	w.prelude, w.buf = nil, nil
	<-w.done
	return w.err
}

// read fills buf with what is next. If there is nothing it returns what to wait for.
func (w *watcher) read() (wake <-chan struct{}, err error) {
	clear(w.buf)
	w.buf = w.buf[:0]
	c := w.c
	c.mu.RLock()
	if w.next == c.ring.next {
		c.mu.RUnlock()
		return w.wait(), nil
	}
	defer c.mu.RUnlock()
	if w.next < c.ring.first {
		return nil, w.lost()
	}
	for end := min(c.ring.next, w.next+batch); w.next < end; w.next++ {
		e := &c.ring.buf[w.next%uint64(len(c.ring.buf))]
		if w.all {
			w.buf = append(w.buf, *e)
		} else if e, ok := w.filter(*e); ok {
			w.buf = append(w.buf, e)
		}
	}
	return nil, nil
}

// wait returns what the next event closes, nil if that happened already.
func (w *watcher) wait() <-chan struct{} {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.next != c.ring.next {
		return nil
	}
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	return c.wake
}

// filter returns e as this watcher is to see it, and whether it is to see it at all.
func (w *watcher) filter(e state.Event) (state.Event, bool) {
	md := e.Resource.Metadata()
	if w.id != "" {
		return e, md.ID() == w.id
	}
	now := w.query.Match(md)
	if e.Type != state.Updated {
		return e, now
	}
	before := w.query.Match(e.Old.Metadata())
	switch {
	case now && !before:
		e.Type, e.Old = state.Created, nil
	case before && !now:
		e.Type, e.Resource, e.Old = state.Destroyed, e.Old, nil
	}
	return e, now || before
}
