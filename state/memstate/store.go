// Package memstate is a store of resources in memory.
//
// Each kind is a collection of its own, with its own lock. Resources are immutable, so the store, its
// history and all readers share them: nothing is copied but metadata, once per write.
//
// A collection keeps the last events in a ring. Watchers hold a position in the ring, no queue and no
// goroutine: a write appends one event, whatever the number of watchers, and wakes those that wait.
// Each reads on from its position at its own pace. One that is overtaken by the ring is cut off with
// state.HistoryLost. So a slow watcher costs a writer nothing, and an abandoned
// one is garbage as soon as its context is.
//
// Nothing survives the process. It is for machined's composition, and for tests of all that needs a state.
package memstate

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"talos.internal/resource"
	"talos.internal/state"
)

// DefaultHistory is the number of events that are kept for each kind.
const DefaultHistory = 4096

// Options are for [New].
type Options struct {
	// History is the number of events to keep for each kind; zero means [DefaultHistory]. A ring
	// takes memory as it fills, and keeps the resources of its events alive.
	History int
}

// Store implements [state.State]. It is safe for concurrent use.
type Store struct {
	history     int
	incarnation uint64 // random, so that bookmarks of another store are recognised

	mu    sync.RWMutex
	kinds map[resource.Kind]*collection // grows only by creations and watches
}

var _ state.State = (*Store)(nil)

// New returns an empty store.
func New(opts Options) *Store {
	if opts.History <= 0 {
		opts.History = DefaultHistory
	}
	var random [8]byte
	rand.Read(random[:]) // never fails, see crypto/rand
	return &Store{
		history:     opts.History,
		incarnation: binary.BigEndian.Uint64(random[:]),
		kinds:       make(map[resource.Kind]*collection),
	}
}

// collection holds the resources of one kind.
type collection struct {
	kind  resource.Kind
	stamp uint64 // of bookmarks: the incarnation of the store mixed with the kind

	mu     sync.RWMutex
	typ    *resource.Type // of all items; nil for undecoded ones
	items  map[string]resource.Resource
	sorted []string // ids; nil after a change of membership. Never written in place.
	ring   ring
	wake   chan struct{} // closed by the next event; nil while nobody waits
	last   time.Time     // of the last write, so that times strictly increase
}

// lookup returns the collection of kind, nil if there is none yet.
func (s *Store) lookup(kind resource.Kind) *collection {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kinds[kind]
}

func (s *Store) collection(kind resource.Kind) *collection {
	if c := s.lookup(kind); c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.kinds[kind]
	if c == nil {
		c = &collection{kind: kind, stamp: stamp(s.incarnation, kind), items: make(map[string]resource.Resource), ring: ring{limit: uint64(s.history)}}
		s.kinds[kind] = c
	}
	return c
}

func failure(op string, ref resource.Ref, kind state.ErrorKind, reason state.Reason, detail string) error {
	return &state.Error{Kind: kind, Reason: reason, Op: op, Ref: ref, Detail: detail}
}

// Get implements [state.State].
func (s *Store) Get(ctx context.Context, ref resource.Ref) (resource.Resource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c := s.lookup(ref.Kind()); c != nil {
		c.mu.RLock()
		r := c.items[ref.ID]
		c.mu.RUnlock()
		if r != nil {
			return r, nil
		}
	}
	return nil, failure("get", ref, state.NotFound, "", "")
}

// List implements [state.State].
func (s *Store) List(ctx context.Context, kind resource.Kind, q resource.Query) ([]resource.Resource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := q.Validate(); err != nil {
		return nil, failure("list", kind.Ref(""), state.Invalid, "", err.Error())
	}
	c := s.lookup(kind)
	if c == nil {
		return nil, nil
	}
	all := c.list()
	if q.IsZero() {
		return all, nil
	}
	return slices.DeleteFunc(all, func(r resource.Resource) bool { return !q.Match(r.Metadata()) }), nil
}

// list returns all resources in the order of their ids, in a slice of the caller's.
func (c *collection) list() []resource.Resource {
	c.mu.RLock()
	if c.sorted == nil && len(c.items) > 0 {
		c.mu.RUnlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.snapshot()
	}
	defer c.mu.RUnlock()
	return c.inOrder()
}

// snapshot is [collection.list] with c.mu held for writing.
func (c *collection) snapshot() []resource.Resource {
	if c.sorted == nil {
		c.sorted = slices.Sorted(maps.Keys(c.items))
	}
	return c.inOrder()
}

func (c *collection) inOrder() []resource.Resource {
	all := make([]resource.Resource, len(c.sorted))
	for i, id := range c.sorted {
		all[i] = c.items[id]
	}
	return all
}

// Create implements [state.State].
func (s *Store) Create(ctx context.Context, r resource.Resource, opts state.CreateOptions) (resource.Resource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	md := r.Metadata()
	md.SetOwner(opts.Owner)
	if err := check("create", r, md); err != nil {
		return nil, err
	}
	if md.Phase() != resource.Running {
		return nil, failure("create", md.Ref(), state.Invalid, "", "the phase is "+md.Phase().String())
	}
	c := s.collection(md.Kind())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[md.ID()] != nil {
		return nil, failure("create", md.Ref(), state.Exists, "", "")
	}
	if err := c.checkType("create", r, md); err != nil {
		return nil, err
	}
	now := c.now()
	md.SetVersion(1)
	md.SetTimes(now, now)
	kept := r.WithMetadata(md)
	c.typ = r.Type()
	c.items[md.ID()] = kept
	c.append(state.Event{Type: state.Created, Resource: kept})
	return kept, nil
}

