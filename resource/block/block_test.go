package block

import (
	"testing"

	"talos.internal/resource"
)

// TestExpressionTravels holds which part of an expression each form has, and that one which nobody
// checked is not sent as an empty message, which would be another expression.
func TestExpressionTravels(t *testing.T) {
	config := func(e Expression) *resource.Typed[VolumeConfig] {
		return resource.New("u-data", VolumeConfig{Locator: Locator{Match: e}})
	}
	text := config(Expression{Text: "volume.size > 1u"})
	if b, err := text.SpecProto(); err != nil || len(b) > 0 && string(b) != "\x22\x00" {
		t.Errorf("SpecProto = %x, %v; want no expression", b, err)
	}
	y, err := text.SpecYAML()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := text.Type().Decode(text.Metadata(), nil, y); err != nil || !back.SpecEqual(text) {
		t.Errorf("Decode(%s) = %v; the text is lost", y, err)
	}
	checked := config(Expression{Checked: []byte("\x32\x01v")})
	b, err := checked.SpecProto()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := checked.Type().Decode(checked.Metadata(), b, nil); err != nil || !back.SpecEqual(checked) {
		t.Errorf("Decode(%x) = %v; the checked form is lost", b, err)
	}
}
