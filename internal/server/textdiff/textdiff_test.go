package textdiff

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	for _, tc := range []struct{ name, a, b, want string }{
		{"equal texts", "a\nb\n", "a\nb\n", ""},
		{"one line", "a\nb\nc\n", "a\nB\nc\n", "--- x\n+++ y\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		{"from nothing", "", "a\nb\n", "--- x\n+++ y\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"to nothing", "a\n", "", "--- x\n+++ y\n@@ -1 +0,0 @@\n-a\n"},
		{"no end of line", "a", "a\n", "--- x\n+++ y\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"},
		{
			"two places", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n", "1\nx\n3\n4\n5\n6\n7\n8\n9\n10\n12\n",
			"--- x\n+++ y\n@@ -1,5 +1,5 @@\n 1\n-2\n+x\n 3\n 4\n 5\n@@ -8,5 +8,4 @@\n 8\n 9\n 10\n-11\n 12\n",
		},
	} {
		if got := Unified("x", "y", tc.a, tc.b); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}

// apply makes b of a script, and a, too.
func apply(edits []edit) (a, b string) {
	for _, e := range edits {
		if e.op != '+' {
			a += e.line
		}
		if e.op != '-' {
			b += e.line
		}
	}
	return a, b
}

// distance is the length of a shortest script, by the textbook.
func distance(a, b []string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			next := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				next = diagonal
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

func TestScriptsAreRightAndShortest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var b strings.Builder
		for range r.IntN(14) {
			fmt.Fprintf(&b, "%c\n", 'a'+r.IntN(4))
		}
		return b.String()
	}
	for range 3000 {
		a, b := text(), text()
		edits := script(lines(a), lines(b))
		if gotA, gotB := apply(edits); gotA != a || gotB != b {
			t.Fatalf("script of %q and %q is of %q and %q", a, b, gotA, gotB)
		}
		changes := 0
		for _, e := range edits {
			if e.op != ' ' {
				changes++
			}
		}
		if want := distance(lines(a), lines(b)); changes != want {
			t.Fatalf("script of %q and %q has %d changes; want %d", a, b, changes, want)
		}
	}
}

func TestTextsThatShareNothingCostLittle(t *testing.T) {
	var a, b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&a, "a%d\n", i)
		fmt.Fprintf(&b, "b%d\n", i)
	}
	got := Unified("x", "y", a.String(), b.String())
	if n := strings.Count(got, "\n"); n != 100_003 {
		t.Errorf("%d lines; want 100003", n)
	}
}

// patched applies a diff to a text without context lines to spare: each line of a hunk must be where it says.
func patched(t *testing.T, a, diff string) string {
	t.Helper()
	in, at := lines(a), 0
	var out strings.Builder
	for _, l := range lines(diff)[2:] {
		switch l[0] {
		case '@':
			var start, count int
			if n, _ := fmt.Sscanf(l, "@@ -%d,%d", &start, &count); n < 2 {
				count = 1
			}
			if count > 0 {
				start--
			}
			for ; at < start; at++ {
				out.WriteString(in[at])
			}
		case '+':
			out.WriteString(l[1:])
		case ' ', '-':
			if at >= len(in) || in[at] != l[1:] {
				t.Fatalf("line %d is not %q", at+1, l[1:])
			}
			if l[0] == ' ' {
				out.WriteString(in[at])
			}
			at++
		}
	}
	for ; at < len(in); at++ {
		out.WriteString(in[at])
	}
	return out.String()
}

func TestADiffMakesTheOneOfTheOther(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var a, b strings.Builder
		a.WriteString("first\n")
		for i := range 60 {
			line := fmt.Sprintf("line %d\n", i)
			if r.IntN(12) > 0 {
				a.WriteString(line)
			}
			if r.IntN(12) > 0 {
				b.WriteString(line)
			}
		}
		if got := patched(t, a.String(), Unified("a", "b", a.String(), b.String())); got != b.String() {
			t.Fatalf("patched: %q; want %q", got, b.String())
		}
	}
}
