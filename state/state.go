// Package state is how everything on a node meets: one store of resources which is read, written and
// watched, by controllers in the process and by clients through the API alike.
//
// [State] is the small interface that a store implements; package statetest is its specification and
// runs against every implementation: memstate keeps resources in memory, stategrpc is both ends of
// the API. On top of it are the functions that most callers want: [Get], [List], [Modify] and the
// like are typed, [WaitFor] waits, [Guard] puts a policy before a store.
//
// Vocabulary. Every write makes a new version of a resource; a writer names the version it read, and
// a write over one that it did not see is a conflict. The owner, set at creation, is the only one who
// may write. A resource goes in two steps: [State.Teardown] announces it, everyone with a finalizer on
// it lets go, [State.Destroy] removes it. A [Watcher] is told of each change in order; a [Bookmark]
// says where it was, to resume there.
//
// Errors are [Error] values of few kinds, the same on both sides of the wire; test them with
// errors.Is(err, state.NotFound) and errors.Is(err, state.VersionConflict). When the caller's context
// ends, the error is that of the context.
//
// Package resource is below this one; controllers and servers are above.
package state

import (
	"context"

	"talos.internal/resource"
)

// Reader is the reading half of [State].
type Reader interface {
	// Get returns the resource, or a NotFound error.
	Get(ctx context.Context, ref resource.Ref) (resource.Resource, error)
	// List returns the resources of a kind that q selects, in the order of their ids. A kind of
	// which there is nothing is empty, not an error. A query that is not valid is an Invalid error.
	List(ctx context.Context, kind resource.Kind, q resource.Query) ([]resource.Resource, error)
}

// Writer is the writing half of [State]. After any error nothing has changed.
type Writer interface {
	// Create adds a resource, in the running phase, and returns it as it is kept: with version 1,
	// the owner of opts and the time. What the metadata of r says of these is ignored.
	// Errors are Exists, and Invalid for bad metadata, a spec that does not fit the others of its
	// kind, or a phase other than running.
	Create(ctx context.Context, r resource.Resource, opts CreateOptions) (resource.Resource, error)
	// Update replaces a resource by r, whose metadata names the version that it is based on, and
	// returns it as it is kept, with the next version. Owner and time of creation do not change.
	// The phase may go from running to tearingDown but not back, and once it is tearingDown
	// finalizers can go but not come.
	// Errors are NotFound, Invalid as for Create, and Conflict with, in the order in which they are
	// checked, the reason OwnerConflict, VersionConflict (the resource was written since, or was
	// destroyed and created anew) or PhaseConflict.
	Update(ctx context.Context, r resource.Resource, opts UpdateOptions) (resource.Resource, error)
	// Teardown puts the resource in the phase tearingDown, unless it is there already, and reports
	// whether it is ready to be destroyed. Errors are NotFound and Conflict with OwnerConflict.
	Teardown(ctx context.Context, ref resource.Ref, opts TeardownOptions) (ready bool, err error)
	// Destroy removes a resource that has no finalizers, whatever its phase.
	// Errors are NotFound and Conflict with OwnerConflict or FinalizersConflict.
	Destroy(ctx context.Context, ref resource.Ref, opts DestroyOptions) error
}

// ReadWriter reads and writes.
type ReadWriter interface {
	Reader
	Writer
}

// State is a store of resources. It is safe for concurrent use. Each resource, and the sequence of
// events of each kind, is consistent; nothing is promised about the order between kinds.
type State interface {
	ReadWriter
	// Watch follows one resource, which need not exist. Unless opts say where to begin, the first
	// event tells what is there now: Created with the resource, or Destroyed with a tombstone.
	// In opts only Tail and From may be set.
	Watch(ctx context.Context, ref resource.Ref, opts WatchOptions) (Watcher, error)
	// WatchKind follows the resources of a kind that opts.Query selects. Unless opts say
	// otherwise it tells only of what happens after it returned.
	//
	// Errors of both are Invalid for options that contradict each other, a bad query or a bookmark
	// that no store made, and Unavailable with HistoryLost for a bookmark from which the watch
	// cannot be resumed; then watch anew from the present contents. ctx bounds the life of the
	// watch, not only the call.
	WatchKind(ctx context.Context, kind resource.Kind, opts WatchOptions) (Watcher, error)
}

