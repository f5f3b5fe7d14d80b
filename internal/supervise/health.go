package supervise

import (
	"context"
	"fmt"
	"time"
)

// Check asks whether a service works, while it is Running.
//
// One failed probe makes the service unhealthy and one good one makes it healthy again: a check that should forgive does so
// in its Probe. Only such a change is an event, so a check that flaps writes at most one event in a period. Health alone
// never restarts a service.
type Check struct {
	// Probe returns nil if the service works. It should return when its context ends; one that does not is counted as
	// failed, and is not called again before it has returned.
	Probe func(context.Context) error
	// Delay is the time from Running to the first probe, Period the time between the end of one and the next, Timeout the
	// time that one may take. Zero is 1 s, 5 s and 0.5 s, as published. Until the first good probe of a run the pauses are
	// shorter, 200 ms and then twice as long each time up to Period: what waits for the service need not wait for the clock.
	Delay, Period, Timeout time.Duration
}

// firstPause is the pause after the first failed probe of a run.
const firstPause = 200 * time.Millisecond

// Health is what the last probes said. It is unknown while a service does not run, before the first probe, and always for a
// service without a check.
type Health struct {
	Unknown, Healthy bool
	// Message is what the last probe said, and Change the time of the last change between unknown, healthy and unhealthy.
	Message string
	Change  time.Time
}

// observe returns the health after a probe that returned err, and whether that is a change.
func (h Health) observe(err error, now time.Time) (Health, bool) {
	next := Health{Healthy: err == nil, Message: "Health check successful", Change: h.Change}
	if err != nil {
		next.Message = "Health check failed: " + err.Error()
	}
	changed := h.Unknown || h.Healthy != next.Healthy
	if changed {
		next.Change = now
	}
	return next, changed
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// loop probes until ctx ends and gives each result to observe.
func (c *Check) loop(ctx context.Context, observe func(error)) {
	period, timeout := orElse(c.Period, 5*time.Second), orElse(c.Timeout, 500*time.Millisecond)
	timer := time.NewTimer(orElse(c.Delay, time.Second))
	defer timer.Stop()
	pause := min(firstPause, period)
	var pending chan error // of a probe that has not returned
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if pending == nil {
			pending = make(chan error, 1)
			go c.probe(ctx, timeout, pending)
		}
		late := time.NewTimer(timeout)
		var err error
		select {
		case err = <-pending:
			pending = nil
		case <-late.C:
			err = fmt.Errorf("no answer within %v", timeout)
		}
		late.Stop()
		if ctx.Err() != nil {
			return
		}
		observe(err)
		if err == nil {
			pause = period
		}
		timer.Reset(pause)
		pause = min(2*pause, period)
	}
}

func (c *Check) probe(ctx context.Context, timeout time.Duration, result chan<- error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result <- guard(nil, func() error { return c.Probe(ctx) })
}
