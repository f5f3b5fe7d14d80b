package catalog

import (
	"testing"

	"talos.internal/resource"
)

// FuzzDecode holds for every type that what a peer sends is refused or becomes a spec whose own
// encodings are accepted again.
func FuzzDecode(f *testing.F) {
	types := Types()
	for i := range types {
		f.Add(uint16(i), []byte("\x0a\x01a\x10\x01"), false)
		f.Add(uint16(i), []byte("name: a\naddress: 10.0.0.1/24\n"), true)
	}
	f.Fuzz(func(t *testing.T, n uint16, in []byte, text bool) {
		typ := types[int(n)%len(types)]
		md := resource.NewMetadata(typ.Kind().Ref("id"))
		decode := func(b []byte) (resource.Resource, error) {
			if text {
				return typ.Decode(md, nil, b)
			}
			return typ.Decode(md, b, nil)
		}
		encode := resource.Resource.SpecProto
		if text {
			encode = resource.Resource.SpecYAML
		}
		r, err := decode(in)
		if err != nil {
			return
		}
		out, err := encode(r)
		if err != nil {
			return // free-form values may hold what a form cannot express
		}
		again, err := decode(out)
		if err != nil {
			t.Fatalf("%s: own encoding %q of %q is refused: %v", typ.Name(), out, in, err)
		}
		if _, err := encode(again); err != nil {
			t.Errorf("%s: %q decodes to what cannot be encoded: %v", typ.Name(), out, err)
		}
	})
}
