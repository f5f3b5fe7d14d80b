package graph

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/resource"
)

func edge(c string, typ EdgeType, kind string) Edge {
	return Edge{Controller: c, Type: typ, Namespace: "n", ResourceType: kind}
}

func TestCycles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edges []Edge
		want  [][]string
	}{
		{"none", []Edge{edge("a", OutputExclusive, "X"), edge("b", InputStrong, "X")}, nil},
		{"itself", []Edge{edge("a", OutputShared, "X"), edge("a", InputWeak, "X")}, [][]string{{"a"}}},
		{"its own destroy-ready input is none", []Edge{edge("a", OutputShared, "X"), edge("a", InputDestroyReady, "X")}, nil},
		{"other namespace is none", []Edge{edge("a", OutputShared, "X"), {"a", InputWeak, "m", "X", ""}}, nil},
		{"any namespace", []Edge{{"a", OutputShared, "", "X", ""}, edge("a", InputWeak, "X")}, [][]string{{"a"}}},
		{"three and two", []Edge{
			edge("c", OutputExclusive, "X"), edge("a", InputWeak, "X"),
			edge("a", OutputExclusive, "Y"), edge("b", InputStrong, "Y"),
			edge("b", OutputExclusive, "Z"), edge("c", InputStrong, "Z"), edge("d", InputStrong, "Z"),
			edge("d", OutputExclusive, "V"), edge("e", InputStrong, "V"),
			edge("e", OutputExclusive, "W"), edge("d", InputStrong, "W"),
		}, [][]string{{"a", "b", "c"}, {"d", "e"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, Cycles(tt.edges)); d != "" {
				t.Errorf("Cycles (-want +got):\n%s", d)
			}
		})
	}
}

func TestDOT(t *testing.T) {
	edges := []Edge{
		edge("mover", InputStrong, "As"), edge("mover", OutputExclusive, "Bs"), edge("mover", InputDestroyReady, "Bs"),
		{"loop", OutputShared, "", "Cs", ""}, {"loop", InputWeak, "n", "Cs", "one"},
	}
	refs := []resource.Ref{{Namespace: "n", Type: "As", ID: "2"}, {Namespace: "n", Type: "As", ID: `1"`}}
	const want = `digraph dependencies {
	rankdir=LR;
	"loop" [shape=box,color=red];
	"Cs(*)" [shape=ellipse];
	"loop" -> "Cs(*)" [style=dashed];
	"Cs(n)" [shape=ellipse];
	"Cs(n)" -> "loop" [style=dashed,label="one"];
	"mover" [shape=box];
	"Bs(n)" [shape=ellipse];
	"mover" -> "Bs(n)";
	"As(n)" [shape=ellipse];
	"As(n)" -> "mover";
	"Bs(n)" -> "mover" [style=dotted];
	"As(n)" -> "As(n/1\")" [arrowhead=none];
	"As(n)" -> "As(n/2)" [arrowhead=none];
}
`
	if d := cmp.Diff(want, DOT(edges, refs)); d != "" {
		t.Errorf("DOT (-want +got):\n%s", d)
	}
	slices.Reverse(edges)
	slices.Reverse(refs)
	if got := DOT(edges, refs); got != want {
		t.Errorf("DOT depends on the order of its arguments:\n%s", got)
	}
}
