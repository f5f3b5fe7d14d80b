package manifestctrl

import (
	"fmt"
	"time"

	"talos.internal/internal/manifest"
)

// The wait before an object that was refused is tried again.
const (
	leastWait = time.Second
	mostWait  = time.Minute
)

// progress is how far an object is.
type progress struct {
	done    bool
	refused int // times
	err     error
	due     time.Time // to be tried again
}

// refuse notes that the server refused the object.
func (p *progress) refuse(err error, now time.Time) {
	wait := mostWait
	if p.refused < 6 {
		wait = min(leastWait<<p.refused, mostWait)
	}
	p.refused++
	p.err, p.due = err, now.Add(wait)
}

// ledger is how far all objects are.
type ledger struct {
	targets  []manifest.Target
	progress map[string]*progress
}

func newLedger(targets []manifest.Target) *ledger {
	l := &ledger{targets: targets, progress: make(map[string]*progress, len(targets))}
	for _, t := range targets {
		l.progress[t.Key()] = &progress{}
	}
	return l
}

// due returns the objects that are to be tried now.
func (l *ledger) due(now time.Time) []manifest.Target {
	var out []manifest.Target
	for _, t := range l.targets {
		if p := l.progress[t.Key()]; !p.done && !p.due.After(now) {
			out = append(out, t)
		}
	}
	return out
}

// next returns when something is to be tried; zero if all is done.
func (l *ledger) next() time.Time {
	var next time.Time
	for _, p := range l.progress {
		if !p.done && (next.IsZero() || p.due.Before(next)) {
			next = p.due
		}
	}
	return next
}

// applied returns the ids of manifests of which all objects are done.
func (l *ledger) applied(ids []string) []string {
	open := map[string]bool{}
	for _, t := range l.targets {
		if !l.progress[t.Key()].done {
			open[t.Manifest] = true
		}
	}
	var out []string
	for _, id := range ids {
		if !open[id] {
			out = append(out, id)
		}
	}
	return out
}

// failed returns what the server said of the objects that it refused.
func (l *ledger) failed() []error {
	var out []error
	for _, t := range l.targets {
		if p := l.progress[t.Key()]; !p.done && p.err != nil {
			out = append(out, fmt.Errorf("manifest %s: %w", t.Manifest, p.err))
		}
	}
	return out
}

// inventory returns the entries of the objects that are done.
func (l *ledger) inventory() []string {
	var out []string
	for _, t := range l.targets {
		if l.progress[t.Key()].done {
			out = append(out, manifest.Entry(t.Object))
		}
	}
	return out
}
