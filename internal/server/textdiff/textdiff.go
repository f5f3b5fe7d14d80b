// Package textdiff shows by lines how one text differs from another, in the unified format of diff(1).
//
// It finds a shortest way with the algorithm of Myers (An O(ND) Difference Algorithm, 1986) as long as the texts are near to each
// other; of texts that differ in more than a fixed number of lines it shows the differing middle as replaced as a whole, so that
// no input costs much. It is pure. The server uses it for dry runs.
package textdiff

import (
	"fmt"
	"strings"
)

const (
	// around is how many lines that are the same are shown around a change.
	around = 3
	// maxEdits bounds the work, which is its square, and the memory of the search.
	maxEdits = 1000
)

// edit is one line of a diff: ' ' both have it, '-' the first alone, '+' the second alone.
type edit struct {
	op   byte
	line string
}

// Unified returns the differences of a and b, which are called by the names; empty if there are none.
func Unified(nameA, nameB, a, b string) string {
	if a == b {
		return ""
	}
	edits := script(lines(a), lines(b))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", nameA, nameB)
	for at := 0; at < len(edits); {
		// A hunk goes from a change to one after which nothing changes within reach.
		if edits[at].op == ' ' {
			at++
			continue
		}
		from, last := max(at-around, 0), at
		for i := at; i < len(edits) && i <= last+2*around; i++ {
			if edits[i].op != ' ' {
				last = i
			}
		}
		to := min(last+around+1, len(edits))
		hunk(&out, edits, from, to)
		at = to
	}
	return out.String()
}

func hunk(out *strings.Builder, edits []edit, from, to int) {
	startA, startB := 1, 1
	for _, e := range edits[:from] {
		if e.op != '+' {
			startA++
		}
		if e.op != '-' {
			startB++
		}
	}
	var countA, countB int
	for _, e := range edits[from:to] {
		if e.op != '+' {
			countA++
		}
		if e.op != '-' {
			countB++
		}
	}
	// A range without lines has the number of the line before it.
	if countA == 0 {
		startA--
	}
	if countB == 0 {
		startB--
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(startA, countA), span(startB, countB))
	for _, e := range edits[from:to] {
		out.WriteByte(e.op)
		out.WriteString(strings.TrimSuffix(e.line, "\n"))
		out.WriteByte('\n')
		if !strings.HasSuffix(e.line, "\n") {
			out.WriteString("\\ No newline at end of file\n")
		}
	}
}

func span(start, count int) string {
	if count == 1 {
		return fmt.Sprint(start)
	}
	return fmt.Sprintf("%d,%d", start, count)
}

// lines splits s into lines with their ends.
func lines(s string) []string {
	out := strings.SplitAfter(s, "\n")
	if out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// script returns how b is made of a.
func script(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, edit{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	middle, ok := myers(a, b)
	if !ok {
		for _, l := range a {
			middle = append(middle, edit{'-', l})
		}
		for _, l := range b {
			middle = append(middle, edit{'+', l})
		}
	}
	out := append(head, middle...)
	for i := len(tail) - 1; i >= 0; i-- {
		out = append(out, tail[i])
	}
	return out
}

// myers returns a shortest script, and false if that has more than maxEdits changes.
func myers(a, b []string) ([]edit, bool) {
	n, m := len(a), len(b)
	limit := min(n+m, maxEdits)
	// reach[limit+k] is how far in a the paths on diagonal k = x-y come.
	reach := make([]int, 2*limit+2)
	var trace [][]int // of each number of changes, what was reached with one less: diagonals -d to d
	for d := 0; d <= limit; d++ {
		trace = append(trace, append([]int(nil), reach[limit-min(d, limit):limit+min(d, limit)+1]...))
		for k := -d; k <= d; k += 2 {
			x := 0
			switch {
			case d == 0:
			case k == -d || k != d && reach[limit+k-1] < reach[limit+k+1]:
				x = reach[limit+k+1]
			default:
				x = reach[limit+k-1] + 1
			}
			for x < n && x-k < m && a[x] == b[x-k] {
				x++
			}
			reach[limit+k] = x
			if x >= n && x-k >= m {
				return back(a, b, trace), true
			}
		}
	}
	return nil, false
}

// back walks the trace from the end to the start.
func back(a, b []string, trace [][]int) []edit {
	x, y := len(a), len(b)
	var out []edit
	for d := len(trace) - 1; d >= 0; d-- {
		at := func(k int) int { return trace[d][d+k] }
		k := x - y
		down := d > 0 && (k == -d || k != d && at(k-1) < at(k+1))
		startX, startY := 0, 0
		if d > 0 {
			if down {
				startX = at(k + 1)
				startY = startX - (k + 1)
			} else {
				startX = at(k - 1)
				startY = startX - (k - 1)
			}
		}
		for x > startX && y > startY && x > 0 && y > 0 && a[x-1] == b[y-1] {
			out = append(out, edit{' ', a[x-1]})
			x, y = x-1, y-1
		}
		if d > 0 {
			if down {
				out = append(out, edit{'+', b[y-1]})
				y--
			} else {
				out = append(out, edit{'-', a[x-1]})
				x--
			}
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
