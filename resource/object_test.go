package resource

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sample has one field of every shape that a spec may have.
type sample struct {
	Name    string            `yaml:"name" proto:"1"`
	Count   int64             `yaml:"count" proto:"2"`
	List    []string          `yaml:"list" proto:"3"`
	Map     map[string]string `yaml:"map" proto:"4"`
	Inner   *inner            `yaml:"inner" proto:"5"`
	Inners  []inner           `yaml:"inners" proto:"6"`
	When    time.Time         `yaml:"when" proto:"7"`
	Addrs   []netip.Addr      `yaml:"addrs" proto:"8"`
	Free    map[string]any    `yaml:"free" proto:"9"`
	Numbers []uint32          `yaml:"numbers" proto:"10"`
	Array   [2][]byte         `yaml:"array"`
	Cloner  cloner            `yaml:"cloner"`
	private int
}

type inner struct {
	Keys []byte `yaml:"keys" proto:"1"`
	Next *inner `yaml:"next" proto:"2"`
}

// cloner hides a slice and copies itself.
type cloner struct{ hidden []int }

func (c cloner) Clone() cloner { return cloner{append([]int(nil), c.hidden...)} }

func (sample) ResourceDefinition() Definition {
	return Definition{Type: "Samples.x.test", Namespace: "x"}
}

func fullSample() sample {
	return sample{
		Name: "n", Count: -7, List: []string{"a", ""}, Map: map[string]string{"k": "v"},
		Inner:   &inner{Keys: []byte{1}, Next: &inner{Keys: []byte{2}}},
		Inners:  []inner{{Keys: []byte{3}}, {}},
		When:    time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Addrs:   []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")},
		Free:    map[string]any{"a": []any{"b", 1.5, true, nil}, "m": map[string]any{"x": "y"}},
		Numbers: []uint32{1, 0, 300},
		Array:   [2][]byte{{9}, nil}, Cloner: cloner{[]int{4}}, private: 5,
	}
}

// spoil changes everything that can be reached from s without changing s itself.
func spoil(s *sample) {
	s.List[0], s.Map["k"], s.Map["new"] = "spoilt", "spoilt", "x"
	s.Inner.Keys[0], s.Inner.Next.Keys[0], s.Inners[0].Keys[0] = 99, 99, 99
	s.Addrs[0] = netip.Addr{}
	s.Free["a"].([]any)[0], s.Free["m"].(map[string]any)["x"] = "spoilt", "spoilt"
	s.Numbers[0], s.Array[0][0], s.Cloner.hidden[0] = 99, 99, 99
}

var sampleOpts = cmp.Options{
	cmp.AllowUnexported(sample{}, cloner{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty(),
}

func TestSpecSharesNoMemoryWithItsResource(t *testing.T) {
	want := fullSample()
	given := fullSample()
	r := New("id", given)
	spoil(&given)
	if d := cmp.Diff(want, r.Spec(), sampleOpts); d != "" {
		t.Fatalf("changing what New was given changed the resource (-want +got):\n%s", d)
	}
	out := r.Spec()
	spoil(&out)
	if d := cmp.Diff(want, r.Spec(), sampleOpts); d != "" {
		t.Fatalf("changing what Spec returned changed the resource (-want +got):\n%s", d)
	}
	md := r.Metadata()
	next := r.With(md, r.Spec())
	out = next.Spec()
	spoil(&out)
	if !next.SpecEqual(r) || !r.WithMetadata(md).SpecEqual(next) {
		t.Error("With and WithMetadata changed the spec")
	}
}

func TestSpecEqual(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*sample)
		want   bool
	}{
		{"same", func(*sample) {}, true},
		{"string", func(s *sample) { s.Name = "other" }, false},
		{"element", func(s *sample) { s.List[0] = "other" }, false},
		{"shorter list", func(s *sample) { s.List = s.List[:1] }, false},
		{"map value", func(s *sample) { s.Map["k"] = "other" }, false},
		{"map key", func(s *sample) { delete(s.Map, "k"); s.Map["j"] = "v" }, false},
		{"deep bytes", func(s *sample) { s.Inner.Next.Keys[0]++ }, false},
		{"no pointer", func(s *sample) { s.Inner = nil }, false},
		{"other zone", func(s *sample) { s.When = s.When.In(time.FixedZone("x", 3600)) }, true},
		{"other time", func(s *sample) { s.When = s.When.Add(1) }, false},
		{"free value", func(s *sample) { s.Free["a"].([]any)[3] = 1 }, false},
		{"address", func(s *sample) { s.Addrs[0] = s.Addrs[1] }, false},
		{"empty for absent", func(s *sample) { s.Array[1] = []byte{} }, true},
		{"unexported", func(s *sample) { s.private++ }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fullSample()
			tt.change(&s)
			if got := New("a", fullSample()).SpecEqual(New("a", s)); got != tt.want {
				t.Errorf("SpecEqual = %v; want %v", got, tt.want)
			}
		})
	}
	if New("a", fullSample()).SpecEqual(Tombstone(RefOf[sample]("a"))) {
		t.Error("a typed resource equals a tombstone")
	}
}

func TestDecodePrefersProtoAndFallsBackToYAML(t *testing.T) {
	r := New("id", fullSample())
	pb, err := r.SpecProto()
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.SpecYAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		proto []byte
		yaml  []byte
		want  sample
	}{
		{"both", pb, []byte("name: other"), fullSample()},
		{"YAML only", nil, text, fullSample()},
		{"neither", nil, nil, sample{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.Type().Decode(r.Metadata(), tt.proto, tt.yaml)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.private, tt.want.Cloner = 0, cloner{} // neither form carries these
			spec := got.(*Typed[sample]).Spec()
			if tt.name == "both" {
				tt.want.Array = [2][]byte{} // has no proto number
			}
			if d := cmp.Diff(tt.want, spec, sampleOpts); d != "" {
				t.Errorf("spec (-want +got):\n%s", d)
			}
		})
	}
	if _, err := r.Type().Decode(r.Metadata(), nil, []byte("count: x")); err == nil || !strings.Contains(err.Error(), "Samples.x.test(x/id)") {
		t.Errorf("Decode of bad YAML: %v; want an error that names the resource", err)
	}
	if _, err := r.Type().Decode(r.Metadata(), []byte{0xff}, nil); err == nil {
		t.Error("Decode accepted bad protobuf")
	}
}

