package doctest

import (
	"os"
	"regexp"
	"testing"
)

var documentLine = regexp.MustCompile(`(?m)^---\n`)

// samples decodes what the public client generates and encodes it to the same text.
func (s Suite) samples(t *testing.T) {
	t.Helper()
	for role, docs := range s.Samples {
		file := "testdata/" + string(role) + ".yaml"
		t.Run(file, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			set, report := s.Load(string(b), role)
			if len(report) > 0 {
				t.Errorf("problems = %v; want none", report)
			}
			want := documentLine.Split(string(b), -1)
			if len(set) != docs || len(want) != docs {
				t.Fatalf("documents = %d of %d; want %d", len(set), len(want), docs)
			}
			for i, e := range set {
				if got := Encode(t, e.Value); got != want[i] {
					t.Errorf("encode(%s) = %s; want %s", e.Title(), got, want[i])
				}
			}
		})
	}
}
