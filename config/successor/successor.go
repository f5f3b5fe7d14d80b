// Package successor converts the deprecated fields of the root document to the documents that succeed them.
//
// [Documents] returns these, [Reduced] what then remains of the root document, and [Conflicts] reports where a config says
// one thing both ways. Which field becomes what, and which stay because nothing succeeds them, is in the tables of
// coverage.go and in docs/decisions/0003-root-document-conversion.md.
//
// The package is pure: no files, no clock, no network. Only the facade, package config, imports it.
package successor

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

// Converted is a document that stands for deprecated fields of the root document.
type Converted struct {
	Doc schema.Document
	// Path is the place in the root document that Doc comes from, such as machine.kubelet; the first if there are several.
	Path string
	// Implied is set if no field says it: it is what an old-style config means by saying nothing. A document of the same
	// kind in the config takes its place.
	Implied bool
}

// oldStyle is the field by which a root document describes the whole cluster: then its silence has the old meaning, such
// as that flannel runs. A root document without it says nothing about what it leaves out.
const oldStyle = "cluster.controlPlane"

// Documents converts the deprecated fields of c to the documents that succeed them, in a fixed order. On a worker it
// leaves out the kinds that only control-plane nodes may have: an old-style config may have their fields, without effect.
//
// The documents share lists and maps with c; neither may be changed any more. Documents is meant for a config that is
// valid; of another one it converts what it can.
func Documents(c *rootdoc.Config) []Converted {
	v := &converter{
		machine: value(c.Machine), cluster: value(c.Cluster), features: value(value(c.Machine).Features),
		first: map[string]string{}, controlPlane: c.Role() != schema.Worker,
	}
	for _, row := range setRows(c) {
		for _, kind := range row.kinds {
			if v.first[kind] == "" {
				v.first[kind] = row.path
			}
		}
	}
	v.old = c.Cluster != nil && c.Cluster.ControlPlane != nil && rootdoc.IsSet(c.Cluster.ControlPlane)
	v.system()
	v.registries()
	v.disks()
	v.network()
	v.kubernetes()
	v.components()
	v.access()
	v.manifests()
	return v.out
}

// converter holds a root document while it is converted.
type converter struct {
	machine      rootdoc.Machine
	cluster      rootdoc.Cluster
	features     rootdoc.Features
	first        map[string]string // the first row of converted that is set, by kind
	old          bool              // silence has its old meaning
	controlPlane bool
	out          []Converted
}

// says reports whether a field is set that a document of the given kind succeeds.
func (v *converter) says(kind string) bool { return v.first[kind] != "" }

// add adds a document of a kind without names, which comes from the first of its rows.
func (v *converter) add(d schema.Document) {
	path := v.first[d.DocumentKind()]
	if path == "" {
		v.append(Converted{Doc: d, Path: oldStyle, Implied: true})
		return
	}
	v.append(Converted{Doc: d, Path: path})
}

// named adds a document that comes from path.
func (v *converter) named(d schema.NamedDocument, path string) {
	v.append(Converted{Doc: d, Path: path})
}

// append adds d unless d is not for a worker's config.
func (v *converter) append(d Converted) {
	if v.controlPlane || !controlPlaneOnly[d.Doc.DocumentKind()] {
		v.out = append(v.out, d)
	}
}

// controlPlaneOnly are the kinds that a worker's config cannot have.
var controlPlaneOnly = func() map[string]bool {
	only := map[string]bool{}
	for _, k := range slices.Concat(kubedoc.Kinds(), netdoc.Kinds(), blockdoc.Kinds(), sysdoc.Kinds()) {
		if k.ControlPlaneOnly {
			only[k.Name] = true
		}
	}
	return only
}()

// Reduced returns a copy of c without the fields that Documents converts and those that have no effect: what is current,
// and what nothing succeeds. The types init and join are written as what they stand for. The copy shares nothing with c.
func Reduced(c *rootdoc.Config) *rootdoc.Config {
	n := schema.EncodeValue(c)
	prune(n, "")
	out := &rootdoc.Config{}
	var problems schema.Report // an encoded config decodes again; the test of the round trip holds this
	schema.Decode(n, out, schema.NewReporter(&problems, "", "", n))
	if out.Machine != nil {
		out.Machine.Type = string(c.Role())
	}
	if c.Machine != nil {
		keepRest(c.Machine, out)
	}
	if e := value(c.Cluster).Etcd; e != nil && e.Subnet != nil && len(e.AdvertisedSubnets) == 0 {
		if out.Cluster == nil {
			out.Cluster = &rootdoc.Cluster{}
		}
		if out.Cluster.Etcd == nil {
			out.Cluster.Etcd = &rootdoc.Etcd{}
		}
		out.Cluster.Etcd.AdvertisedSubnets = append(out.Cluster.Etcd.AdvertisedSubnets, *e.Subnet)
	}
	return out
}

// prune removes from n, which stands at path, the keys that do not stay.
func prune(n *yaml.Node, path string) {
	if n.Kind != yaml.MappingNode || !hasRows(path) {
		return
	}
	var rest []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		below := strings.TrimPrefix(path+"."+key.Value, ".")
		f, _ := fateOf(below)
		if f != stays && !keepsBelow(below) {
			continue
		}
		prune(v, below)
		if len(v.Content) == 0 && v.Kind == yaml.MappingNode && hasRows(below) {
			continue
		}
		rest = append(rest, key, v)
	}
	n.Content = rest
}

// hasRows reports whether a field at or below path does not stay.
func hasRows(path string) bool {
	if f, _ := fateOf(path); f != stays || path == "" {
		return true
	}
	return slices.ContainsFunc(converted, func(s succession) bool { return under(s.path, path) }) ||
		slices.ContainsFunc(ignored, func(i string) bool { return under(i, path) })
}

// keepsBelow reports whether a field below path stays although path does not.
func keepsBelow(path string) bool {
	return slices.ContainsFunc(kept, func(k string) bool { return under(k, path) })
}

// keepRest copies to out the files and disks of m that have no successor.
func keepRest(m *rootdoc.Machine, out *rootdoc.Config) {
	var files []rootdoc.File
	for _, f := range m.Files {
		if fileOf(f) == nil {
			files = append(files, f)
		}
	}
	var disks []rootdoc.Disk
	for _, d := range m.Disks {
		rest := rootdoc.Disk{Device: d.Device}
		for _, p := range d.Partitions {
			if volumeOf(d.Device, p) == nil {
				rest.Partitions = append(rest.Partitions, p)
			}
		}
		if len(rest.Partitions) > 0 {
			disks = append(disks, rest)
		}
	}
	if len(files)+len(disks) == 0 {
		return
	}
	if out.Machine == nil {
		out.Machine = &rootdoc.Machine{}
	}
	out.Machine.Files, out.Machine.Disks = files, disks
}

// value returns what p points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// sorted returns the keys of m in their order, so that a conversion does not depend on chance.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// isTrue reports whether b is there and true.
func isTrue(b *bool) bool { return value(b) }

// nonZero returns a pointer to v, or nil if v is zero.
func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
