package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// DefaultLimit is how long a step may take that does not say.
const DefaultLimit = 10 * time.Second

// Step is one step of a plan.
type Step struct {
	Name string // what is done and why, in one line
	Do   Action
	// MayFail, if it is not empty, says what is lost if the step fails; the plan goes on. Otherwise it ends there.
	MayFail string
	// Limit is how long it may take; zero means DefaultLimit. What takes longer counts as failed. It is left behind, since
	// a call that hangs in the kernel cannot be ended.
	Limit time.Duration
}

// String returns the step in one line: its name, and what it does.
func (s Step) String() string {
	text := fmt.Sprintf("%s: %s", s.Name, s.Do)
	if s.Limit != 0 {
		text += fmt.Sprintf(", within %v", s.Limit)
	}
	if s.MayFail != "" {
		text += "; if not: " + s.MayFail
	}
	return text
}

// Action is what a step does: one of the types of this package.
type Action interface {
	// String says what is done to what, without a secret.
	String() string
	// run does it. It says what it found and did beyond its String.
	run(ctx context.Context, h *Host, say func(string)) error
}

// StepError is the error of a step. It wraps that of its action.
type StepError struct {
	Step Step
	Err  error
}

// Error names the step and the cause.
func (e *StepError) Error() string { return fmt.Sprintf("%s: %v", e.Step.Name, e.Err) }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Run carries a plan out, step by step, and logs each. It ends at the first step that fails and may not, with a *[StepError].
// failed are the errors of the steps that may fail; they are logged, too. A panic in a step is an error of that step.
//
// When ctx ends, the step that is under way counts as failed, and so do all others, without being begun.
func Run(ctx context.Context, steps []Step, h *Host, log *slog.Logger) (failed []error, err error) {
	for _, s := range steps {
		begin := time.Now()
		cause := s.run(ctx, h, log)
		took := slog.Duration("took", time.Since(begin).Round(time.Millisecond))
		if cause == nil {
			log.Info(s.Name, took)
			continue
		}
		stepErr := &StepError{s, cause}
		if s.MayFail == "" {
			log.Error(s.Name, "error", cause, took)
			return failed, stepErr
		}
		log.Warn(s.Name, "error", cause, "lost", s.MayFail, took)
		failed = append(failed, stepErr)
	}
	return failed, nil
}

func (s Step) run(ctx context.Context, h *Host, log *slog.Logger) error {
	limit := s.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it is not done after %v", limit))
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		done <- s.Do.run(ctx, h, func(what string) { log.Info(s.Name, "did", what) })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// An action that minds its context says what it was waiting for.
	select {
	case err := <-done:
		return err
	case <-time.After(unwind):
		return errors.Join(context.Cause(ctx), errLeft)
	}
}

// unwind is how long an action may take to return after its context has ended.
const unwind = 200 * time.Millisecond

var errLeft = errors.New("it hangs and is left behind")
