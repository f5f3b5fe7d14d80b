package supervise

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// saidLines is how many lines of a service's log a report keeps.
const saidLines = 5

// Report says how a set of services was stopped.
type Report struct {
	Took time.Duration
	// Late are the services that did not stop in their time, in the order in which that was seen.
	Late []Late
}

// Gone reports whether nothing runs any more.
func (r Report) Gone() bool {
	return !slices.ContainsFunc(r.Late, func(l Late) bool { return !l.Gone })
}

// Late is a service that did not stop in its time.
type Late struct {
	Service string
	// Grace is the time that it was given; it may be shorter than that of its description.
	Grace time.Duration
	// Gone: it ended after it was killed. Otherwise it is still there.
	Gone bool
	// Message is that of its last event, and Said the last lines of its log.
	Message string
	Said    []string
}

// String returns one line for people.
func (l Late) String() string {
	end := "was killed"
	if !l.Gone {
		end = "was killed and is still there"
	}
	text := fmt.Sprintf("service %s did not stop within %v and %s (%s)", l.Service, l.Grace.Round(time.Millisecond), end, l.Message)
	if len(l.Said) > 0 {
		text += fmt.Sprintf("; it last said %q", strings.Join(l.Said, "\n"))
	}
	return text
}

// Stop stops services and, before them, those that come after them, and waits until they are gone. It returns at the latest
// when all have had their grace and five seconds after it, or when ctx ends, with ErrBusy for what is still there: that
// has been killed, and nothing else runs in its place. The time until ctx's deadline is shared out as by
// [Supervisor.Shutdown]. Stopping what does not run is no error. ErrNotFound: nothing was stopped.
func (s *Supervisor) Stop(ctx context.Context, ids ...string) error {
	s.mu.Lock()
	if _, err := s.find("stop", ids); err != nil {
		s.mu.Unlock()
		return err
	}
	set := dependents(s.after(), ids)
	s.mu.Unlock()
	return s.stopSet(ctx, set, untilDeadline(ctx)).err("stop")
}

// StopAll stops all services as [Supervisor.Stop] does.
func (s *Supervisor) StopAll(ctx context.Context) error {
	return s.stopSet(ctx, s.all(), untilDeadline(ctx)).err("stop")
}

// Restart stops a service alone and starts it again. It returns when the old run has ended and a new one is ordered, or
// with ErrBusy when the old one is still there; the new one then follows when it ends. Other errors: ErrNotFound, ErrShutdown.
func (s *Supervisor) Restart(ctx context.Context, id string) error {
	s.mu.Lock()
	units, err := s.find("restart", []string{id})
	if err == nil && s.denied {
		err = fmt.Errorf("restart service %s: %w", id, ErrShutdown)
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	u := units[0]
	stopped := u.m.Activity == resting
	gone := u.stopped
	u.apply(input{kind: orderRestart, grace: u.grace()})
	s.mu.Unlock()
	if stopped {
		return nil
	}
	late := time.NewTimer(u.grace() + maxSettle)
	defer late.Stop()
	select {
	case <-gone:
		return nil
	case <-late.C:
		err = errStopTime
	case <-ctx.Done():
		err = ctx.Err()
	}
	return fmt.Errorf("restart: %w: %v: %w", ErrBusy, s.late(u, u.grace()), err)
}

// Shutdown stops all services for good: no service can be loaded or started any more. It returns within total, which must
// be positive, or when ctx ends: then everything is killed at once.
//
// Each service is stopped when those that come after it are gone, and killed when its grace is over. If the time that is left
// is too short for the graces of the chain of services that it begins, the longest of them are cut to what fits.
func (s *Supervisor) Shutdown(ctx context.Context, total time.Duration) Report {
	s.DenyStarts()
	return s.stopSet(ctx, s.all(), max(total, time.Millisecond))
}

func (s *Supervisor) all() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := map[string]bool{}
	for id := range s.units {
		set[id] = true
	}
	return set
}

// untilDeadline returns the time until the deadline of ctx, at least a nanosecond; 0 if there is none.
func untilDeadline(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), 1)
}

func (r Report) err(op string) error {
	var left []string
	for _, l := range r.Late {
		if !l.Gone {
			left = append(left, l.String())
		}
	}
	if left == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", op, ErrBusy, strings.Join(left, "; "))
}

// stopSet stops the services of set within total; 0 is no limit.
func (s *Supervisor) stopSet(ctx context.Context, set map[string]bool, total time.Duration) Report {
	began := time.Now()
	s.mu.Lock()
	plan := stopPlan{after: s.after(), grace: map[string]time.Duration{}, set: set}
	units := map[string]*unit{}
	gone := map[string]chan struct{}{}
	for id, u := range s.units {
		units[id] = u
		gone[id] = make(chan struct{})
		if u.m.Activity != resting { // what does not run takes no time from the others
			plan.grace[id] = u.grace()
		}
	}
	s.mu.Unlock()
	left := func() time.Duration {
		if total == 0 {
			return 0
		}
		return max(total-time.Since(began), 1)
	}

	var report Report
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, step := range plan.steps() {
		wg.Go(func() {
			defer close(gone[step.ID])
			for _, id := range step.First {
				select {
				case <-gone[id]:
				case <-ctx.Done():
				}
			}
			grace, settle := plan.times(step.ID, left())
			if ctx.Err() != nil {
				grace = 0
			}
			if late, ok := s.stopOne(ctx, units[step.ID], grace, settle); !ok {
				mu.Lock()
				report.Late = append(report.Late, late)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	report.Took = time.Since(began)
	return report
}

// stopOne orders u to stop within grace, and waits for that, and for settle longer when it has to be killed. It returns
// false and what is known if u had to be killed.
func (s *Supervisor) stopOne(ctx context.Context, u *unit, grace, settle time.Duration) (Late, bool) {
	s.mu.Lock()
	if u.m.Activity == resting {
		s.mu.Unlock()
		return Late{}, true
	}
	gone, stops, ordered := u.stopped, u.stops, time.Now()
	u.apply(input{kind: orderStop, grace: grace})
	s.mu.Unlock()
	over := time.NewTimer(grace + settle)
	defer over.Stop()
	select {
	case <-gone:
	case <-over.C:
	case <-ctx.Done():
		s.mu.Lock()
		if u.stops == stops {
			u.apply(input{kind: sawGraceEnd, grace: time.Since(ordered).Round(time.Millisecond)})
		}
		s.mu.Unlock()
	}
	return s.outcome(u, grace, stops)
}

// outcome returns false and what is known of u unless it has stopped in its time.
func (s *Supervisor) outcome(u *unit, grace time.Duration, stops int) (Late, bool) {
	s.mu.Lock()
	still, killed := u.stops == stops, u.m.Killed
	s.mu.Unlock()
	if !still && !killed {
		return Late{}, true
	}
	late := s.late(u, grace)
	late.Gone = !still
	return late, false
}

func (s *Supervisor) late(u *unit, grace time.Duration) Late {
	s.mu.Lock()
	last := u.history[len(u.history)-1]
	s.mu.Unlock()
	return Late{Service: u.ID, Grace: grace, Message: fmt.Sprintf("%v: %s", last.State, last.Message), Said: s.logs.Tail(u.ID, saidLines)}
}
