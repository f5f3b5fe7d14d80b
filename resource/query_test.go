package resource

import (
	"regexp"
	"testing"
)

func TestLabelTerm(t *testing.T) {
	labels := LabelsFrom(map[string]string{"app": "b", "n": "10", "f": "1.5"})
	for _, tt := range []struct {
		name string
		term LabelTerm
		want bool
	}{
		{"exists", LabelTerm{Key: "app"}, true},
		{"exists, absent", LabelTerm{Key: "no"}, false},
		{"exists, absent, inverted", LabelTerm{Key: "no", Invert: true}, true},
		{"not exists", LabelTerm{Key: "no", Op: LabelNotExists}, true},
		{"not exists, there", LabelTerm{Key: "app", Op: LabelNotExists}, false},
		{"equal", LabelTerm{Key: "app", Op: LabelEqual, Values: []string{"b"}}, true},
		{"equal, other", LabelTerm{Key: "app", Op: LabelEqual, Values: []string{"c"}}, false},
		{"equal, other, inverted", LabelTerm{Key: "app", Op: LabelEqual, Values: []string{"c"}, Invert: true}, true},
		{"in", LabelTerm{Key: "app", Op: LabelIn, Values: []string{"a", "b"}}, true},
		{"in nothing", LabelTerm{Key: "app", Op: LabelIn}, false},
		{"less", LabelTerm{Key: "app", Op: LabelLess, Values: []string{"c"}}, true},
		{"less, same", LabelTerm{Key: "app", Op: LabelLess, Values: []string{"b"}}, false},
		{"less or equal, same", LabelTerm{Key: "app", Op: LabelLessEqual, Values: []string{"b"}}, true},
		{"text order of numbers", LabelTerm{Key: "n", Op: LabelLess, Values: []string{"9"}}, true},
		{"number order", LabelTerm{Key: "n", Op: LabelLessNum, Values: []string{"9"}}, false},
		{"number order, fraction", LabelTerm{Key: "f", Op: LabelLessNum, Values: []string{"2"}}, true},
		{"number or equal", LabelTerm{Key: "n", Op: LabelLessEqualNum, Values: []string{"10"}}, true},
		{"number against text", LabelTerm{Key: "app", Op: LabelLessNum, Values: []string{"1"}}, false},
		{"absent is not less", LabelTerm{Key: "no", Op: LabelLess, Values: []string{"z"}}, false},
		{"invalid: no value", LabelTerm{Key: "app", Op: LabelEqual}, false},
		{"invalid: no value, inverted", LabelTerm{Key: "app", Op: LabelEqual, Invert: true}, false},
		{"invalid: operation", LabelTerm{Key: "app", Op: 99}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.term.Match(labels); got != tt.want {
				t.Errorf("(%v).Match = %v; want %v", tt.term, got, tt.want)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	md := NewMetadata(Ref{"n", "t", "eth0"})
	md.SetLabel("a", "1")
	yes, no := LabelQuery{{Key: "a"}}, LabelQuery{{Key: "a"}, {Key: "b"}}
	for _, tt := range []struct {
		name string
		q    Query
		want bool
	}{
		{"zero selects all", Query{}, true},
		{"terms are all needed", Query{Labels: []LabelQuery{no}}, false},
		{"queries are alternatives", Query{Labels: []LabelQuery{no, yes}}, true},
		{"empty query", Query{Labels: []LabelQuery{{}}}, true},
		{"id", Query{ID: regexp.MustCompile("^eth")}, true},
		{"id and labels", Query{ID: regexp.MustCompile("wlan"), Labels: []LabelQuery{yes}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.q.Match(md); got != tt.want {
				t.Errorf("Match = %v; want %v", got, tt.want)
			}
		})
	}
	if err := (Query{Labels: []LabelQuery{{{Op: LabelExists}}}}).Validate(); err == nil {
		t.Error("Validate accepted an empty key")
	}
}