// Update implements [state.State].
func (s *Store) Update(ctx context.Context, r resource.Resource, opts state.UpdateOptions) (resource.Resource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	md := r.Metadata()
	if err := check("update", r, md); err != nil {
		return nil, err
	}
	ref := md.Ref()
	c := s.lookup(md.Kind())
	if c == nil {
		return nil, failure("update", ref, state.NotFound, "", "")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.items[md.ID()]
	if old == nil {
		return nil, failure("update", ref, state.NotFound, "", "")
	}
	was := old.Metadata()
	if err := c.checkType("update", r, md); err != nil {
		return nil, err
	}
	if err := checkOwner("update", was, opts.Owner); err != nil {
		return nil, err
	}
	if was.Version() != md.Version() {
		return nil, failure("update", ref, state.Conflict, state.VersionConflict,
			fmt.Sprintf("it is at version %v, not %v", was.Version(), md.Version()))
	}
	if !md.Created().IsZero() && !md.Created().Equal(was.Created()) {
		return nil, failure("update", ref, state.Conflict, state.VersionConflict, "it was destroyed and created anew")
	}
	if err := checkPhase(was, md, opts.Expect); err != nil {
		return nil, err
	}
	return c.replace(old, r, md), nil
}

// replace keeps r with metadata md as the next version of old. c.mu is held.
func (c *collection) replace(old, r resource.Resource, md resource.Metadata) resource.Resource {
	was := old.Metadata()
	md.SetVersion(was.Version() + 1)
	md.SetOwner(was.Owner())
	md.SetTimes(was.Created(), c.now())
	kept := r.WithMetadata(md)
	c.items[md.ID()] = kept
	c.append(state.Event{Type: state.Updated, Resource: kept, Old: old})
	return kept
}

// Teardown implements [state.State].
func (s *Store) Teardown(ctx context.Context, ref resource.Ref, opts state.TeardownOptions) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	c, old, err := s.locked("teardown", ref, opts.Owner)
	if err != nil {
		return false, err
	}
	defer c.mu.Unlock()
	md := old.Metadata()
	if md.Phase() == resource.Running {
		md.SetPhase(resource.TearingDown)
		c.replace(old, old, md)
	}
	return !md.HasFinalizers(), nil
}

// Destroy implements [state.State].
func (s *Store) Destroy(ctx context.Context, ref resource.Ref, opts state.DestroyOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, old, err := s.locked("destroy", ref, opts.Owner)
	if err != nil {
		return err
	}
	defer c.mu.Unlock()
	if md := old.Metadata(); md.HasFinalizers() {
		return failure("destroy", ref, state.Conflict, state.FinalizersConflict, fmt.Sprintf("it is still needed by %q", md.Finalizers()))
	}
	delete(c.items, ref.ID)
	c.append(state.Event{Type: state.Destroyed, Resource: old})
	return nil
}

// locked returns the resource and its collection, locked for writing, if owner may change it.
func (s *Store) locked(op string, ref resource.Ref, owner string) (*collection, resource.Resource, error) {
	c := s.lookup(ref.Kind())
	if c == nil {
		return nil, nil, failure(op, ref, state.NotFound, "", "")
	}
	c.mu.Lock()
	r := c.items[ref.ID]
	if r == nil {
		c.mu.Unlock()
		return nil, nil, failure(op, ref, state.NotFound, "", "")
	}
	if err := checkOwner(op, r.Metadata(), owner); err != nil {
		c.mu.Unlock()
		return nil, nil, err
	}
	return c, r, nil
}

// append adds e to the history and wakes whoever waits. c.mu is held.
func (c *collection) append(e state.Event) {
	if e.Type != state.Updated {
		c.sorted = nil
	}
	e.Bookmark = bookmark(c.stamp, c.ring.next+1)
	c.ring.add(e)
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// now returns the time, later than that of any write before, so that a resource that was destroyed
// and created anew never has the time of creation of the first.
func (c *collection) now() time.Time {
	t := time.Now().Round(0).UTC()
	if !t.After(c.last) {
		t = c.last.Add(1)
	}
	c.last = t
	return t
}

func check(op string, r resource.Resource, md resource.Metadata) error {
	err := md.Validate()
	if t := r.Type(); err == nil && t != nil {
		err = t.Err()
	}
	if err != nil {
		return failure(op, md.Ref(), state.Invalid, "", err.Error())
	}
	return nil
}

// checkType keeps the specs of one kind of one type. c.mu is held.
func (c *collection) checkType(op string, r resource.Resource, md resource.Metadata) error {
	if len(c.items) == 0 || c.typ == r.Type() {
		return nil
	}
	return failure(op, md.Ref(), state.Invalid, "", fmt.Sprintf("its spec is %s, that of the others of its kind is %s", typeName(r.Type()), typeName(c.typ)))
}

func typeName(t *resource.Type) string {
	if t == nil {
		return "undecoded"
	}
	return "decoded as " + t.Name()
}

func checkOwner(op string, md resource.Metadata, owner string) error {
	if md.Owner() == owner {
		return nil
	}
	return failure(op, md.Ref(), state.Conflict, state.OwnerConflict, fmt.Sprintf("it belongs to %q, not to %q", md.Owner(), owner))
}

func checkPhase(was, md resource.Metadata, expect state.ExpectedPhase) error {
	conflict := func(detail string) error {
		return failure("update", md.Ref(), state.Conflict, state.PhaseConflict, detail)
	}
	if !expect.Allows(was.Phase()) {
		return conflict("its phase is " + was.Phase().String())
	}
	if was.Phase() == resource.TearingDown {
		if md.Phase() == resource.Running {
			return conflict("it is being torn down and cannot run again")
		}
		for _, f := range md.Finalizers() {
			if !was.HasFinalizer(f) {
				return conflict(fmt.Sprintf("it is being torn down and %q comes too late to need it", f))
			}
		}
	}
	return nil
}
