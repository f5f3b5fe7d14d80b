package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"talos.internal/resource"
	"talos.internal/state"
)

// retryWatch is how long to wait before a watch that could not be made is tried again.
const retryWatch = time.Second

// kindWatch follows one kind for all controllers that have it as an input.
type kindWatch struct {
	s    *Scheduler
	kind resource.Kind
	stop context.CancelFunc

	mu      sync.Mutex
	runners map[*runner]bool
}

// subscribe makes changes of kind wake r. s.mu is held.
func (s *Scheduler) subscribe(ctx context.Context, r *runner, kind resource.Kind) {
	if k := s.watches[kind]; k != nil {
		k.mu.Lock()
		k.runners[r] = true
		k.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	k := &kindWatch{s: s, kind: kind, stop: cancel, runners: map[*runner]bool{r: true}}
	s.watches[kind] = k
	// Here, not in the goroutine: every change after this call is seen.
	w, err := s.st.WatchKind(ctx, kind, state.WatchOptions{})
	s.wg.Go(func() { k.follow(ctx, w, err) })
}

// unsubscribe ends that. s.mu is held.
func (s *Scheduler) unsubscribe(r *runner, kind resource.Kind) {
	k := s.watches[kind]
	if k == nil {
		return
	}
	k.mu.Lock()
	delete(k.runners, r)
	unused := len(k.runners) == 0
	k.mu.Unlock()
	if unused {
		k.stop()
		delete(s.watches, kind)
	}
}

// follow reads w, which was opened with err, and opens it again when it breaks.
func (k *kindWatch) follow(ctx context.Context, w state.Watcher, err error) {
	defer k.stop()
	for {
		if err == nil {
			err = k.read(ctx, w)
		}
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, state.HistoryLost) {
			k.s.log.Warn("watch of controllers' inputs broke", "kind", k.kind.String(), "error", err)
			timer := time.NewTimer(retryWatch)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
		if w, err = k.s.st.WatchKind(ctx, k.kind, state.WatchOptions{}); err == nil {
			// What happened between the two watches is unknown: everyone looks.
			k.wake(func(*runner) bool { return true })
		}
	}
}

// read wakes controllers for the events of w until it breaks.
func (k *kindWatch) read(ctx context.Context, w state.Watcher) error {
	defer w.Close()
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		k.wake(func(r *runner) bool {
			for _, in := range r.currentInputs() {
				if in.Kind != k.kind {
					continue
				}
				for _, e := range events {
					if in.wokenBy(e, r.name) {
						return true
					}
				}
			}
			return false
		})
	}
}

func (k *kindWatch) wake(which func(*runner) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for r := range k.runners {
		if which(r) {
			r.wake()
		}
	}
}
