package extension

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Version is a version by Semantic Versioning 2.0.0. What is not given is zero.
type Version struct {
	Major, Minor, Patch uint64
	Pre                 string // what comes before the release: "alpha.1"
}

var versionForm = regexp.MustCompile(`^v?(0|[1-9]\d{0,8})(?:\.(0|[1-9]\d{0,8}))?(?:\.(0|[1-9]\d{0,8}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$`)

// ParseVersion reads a version, with or without a v before it.
func ParseVersion(s string) (Version, error) {
	f := versionForm.FindStringSubmatch(s)
	if f == nil {
		return Version{}, fmt.Errorf("expected a version such as v1.15.0, got %q", s)
	}
	var n [3]uint64
	for i := range n {
		if f[i+1] != "" {
			// The form limits the digits.
			n[i], _ = strconv.ParseUint(f[i+1], 10, 64)
		}
	}
	return Version{n[0], n[1], n[2], f[4]}, nil
}

// Compare is negative if v comes before o, and zero if they are the same.
func (v Version) Compare(o Version) int {
	if c := cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch)); c != 0 {
		return c
	}
	switch {
	case v.Pre == o.Pre:
		return 0
	case v.Pre == "":
		return 1
	case o.Pre == "":
		return -1
	}
	a, b := strings.Split(v.Pre, "."), strings.Split(o.Pre, ".")
	for i := range min(len(a), len(b)) {
		if c := comparePre(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// comparePre compares by clause 11.4: numbers by value and before words.
func comparePre(a, b string) int {
	n, errA := strconv.ParseUint(a, 10, 64)
	m, errB := strconv.ParseUint(b, 10, 64)
	switch {
	case errA == nil && errB == nil:
		return cmp.Compare(n, m)
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return strings.Compare(a, b)
}

// Range is a set of versions.
type Range struct{ any [][]comparison }

type comparison struct {
	op string
	Version
}

var comparisonForm = regexp.MustCompile(`^(>=|<=|!=|>|<|=|==)?\s*(v?[0-9][0-9A-Za-z.+-]*)[\s,]*`)

// ParseRange reads a range: comparisons (>=, <=, >, <, =, !=) that all hold, with blanks or commas between them, or several such lists with || between them, of
// which one holds. The empty range has all versions.
func ParseRange(s string) (Range, error) {
	var r Range
	if strings.TrimSpace(s) == "" {
		return Range{any: [][]comparison{nil}}, nil
	}
	for part := range strings.SplitSeq(s, "||") {
		var all []comparison
		rest := strings.TrimSpace(part)
		for rest != "" {
			f := comparisonForm.FindStringSubmatch(rest)
			if f == nil {
				return Range{}, fmt.Errorf("expected a range such as %q, got %q", ">= v1.14.0", s)
			}
			v, err := ParseVersion(f[2])
			if err != nil {
				return Range{}, err
			}
			all = append(all, comparison{f[1], v})
			rest = rest[len(f[0]):]
		}
		if len(all) == 0 {
			return Range{}, fmt.Errorf("expected a range such as %q, got %q", ">= v1.14.0", s)
		}
		r.any = append(r.any, all)
	}
	return r, nil
}

// Has reports whether a version is in the range.
func (r Range) Has(v Version) bool {
	for _, all := range r.any {
		ok := true
		for _, c := range all {
			ok = ok && c.holds(v)
		}
		if ok {
			return true
		}
	}
	return false
}

func (c comparison) holds(v Version) bool {
	d := v.Compare(c.Version)
	switch c.op {
	case ">=":
		return d >= 0
	case "<=":
		return d <= 0
	case ">":
		return d > 0
	case "<":
		return d < 0
	case "!=":
		return d != 0
	}
	return d == 0
}
