// Package graph is what depends on what among controllers, as data: one [Edge] for each input and
// output that a controller declares. It finds cycles and draws the graph.
//
// It knows nothing of how controllers run, so that a client can draw what a machine tells it.
package graph

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"talos.internal/resource"
)

// EdgeType is what a controller does with a resource type. The numbers are those of
// inspect.DependencyEdgeType.
type EdgeType uint8

const (
	OutputExclusive   EdgeType = 0
	InputStrong       EdgeType = 1
	InputWeak         EdgeType = 2
	OutputShared      EdgeType = 3
	InputDestroyReady EdgeType = 4
)

// IsOutput reports whether the controller writes.
func (t EdgeType) IsOutput() bool { return t == OutputExclusive || t == OutputShared }

// Edge is one input or output of a controller. An empty namespace of an output is any; an empty ID
// is all.
type Edge struct {
	Controller   string
	Type         EdgeType
	Namespace    string
	ResourceType string
	ID           string
}

// Sort puts edges in the order of controller, outputs before inputs, type, namespace and id.
func Sort(edges []Edge) {
	rank := func(e Edge) int {
		if e.Type.IsOutput() {
			return 0
		}
		return 1
	}
	slices.SortFunc(edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Controller, b.Controller), cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.ResourceType, b.ResourceType), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Type, b.Type))
	})
}

// meets reports whether in reads what out writes, in a way that can wake its controller again.
func meets(out, in Edge) bool {
	return out.Type.IsOutput() && (in.Type == InputStrong || in.Type == InputWeak) && out.ResourceType == in.ResourceType &&
		(out.Namespace == "" || out.Namespace == in.Namespace)
}

// Cycles returns the groups of controllers which can wake each other in turn, or themselves: each
// in order, and the groups in order of their first. Such controllers come to rest only if each of
// them stops writing when nothing is left to change.
func Cycles(edges []Edge) [][]string {
	next := make(map[string][]string)
	for _, out := range edges {
		for _, in := range edges {
			if meets(out, in) {
				next[out.Controller] = append(next[out.Controller], in.Controller)
			}
		}
	}
	// Tarjan's algorithm for strongly connected components.
	var (
		cycles [][]string
		stack  []string
		index  = map[string]int{}
		low    = map[string]int{}
		on     = map[string]bool{}
		visit  func(string)
	)
	visit = func(v string) {
		index[v] = len(index) + 1
		low[v] = index[v]
		stack, on[v] = append(stack, v), true
		for _, w := range next[v] {
			if index[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if on[w] {
				low[v] = min(low[v], index[w])
			}
		}
		if low[v] != index[v] {
			return
		}
		i := slices.Index(stack, v)
		group := slices.Clone(stack[i:])
		stack = stack[:i]
		for _, w := range group {
			on[w] = false
		}
		if len(group) > 1 || slices.Contains(next[v], v) {
			slices.Sort(group)
			cycles = append(cycles, group)
		}
	}
	for _, e := range edges {
		if index[e.Controller] == 0 {
			visit(e.Controller)
		}
	}
	slices.SortFunc(cycles, slices.Compare)
	return cycles
}

// DOT returns the graph in the language of Graphviz: controllers as boxes, kinds of resources as
// ellipses, arrows from what is read and to what is written. Weak inputs are dashed, destroy-ready
// ones dotted, shared outputs dashed, controllers on a cycle red. Each of resources, which may be
// nil, is drawn below its kind. The text is the same for the same arguments in any order.
func DOT(edges []Edge, resources []resource.Ref) string {
	edges = slices.Clone(edges)
	Sort(edges)
	cyclic := make(map[string]bool)
	for _, c := range Cycles(edges) {
		for _, name := range c {
			cyclic[name] = true
		}
	}
	var b strings.Builder
	b.WriteString("digraph dependencies {\n\trankdir=LR;\n")
	drawn := make(map[string]bool)
	node := func(id, attrs string) string {
		id = strconv.Quote(id)
		if !drawn[id] {
			drawn[id] = true
			fmt.Fprintf(&b, "\t%s [%s];\n", id, attrs)
		}
		return id
	}
	for _, e := range edges {
		attrs := "shape=box"
		if cyclic[e.Controller] {
			attrs += ",color=red"
		}
		c := node(e.Controller, attrs)
		kind := node(kindName(e.Namespace, e.ResourceType), "shape=ellipse")
		style := ""
		switch e.Type {
		case InputWeak, OutputShared:
			style = "style=dashed"
		case InputDestroyReady:
			style = "style=dotted"
		}
		if e.ID != "" {
			style = strings.TrimPrefix(style+",label="+strconv.Quote(e.ID), ",")
		}
		from, to := kind, c
		if e.Type.IsOutput() {
			from, to = c, kind
		}
		if style != "" {
			style = " [" + style + "]"
		}
		fmt.Fprintf(&b, "\t%s -> %s%s;\n", from, to, style)
	}
	lines := make([]string, 0, len(resources))
	for _, r := range resources {
		lines = append(lines, fmt.Sprintf("\t%q -> %q [arrowhead=none];\n", kindName(r.Namespace, r.Type), r.String()))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(slices.Compact(lines), ""))
	b.WriteString("}\n")
	return b.String()
}

func kindName(namespace, typ string) string {
	if namespace == "" {
		namespace = "*"
	}
	return resource.Kind{Namespace: namespace, Type: typ}.String()
}
