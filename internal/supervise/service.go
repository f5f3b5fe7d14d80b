package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// DefaultGrace is how long a service may take to stop if its description does not say.
const DefaultGrace = 10 * time.Second

// Service describes one service. The supervisor keeps what it was given: the slices and what they point to must not change
// after [Supervisor.Load].
type Service struct {
	// ID names the service. It is not empty and has no white space.
	ID string
	// Runner runs it. It is used again for each run, never for two at once.
	Runner Runner
	// After are the services that must be up before this one runs, and that are stopped after it. One that is not
	// loaded is waited for: an extension may need a service that a controller loads later.
	After []string
	// Conditions are what else must be there. They are waited for before each run, all at once, together with After.
	Conditions []Condition
	// Prepare is called before each run, after the waiting; nil for nothing. An error made by [Skip] ends the service as
	// Skipped; another one counts as a failed run. It must return soon after its context ends.
	Prepare func(context.Context) error
	// Health asks whether the service works; nil if that cannot be asked.
	Health *Check
	// Restart says what happens when a run ends by itself.
	Restart Restart
	// Backoff is the pause between runs; the zero value is [DefaultBackoff].
	Backoff Backoff
	// Grace is how long the service may take to stop before it is killed; zero is [DefaultGrace].
	Grace time.Duration
	// Allow are the orders that an operator may give through the API. The supervisor only passes it on, in [Status].
	Allow Orders
}

func (s *Service) grace() time.Duration {
	if s.Grace == 0 {
		return DefaultGrace
	}
	return s.Grace
}

// Orders is a set of what an operator may order.
type Orders uint8

// The orders.
const (
	MayStart Orders = 1 << iota
	MayStop
	MayRestart
)

// Restart is what happens when a run ends by itself. A run that was stopped by an order is never begun again for it.
type Restart uint8

const (
	// Always begins again, whatever the end was.
	Always Restart = iota
	// UntilSuccess begins again after an error.
	UntilSuccess
	// Once never begins again.
	Once
)

// String returns the name that extension services use: always, untilSuccess, never.
func (r Restart) String() string {
	switch r {
	case Always:
		return "always"
	case UntilSuccess:
		return "untilSuccess"
	case Once:
		return "never"
	}
	return fmt.Sprintf("Restart(%d)", uint8(r))
}

// Runner runs a service once.
//
// Run calls env.Started as soon as the service is there, and returns when it has ended: nil if it did so well and by
// itself. When ctx ends, Run asks the service to stop and keeps waiting for it; when env.Kill is closed it ends the service
// by force. It returns only when nothing of the service is left that a next run could meet.
type Runner interface {
	Run(ctx context.Context, env Env) error
}

// Env is what a run is given. Log and Started are safe for concurrent use, and of no effect after Run has returned.
type Env struct {
	// Log takes what the service says.
	Log io.Writer
	// Started tells that the service runs, with a line for the status: "Process … started with PID 214".
	Started func(message string)
	// Kill is closed when the time to stop is over. It is never closed before the context has ended.
	Kill <-chan struct{}
}

// Func is a Runner that is a function of this program. It counts as started at once. It cannot be killed: a Func that
// does not return after its context has ended stays Stopping.
type Func func(ctx context.Context, log io.Writer) error

// Run implements [Runner].
func (f Func) Run(ctx context.Context, env Env) error {
	env.Started("Started as a goroutine")
	return f(ctx, env.Log)
}

// Logs keeps what services say. Package logring implements it. It is safe for concurrent use.
type Logs interface {
	// Open returns a writer to the log of service id, for one run. Its Close ends an unfinished line.
	Open(id string) io.WriteCloser
	// Tail returns the last n lines of service id, without their ends.
	Tail(id string, n int) []string
}

type skip struct{ reason string }

func (s *skip) Error() string { return s.reason }

// Skip returns an error with which [Service.Prepare] says that this machine does not need the service.
func Skip(reason string) error { return &skip{reason} }

func skipped(err error) bool {
	var s *skip
	return errors.As(err, &s)
}

// The errors of a Supervisor. Those that are returned wrap one of these and name the service.
var (
	ErrNotFound = errors.New("no such service")
	ErrExists   = errors.New("service is already loaded")
	ErrInvalid  = errors.New("invalid service")
	ErrShutdown = errors.New("services are being shut down")
	ErrBusy     = errors.New("service has not stopped")
	// ErrSlow ends a subscription whose owner did not take its events in time.
	ErrSlow = errors.New("subscriber is too slow, events were lost")
)
