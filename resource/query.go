package resource

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// LabelOp is how a [LabelTerm] compares. The numbers are those of cosi.resource.LabelTerm.Operation.
type LabelOp uint8

const (
	LabelExists       LabelOp = iota // the key is there; no values
	LabelEqual                       // its value is the one given
	LabelNotExists                   // the key is not there; no values
	LabelIn                          // its value is one of those given
	LabelLess                        // its value sorts before the one given
	LabelLessEqual                   // its value sorts before the one given, or is it
	LabelLessNum                     // both are numbers and its value is less
	LabelLessEqualNum                // both are numbers and its value is less or the same
)

var labelOps = [...]struct {
	name     string
	min, max int // number of values
}{
	LabelExists:       {"exists", 0, 0},
	LabelEqual:        {"=", 1, 1},
	LabelNotExists:    {"not exists", 0, 0},
	LabelIn:           {"in", 0, 1 << 16},
	LabelLess:         {"<", 1, 1},
	LabelLessEqual:    {"<=", 1, 1},
	LabelLessNum:      {"< (numeric)", 1, 1},
	LabelLessEqualNum: {"<= (numeric)", 1, 1},
}

// String returns the operator as it is written between a key and a value.
func (o LabelOp) String() string {
	if int(o) < len(labelOps) {
		return labelOps[o].name
	}
	return "LabelOp(" + strconv.Itoa(int(o)) + ")"
}

// LabelTerm is one condition on one label. A label that is not there fulfils no operation but
// [LabelNotExists]; Invert turns the answer round after that.
type LabelTerm struct {
	Key    string
	Op     LabelOp
	Values []string
	Invert bool
}

// Match reports whether l fulfils the term. A term that is not valid is fulfilled by nothing.
func (t LabelTerm) Match(l Labels) bool {
	if t.Validate() != nil {
		return false
	}
	return t.compare(l) != t.Invert
}

func (t LabelTerm) compare(l Labels) bool {
	value, ok := l.Get(t.Key)
	if !ok {
		return t.Op == LabelNotExists
	}
	switch t.Op {
	case LabelExists:
		return true
	case LabelEqual, LabelIn:
		return slices.Contains(t.Values, value)
	case LabelLess:
		return value < t.Values[0]
	case LabelLessEqual:
		return value <= t.Values[0]
	case LabelLessNum:
		c, ok := compareNumbers(value, t.Values[0])
		return ok && c < 0
	case LabelLessEqualNum:
		c, ok := compareNumbers(value, t.Values[0])
		return ok && c <= 0
	}
	return false
}

// compareNumbers compares integers exactly and everything else as floating point.
func compareNumbers(a, b string) (int, bool) {
	ai, aerr := strconv.ParseInt(a, 10, 64)
	bi, berr := strconv.ParseInt(b, 10, 64)
	if aerr == nil && berr == nil {
		return cmp.Compare(ai, bi), true
	}
	af, aerr := strconv.ParseFloat(a, 64)
	bf, berr := strconv.ParseFloat(b, 64)
	if aerr != nil || berr != nil || af != af || bf != bf {
		return 0, false
	}
	return cmp.Compare(af, bf), true
}

// Validate returns an error for an empty key, an unknown operation or the wrong number of values.
func (t LabelTerm) Validate() error {
	if t.Key == "" {
		return fmt.Errorf("label term %v: key is empty", t.Op)
	}
	if int(t.Op) >= len(labelOps) {
		return fmt.Errorf("label term on %s: operation %v is unknown", t.Key, t.Op)
	}
	if op := labelOps[t.Op]; len(t.Values) < op.min || len(t.Values) > op.max {
		return fmt.Errorf("label term %s %v: %d values", t.Key, t.Op, len(t.Values))
	}
	return nil
}

// String returns the term as a person would write it.
func (t LabelTerm) String() string {
	s := strings.TrimSpace(t.Key + " " + t.Op.String() + " " + strings.Join(t.Values, ","))
	if t.Invert {
		return "not (" + s + ")"
	}
	return s
}

// LabelQuery is fulfilled by labels which fulfil all of its terms.
type LabelQuery []LabelTerm

// Match reports whether l fulfils every term. The empty query is fulfilled by all labels.
func (q LabelQuery) Match(l Labels) bool {
	for _, t := range q {
		if !t.Match(l) {
			return false
		}
	}
	return true
}

// Query selects resources of one kind. The zero Query selects all of them.
type Query struct {
	// Labels are alternatives: a resource is selected if it fulfils one of them. None selects all.
	Labels []LabelQuery
	// ID selects by id, wherever in the id the expression matches; nil selects all.
	ID *regexp.Regexp
}

// Match reports whether the query selects a resource with metadata m.
func (q Query) Match(m Metadata) bool {
	if q.ID != nil && !q.ID.MatchString(m.ID()) {
		return false
	}
	if len(q.Labels) == 0 {
		return true
	}
	return slices.ContainsFunc(q.Labels, func(l LabelQuery) bool { return l.Match(m.Labels()) })
}

// IsZero reports whether the query selects everything.
func (q Query) IsZero() bool { return q.ID == nil && len(q.Labels) == 0 }

// Validate returns the error of the first term that is not valid.
func (q Query) Validate() error {
	for _, l := range q.Labels {
		for _, t := range l {
			if err := t.Validate(); err != nil {
				return err
			}
		}
	}
	return nil
}