func TestSpecsDoNotGetIntoLogs(t *testing.T) {
	md := NewMetadata(RefOf[twin]("id"))
	for _, r := range []Resource{New("id", twin{A: "secret"}), NewRaw(md, []byte("secret"), []byte("secret"))} {
		for _, format := range []string{"%v", "%+v", "%s"} {
			if got := fmt.Sprintf(format, r); strings.Contains(got, "secret") || !strings.Contains(got, "x/id") {
				t.Errorf("%s of %T = %q; want the metadata only", format, r, got)
			}
		}
	}
}

func TestMetadataCopiesShareNothing(t *testing.T) {
	a := NewMetadata(Ref{"n", "t", "i"})
	a.SetLabel("k", "1")
	a.AddFinalizer("one")
	b := a
	b.SetLabel("k", "2")
	b.SetAnnotation("x", "y")
	b.AddFinalizer("two")
	c := a
	c.AddFinalizer("three")
	c.Finalizers()[0] = "spoilt"
	b.RemoveFinalizer("one")
	if v, _ := a.Labels().Get("k"); v != "1" || a.Annotations().Len() != 0 {
		t.Errorf("labels of the first copy changed: %v", a.Labels().Map())
	}
	for _, tt := range []struct {
		md   Metadata
		want string
	}{{a, "one"}, {b, "two"}, {c, "one three"}} {
		if got := strings.Join(tt.md.Finalizers(), " "); got != tt.want {
			t.Errorf("Finalizers() = %q; want %q", got, tt.want)
		}
	}
	if a.AddFinalizer("one") || a.RemoveFinalizer("no") {
		t.Error("AddFinalizer of one that is there, or RemoveFinalizer of one that is not, said true")
	}
}

func TestFinalizersOfCopiesWithRoomToGrow(t *testing.T) {
	var a Metadata
	for _, f := range []string{"1", "2", "3"} { // append leaves room for a fourth
		a.AddFinalizer(f)
	}
	b, c := a, a
	b.AddFinalizer("b")
	c.AddFinalizer("c")
	if got := strings.Join(b.Finalizers(), " "); got != "1 2 3 b" {
		t.Errorf("Finalizers() = %q; want what was added to this copy", got)
	}
}

func TestMetadataValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Metadata)
		want   string
	}{
		{"good", func(*Metadata) {}, ""},
		{"no id", func(m *Metadata) { m.SetRef(Ref{"n", "t", ""}) }, "id is empty"},
		{"id is not text", func(m *Metadata) { m.SetRef(Ref{"n", "t", "\xff"}) }, "not UTF-8"},
		{"phase", func(m *Metadata) { m.SetPhase(7) }, "Phase(7) is unknown"},
		{"label", func(m *Metadata) { m.SetLabel("k", "\xff") }, "label k"},
		{"finalizer", func(m *Metadata) { m.AddFinalizer("") }, "finalizer is empty"},
		{"owner", func(m *Metadata) { m.SetOwner("\xff") }, "owner"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMetadata(Ref{"n", "t", "i"})
			tt.change(&m)
			err := m.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Validate() = %v; want %q", err, tt.want)
			}
		})
	}
}

func TestVersionAndPhaseText(t *testing.T) {
	for text, want := range map[string]Version{"undefined": 0, "": 0, "1": 1, "18446744073709551615": 1<<64 - 1} {
		if got, err := ParseVersion(text); got != want || err != nil {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-1", "x", "18446744073709551616"} {
		if _, err := ParseVersion(text); err == nil {
			t.Errorf("ParseVersion(%q) = nil error", text)
		}
	}
	for _, p := range []Phase{Running, TearingDown} {
		if got, err := ParsePhase(p.String()); got != p || err != nil {
			t.Errorf("ParsePhase(%q) = %v, %v", p, got, err)
		}
	}
	if _, err := ParsePhase("x"); err == nil {
		t.Error("ParsePhase(x) = nil error")
	}
	if got := Version(0).String(); got != "undefined" {
		t.Errorf("Version(0) = %q; want undefined", got)
	}
}

func TestMarshalYAML(t *testing.T) {
	r := New("id", twin{})
	md := r.Metadata()
	md.SetVersion(3)
	md.SetOwner("me")
	md.SetTimes(time.Unix(0, 0), time.Unix(1, 0))
	md.AddFinalizer("f")
	md.SetLabel("l", "v")
	got, err := MarshalYAML(r.WithMetadata(md))
	if err != nil {
		t.Fatal(err)
	}
	const want = `metadata:
    namespace: x
    type: Samples.x.test
    id: id
    version: 3
    owner: me
    phase: running
    created: "1970-01-01T00:00:00Z"
    updated: "1970-01-01T00:00:01Z"
    labels:
        l: v
    finalizers:
        - f
spec:
    a: ""
`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("MarshalYAML (-want +got):\n%s", d)
	}
}

func BenchmarkSpecOut(b *testing.B) {
	full := New("id", fullSample())
	flat := New("id", twin{A: "x"})
	b.Run("flat", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = flat.Spec()
		}
	})
	b.Run("every shape", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = full.Spec()
		}
	})
}