// CreateOptions say how to create. The zero value creates a resource without an owner.
type CreateOptions struct {
	Owner string
}

// UpdateOptions say how to update. Owner has to be that of the resource.
type UpdateOptions struct {
	Owner string
	// Expect is the phase that the resource has to be in; the zero value is the running phase.
	Expect ExpectedPhase
}

// TeardownOptions say how to tear down. Owner has to be that of the resource.
type TeardownOptions struct {
	Owner string
}

// DestroyOptions say how to destroy. Owner has to be that of the resource.
type DestroyOptions struct {
	Owner string
}

// ExpectedPhase is what an update demands of the phase before it.
type ExpectedPhase uint8

const (
	ExpectRunning ExpectedPhase = iota
	ExpectTearingDown
	ExpectAny
)

// Allows reports whether a resource in phase p may be updated.
func (e ExpectedPhase) Allows(p resource.Phase) bool {
	return e == ExpectAny || e == ExpectRunning && p == resource.Running || e == ExpectTearingDown && p == resource.TearingDown
}

// Bookmark is a place in the history of one kind in one store. It is opaque, and useful only to the
// store that made it for as long as that runs. The empty one is no place.
type Bookmark string

// WatchOptions say where a watch begins and what it sees. At most one of Bootstrap, Tail and From may be set.
type WatchOptions struct {
	// Bootstrap begins with what is there: a Created event for each resource, in the order of ids,
	// and a Bootstrapped event, whose Resource is nil, after them.
	Bootstrap bool
	// BootstrapBookmark begins with a Noop event that has only a bookmark: where the watch begins.
	BootstrapBookmark bool
	// Tail begins with the last so many events, or with as many as are still known.
	Tail int
	// From begins after the event that has this bookmark.
	From Bookmark
	// Query selects resources. One which begins to be selected is reported as Created, one which
	// ceases to be as Destroyed, with the last contents that were selected.
	Query resource.Query
}

// EventType says what happened. The numbers are those of cosi.resource.EventType, whose ERRORED is
// the error of [Watcher.Next] here.
type EventType uint8

const (
	Created EventType = iota
	Updated
	Destroyed
	Bootstrapped
	_
	Noop
)

// String returns the name in lower case.
func (t EventType) String() string {
	switch t {
	case Created:
		return "created"
	case Updated:
		return "updated"
	case Destroyed:
		return "destroyed"
	case Bootstrapped:
		return "bootstrapped"
	case Noop:
		return "noop"
	}
	return "unknown"
}

// Event is one change. Events are shared between watchers; what they point to is immutable.
type Event struct {
	Type EventType
	// Resource is what is there after the change, and what was there before Destroyed. It is nil
	// for Bootstrapped and Noop.
	Resource resource.Resource
	// Old is what was there before Updated, nil otherwise.
	Old resource.Resource
	// Bookmark is the place after the event; it is empty for the events before Bootstrapped.
	Bookmark Bookmark
}

// Watcher reads the events of one watch, at its own pace. A writer never waits for it: one that falls
// so far behind that its next event is no longer in the history is cut off.
//
// One goroutine at a time may call Next; Close may be called by any, at any time, and more than once.
type Watcher interface {
	// Next waits until there is something to tell and returns it, at least one event, and more if
	// more has happened since. The slice is valid until the next call.
	//
	// Any error ends the watch, and is what later calls return: that of ctx or of the context that
	// the watch was made with, Unavailable with HistoryLost for a watcher that was cut off (it may
	// resume from its last bookmark while that is in the history, otherwise it has to begin with
	// the contents), Unavailable after Close or when the store cannot be reached.
	Next(ctx context.Context) ([]Event, error)
	// Close ends the watch and releases what it holds.
	Close()
}
