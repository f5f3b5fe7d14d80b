package health

import (
	"slices"

	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/vitals"
)

// Report decides what people read of the events of a run: each check that passes, each machine that does not answer, and of
// the checks that wait the first one only, with what it waits for. All wait side by side; to say so for each would be noise.
type Report struct {
	left []string          // names of the checks that have not passed, in their order
	text map[string]string // what each waits for
	said string            // the last line about waiting
}

// NewReport returns a report of all checks.
func NewReport() *Report { return &Report{left: vitals.Names(), text: map[string]string{}} }

// Lines returns the lines to print for an event.
func (r *Report) Lines(e vitals.Event) []string {
	switch {
	case e.Check == "":
		return []string{nodes.Clean(e.Line())}
	case e.State == vitals.Waiting:
		r.text[e.Check] = e.Text
		if !slices.Contains(r.left, e.Check) { // one that comes before them
			return []string{nodes.Clean(e.Line())}
		}
		return r.waiting()
	}
	r.left = slices.DeleteFunc(r.left, func(name string) bool { return name == e.Check })
	return append([]string{nodes.Clean(e.Line())}, r.waiting()...)
}

// waiting returns the line of the first check that waits, if it is news.
func (r *Report) waiting() []string {
	name, text := r.Head()
	if text == "" {
		return nil
	}
	line := nodes.Clean(vitals.Event{Check: name, State: vitals.Waiting, Text: text}.Line())
	if line == r.said {
		return nil
	}
	r.said = line
	return []string{line}
}

// Head returns the first check that has not passed, and what it waits for; "" if there is none, or it has not said.
func (r *Report) Head() (check, text string) {
	if len(r.left) == 0 {
		return "", ""
	}
	return r.left[0], r.text[r.left[0]]
}
