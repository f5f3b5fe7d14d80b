package resource

import (
	"net/netip"
	"net/url"
	"testing"

	"go.yaml.in/yaml/v3"
)

type textForms struct {
	Raw Base64 `yaml:"raw" proto:"1"`
	URL URL    `yaml:"url" proto:"2"`
	Own opaque `yaml:"own" proto:"3"`
}

func (textForms) ResourceDefinition() Definition { return Definition{Type: "Texts.x", Namespace: "x"} }

// opaque is a ProtoMarshaler which may have nothing to say in protobuf.
type opaque struct{ Text, Wire string }

func (o opaque) MarshalProto() ([]byte, error)  { return []byte(o.Wire), nil }
func (o *opaque) UnmarshalProto(b []byte) error { o.Wire = string(b); return nil }

func TestTextFormsTravel(t *testing.T) {
	u, err := ParseURL("https://user@example.org:6443/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	spec := textForms{Raw: Base64{0, 255, 3}, URL: u}
	r := New("a", spec)
	text, err := r.SpecYAML()
	if err != nil {
		t.Fatal(err)
	}
	const want = "raw: AP8D\nurl: https://user@example.org:6443/a?b=c\nown:\n    text: \"\"\n    wire: \"\"\n"
	if string(text) != want {
		t.Errorf("SpecYAML = %s\nwant %s", text, want)
	}
	wire, err := r.SpecProto()
	if err != nil {
		t.Fatal(err)
	}
	for form, decode := range map[string][2][]byte{"protobuf": {wire, nil}, "YAML": {nil, text}} {
		back, err := r.Type().Decode(r.Metadata(), decode[0], decode[1])
		if err != nil || !back.SpecEqual(r) {
			t.Errorf("Decode of %s = %v; it differs", form, err)
		}
	}
	if got := (URL{}); got.String() != "" || got.URL != (url.URL{}) {
		t.Errorf("the zero URL is %q; want nothing", got)
	}
	for _, bad := range []string{"raw: '%'", "url: ':'"} {
		if err := yaml.Unmarshal([]byte(bad), &textForms{}); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestMarshalerWithoutBytesIsNotSent(t *testing.T) {
	b, err := New("a", textForms{Own: opaque{Text: "for YAML only"}}).SpecProto()
	if err != nil || len(b) != 0 {
		t.Errorf("SpecProto = %x, %v; want nothing", b, err)
	}
	b, err = New("a", textForms{Own: opaque{Wire: "x"}}).SpecProto()
	if err != nil || string(b) != "\x1a\x01x" {
		t.Errorf("SpecProto = %x, %v; want field 3", b, err)
	}
}

// FuzzYAMLText holds that every string reads back.
func FuzzYAMLText(f *testing.F) {
	for _, s := range []string{"", "a", "a: b\n---\nc: d\n", "\t x\n", "  x\ny", "\n\n", "x \n", "\xff\n", "\u0085\n", "a\r\nb", "null", "%\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := yaml.Marshal(YAMLText(s))
		if err != nil {
			t.Fatalf("Marshal(%q) = %v", s, err)
		}
		var back string
		if err := yaml.Unmarshal(b, &back); err != nil || back != s {
			t.Errorf("%q reads back as %q, %v from %q", s, back, err, b)
		}
	})
}

type prefixes struct {
	List []netip.Prefix `yaml:"list" proto:"1"`
}

func (prefixes) ResourceDefinition() Definition {
	return Definition{Type: "Prefixes.x", Namespace: "x"}
}

// The fuzzer found that the zero prefix, whose length is -1, was sent as one that our own decoder refuses.
func TestZeroPrefixInAListTravels(t *testing.T) {
	r := New("a", prefixes{List: []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0")}})
	b, err := r.SpecProto()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := r.Type().Decode(r.Metadata(), b, nil); err != nil || !back.SpecEqual(r) {
		t.Errorf("Decode(%x) = %v, %v; it differs", b, back, err)
	}
	broken := New("a", prefixes{List: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 99)}})
	if b, err := broken.SpecProto(); err == nil {
		t.Errorf("SpecProto of a prefix of 99 bits = %x; want an error", b)
	}
}
