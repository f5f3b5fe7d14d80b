package schema

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a problem means for the config that has it.
type Severity int

// The severities, the worst last.
const (
	// Note tells a fact that the user wants to know; the config is valid.
	Note Severity = iota
	// Warning is something that works today and is probably not what was meant, or will go away.
	Warning
	// Error makes the config invalid.
	Error
)

// String returns "note", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	default:
		return "error"
	}
}

// Problem is one thing to say about a config: what, where, what was expected, and what to do.
type Problem struct {
	Severity Severity
	// File is the name under which the input was given; empty if it has none.
	File string
	// Line and Column are 1-based; zero means that the place is not known, as in a config that was built in memory.
	Line, Column int
	// Document names the document, such as "BondConfig bond0"; empty if the problem concerns the whole input.
	Document string
	// Path is the place in the document, such as `machine.network.interfaces[0].mtu`; empty for the document itself.
	Path string
	// Message says what is wrong, without the place. It never holds a secret value.
	Message string
	// Hint says what to do, if there is something to say.
	Hint string
}

// String formats p on one line: place, document and path, message, hint.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		b.WriteByte(':')
	}
	if p.Line > 0 {
		if p.File == "" {
			b.WriteString("line ")
		}
		fmt.Fprintf(&b, "%d:", p.Line)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Severity != Error {
		b.WriteString(p.Severity.String())
		b.WriteString(": ")
	}
	if p.Document != "" {
		b.WriteString(p.Document)
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; ")
		b.WriteString(p.Hint)
	}
	return b.String()
}

// Report is a list of problems. The zero value is an empty report.
type Report []Problem

// maxProblems bounds a report: a file of another kind altogether would otherwise give one line per key.
const maxProblems = 200

// Add appends p, up to a bound of 200 problems; of those beyond it only the fact that there are more is kept.
func (r *Report) Add(p Problem) {
	switch {
	case len(*r) < maxProblems:
		*r = append(*r, p)
	case len(*r) == maxProblems:
		*r = append(*r, Problem{
			Severity: Error,
			File:     p.File,
			Message:  fmt.Sprintf("more than %d problems; the rest is left out", maxProblems),
		})
	}
}

// Sort orders r by file and place, problems without a place last, and keeps the order of equal ones.
func (r Report) Sort() {
	slices.SortStableFunc(r, func(a, b Problem) int {
		switch {
		case a.File != b.File:
			return strings.Compare(a.File, b.File)
		case (a.Line == 0) != (b.Line == 0):
			if a.Line == 0 {
				return 1
			}
			return -1
		case a.Line != b.Line:
			return a.Line - b.Line
		default:
			return a.Column - b.Column
		}
	})
}

// Of returns the problems of r that have severity s, in their order.
func (r Report) Of(s Severity) Report {
	var out Report
	for _, p := range r {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

// Err returns nil if r has no problem of severity Error, else an [*InvalidError] with all that have it.
func (r Report) Err() error {
	bad := r.Of(Error)
	if len(bad) == 0 {
		return nil
	}
	bad.Sort()
	return &InvalidError{Problems: bad}
}

// String formats r with one problem a line, each line ended.
func (r Report) String() string {
	var b strings.Builder
	for _, p := range r {
		b.WriteString(p.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// InvalidError is the error of a config that has problems: at least one, all of severity Error, sorted by place.
type InvalidError struct {
	Problems Report
}

// Error formats the problems: the one, or a count and one line each.
func (e *InvalidError) Error() string {
	if len(e.Problems) == 1 {
		return "invalid config: " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "invalid config: %d problems", len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	return b.String()
}

// AsInvalid returns the problems that err carries, or nil if it is no [*InvalidError].
func AsInvalid(err error) Report {
	if e, ok := errors.AsType[*InvalidError](err); ok {
		return e.Problems
	}
	return nil
}
