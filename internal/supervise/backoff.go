package supervise

import "time"

// Backoff is the pause before a run that follows a failed one: First, doubled after each failure in a row, at most Max. A
// run of at least Stable is no part of a row.
//
// A zero field has the value of [DefaultBackoff].
type Backoff struct {
	First, Max, Stable time.Duration
}

// DefaultBackoff pauses 100 ms, 200 ms, … 3.2 s, 5 s.
//
// A service that is killed is back within a second, and a test that kills it five times in quick succession still sees it
// back within two. The cap is the contract's pause between failed runs. A run counts as stable after twice the cap:
// from there on a loop costs one start in ten seconds even without a pause.
var DefaultBackoff = Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second, Stable: 10 * time.Second}

func (b Backoff) orDefault() Backoff {
	if b.First == 0 {
		b.First = DefaultBackoff.First
	}
	if b.Max == 0 {
		b.Max = DefaultBackoff.Max
	}
	if b.Stable == 0 {
		b.Stable = DefaultBackoff.Stable
	}
	return b
}

// pause returns how long to wait after the given number of failures in a row, which is at least 1.
func (b Backoff) pause(failures int) time.Duration {
	d := b.First
	for i := 1; i < failures && d < b.Max; i++ {
		d *= 2
	}
	return min(d, b.Max)
}
