package provision

import (
	"io"
	"strings"
	"testing"
)

func TestTailStartsAtALine(t *testing.T) {
	long := strings.Repeat("x", 40<<10) + "\n" // more than what is read at once
	for _, tc := range []struct {
		name, text string
		n          int
		want       string
	}{
		{"nothing", "", 2, ""},
		{"the last of three", "a\nb\nc\n", 1, "c\n"},
		{"two of three", "a\nb\nc\n", 2, "b\nc\n"},
		{"more than there are", "a\nb\n", 5, "a\nb\n"},
		{"exactly all", "a\nb\n", 2, "a\nb\n"},
		{"the last has no end", "a\nb", 1, "b"},
		{"empty lines count", "a\n\n\n", 2, "\n\n"},
		{"long lines", long + long, 1, long},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := strings.NewReader(tc.text)
			if err := seekTail(f, tc.n); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(f)
			if err != nil || string(got) != tc.want {
				t.Errorf("tail %d of %.20q = %.20q, %v; want %.20q", tc.n, tc.text, got, err, tc.want)
			}
		})
	}
}
