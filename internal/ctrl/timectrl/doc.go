// Package timectrl keeps the machine's clock right, and says whether it can be believed.
//
// Where nobody may set the clock, as in a container, or where the machine config turns it off, the time counts as right. Elsewhere
// time servers are asked (SNTP, RFC 5905 section 14), and a [Clock] is told how far it is off.
//
// The filter against wrong answers, NTS and PTP are not here. The composition of the node imports this package.
package timectrl

import (
	"context"
	"time"

	"talos.internal/controller"
)

// Clock is the clock of the machine.
type Clock interface {
	// Step sets the clock forward by offset at once; a negative one sets it back.
	Step(offset time.Duration) error
	// Slew does the same bit by bit, so that no moment is left out or comes twice. A later call replaces what is left of it.
	Slew(offset time.Duration) error
}

// Query asks a time server how far the clock is behind its time. It returns soon after ctx ends.
type Query func(ctx context.Context, server string) (offset time.Duration, err error)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	// Clock is nil where nobody may set it.
	Clock Clock
	// Query is nil for [SNTP].
	Query Query
}

// Controllers returns the controllers of the clock.
func Controllers(deps Deps) []controller.Controller {
	query := deps.Query
	if query == nil {
		query = SNTP
	}
	return []controller.Controller{&SyncController{Clock: deps.Clock, Query: query}}
}
