package supervise

import (
	"context"
	"sync"
	"time"
)

// historyLen is how many events are kept of each service. A check that flaps takes two places in each change there and
// back; with the default period that is still four minutes.
const historyLen = 64

// Event is one change of a service's state or health, or of what it waits for.
type Event struct {
	// Seq counts the events of one Supervisor, from 1.
	Seq     uint64
	Service string
	State   State
	Message string
	// Health is what it was after the change.
	Health Health
	Time   time.Time
}

// Status is what is known of a service.
type Status struct {
	ID    string
	State State
	// Message is that of the last event, and Since its time.
	Message string
	Since   time.Time
	Health  Health
	// Up is what services that come after this one wait for.
	Up bool
	// Failures are the failed runs in a row; Runs are all that were begun.
	Failures, Runs int
	Allow          Orders
	// Events are the last ones, oldest first.
	Events []Event
}

// Subscription receives the events of a supervisor. Its methods are safe for concurrent use.
type Subscription struct {
	events chan Event // closed when it is cut off or closed
	drop   func()

	mu  sync.Mutex
	err error // why events is closed
}

// Next returns the next event. Its errors are that of ctx, [ErrSlow] when events were lost because nobody called Next (then
// subscribe again and begin with the statuses), or context.Canceled after Close.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	select {
	case e, ok := <-s.events:
		if ok {
			return e, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return Event{}, s.err
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
}

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() { s.drop() }

// end is called with the supervisor's lock held, once.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	close(s.events)
}

// offer gives e to s unless that would block, and reports whether it did.
func (s *Subscription) offer(e Event) bool {
	select {
	case s.events <- e:
		return true
	default:
		return false
	}
}
