package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// runner is one controller in a scheduler.
type runner struct {
	s       *Scheduler
	c       Controller
	name    string
	outputs []Output
	log     *slog.Logger
	changes chan struct{} // holds at most one wake-up
	backoff backoff
	done    chan struct{} // closed when the controller has stopped for good

	mu       sync.Mutex
	inputs   []Input // replaced, never written in place
	running  bool
	restarts int
}

func (r *runner) wake() {
	select {
	case r.changes <- struct{}{}:
	default: // one is pending already
	}
}

func (r *runner) currentInputs() []Input {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inputs
}

func (r *runner) setInputs(inputs []Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inputs = inputs
}

func (r *runner) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{Name: r.name, Running: r.running, Restarts: r.restarts, Err: r.backoff.lastError()}
}

func (r *runner) setRunning(running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = running
}

// loop runs the controller, again after each failure, until ctx ends or it is done.
func (r *runner) loop(ctx context.Context) {
	defer close(r.done)
	for {
		r.wake()
		began := time.Now()
		r.setRunning(true)
		err := r.once(ctx)
		r.setRunning(false)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.log.Debug("controller finished")
			return
		}
		// A controller that knows nothing of back-offs, but worked for long, is no repeated failure.
		if time.Since(began) >= r.backoff.max {
			r.backoff.reset()
		}
		pause := r.backoff.next(err)
		attrs := []any{"error", err, "restart_in", pause}
		var p *PanicError
		if errors.As(err, &p) {
			attrs = append(attrs, "stack", string(p.Stack))
		}
		r.log.Error("controller failed", attrs...)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		r.mu.Lock()
		r.restarts++
		r.mu.Unlock()
	}
}

// PanicError is the failure of a controller that panicked.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// once is one call of the controller's Run.
func (r *runner) once(ctx context.Context) (err error) {
	// The context ends with the run, so that what a controller left behind stops.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return r.c.Run(ctx, &runtime{r: r}, r.log)
}

// backoff counts failures and says how long to pause after each.
type backoff struct {
	min, max time.Duration

	mu   sync.Mutex
	wait time.Duration // before jitter; zero after success
	err  error
}

func (b *backoff) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wait, b.err = 0, nil
}

func (b *backoff) lastError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// next returns the pause after failure err.
func (b *backoff) next(err error) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	b.wait = min(max(2*b.wait, b.min), b.max)
	return b.wait*3/4 + rand.N(b.wait/2+1)
}
