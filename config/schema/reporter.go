package schema

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Reporter collects problems of one document at one place in it. Get one from [NewReporter]; the zero value is of no use.
type Reporter struct {
	report   *Report
	file     string
	document string
	root     *yaml.Node
	path     string
	secret   bool
	partial  bool // required keys may be missing
}

// NewReporter returns a reporter that adds to report. document names the document in messages; root, which may be
// nil, is where lines are looked up.
func NewReporter(report *Report, file, document string, root *yaml.Node) *Reporter {
	return &Reporter{report: report, file: file, document: document, root: root}
}

// At returns a reporter for the place at key below r's own.
func (r *Reporter) At(key string) *Reporter {
	c := *r
	c.path = Join(r.path, key)
	return &c
}

// Item returns a reporter for item i of the list at r's own place.
func (r *Reporter) Item(i int) *Reporter {
	c := *r
	c.path = Index(r.path, i)
	return &c
}

// Path returns the place that r reports for.
func (r *Reporter) Path() string { return r.path }

// Errorf adds an error.
func (r *Reporter) Errorf(format string, args ...any) { r.add(Error, nil, "", format, args) }

// Hintf adds an error with a hint of what to do.
func (r *Reporter) Hintf(hint, format string, args ...any) { r.add(Error, nil, hint, format, args) }

// Warnf adds a warning.
func (r *Reporter) Warnf(hint, format string, args ...any) { r.add(Warning, nil, hint, format, args) }

// Notef adds a note.
func (r *Reporter) Notef(format string, args ...any) { r.add(Note, nil, "", format, args) }

// Mismatch adds the error of a value n that is not what was expected there. The value is shown unless it is secret.
func (r *Reporter) Mismatch(n *yaml.Node, expected, hint string) {
	if r.secret {
		r.add(Error, n, hint, "expected %s", []any{expected})
		return
	}
	r.add(Error, n, hint, "expected %s, got %s", []any{expected, describe(n)})
}

func (r *Reporter) add(s Severity, n *yaml.Node, hint, format string, args []any) {
	if len(*r.report) > maxProblems {
		return // the report is full; looking up places for what is left out would cost a hostile input minutes
	}
	p := Problem{
		Severity: s, File: r.file, Document: r.document, Path: r.path,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	}
	if n != nil && n.Line > 0 {
		p.Line, p.Column = n.Line, n.Column
	} else {
		p.Line, p.Column = Locate(r.root, r.path)
	}
	r.report.Add(p)
}

// describe names what n holds, for a message.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if strings.Contains(n.Value, "PRIVATE KEY-----") {
		return "a private key" // pasted where a certificate belongs; a message must not show any of it
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("%q", shorten(n.Value))
	default:
		return shorten(n.Value)
	}
}

// shorten cuts a value for a message.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
