package resource

import "testing"

type color32 int32

var colors = NamesOf(map[color32]string{0: "none", 1: "red", 2: "blue", 3: "blue", -5: "dark"})

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    color32
		text string
		back color32
	}{
		{"zero", 0, "none", 0},
		{"named", 2, "blue", 2},
		{"two numbers with one name mean the lower", 3, "blue", 2},
		{"negative", -5, "dark", -5},
		{"without a name", 77, "77", 77},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := colors.Text(tt.e); got != tt.text {
				t.Errorf("Text(%d) = %q; want %q", tt.e, got, tt.text)
			}
			var e color32
			if err := colors.Set(&e, tt.text); err != nil || e != tt.back {
				t.Errorf("Set(%q) = %d, %v; want %d", tt.text, e, err, tt.back)
			}
		})
	}
	e := color32(1)
	for _, text := range []string{"", "Red", "4294967296", "0x1"} {
		if err := colors.Set(&e, text); err == nil || e != 1 {
			t.Errorf("Set(%q) = %d, %v; want an error and no change", text, e, err)
		}
	}
	if err := colors.Set(&e, "x"); err.Error() != `"x" is none of blue, dark, none, red` {
		t.Errorf("Set(x) = %v", err)
	}
}

type bits32 uint32

var flagNames = FlagNamesOf(map[bits32]string{1: "up", 2: "down", 1 << 31: "last"})

func TestFlagNames(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    bits32
		text string
	}{
		{"none", 0, ""},
		{"lowest first", 1<<31 | 3, "up,down,last"},
		{"without a name", 0x30 | 2, "down,0x30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := flagNames.Text(tt.e); got != tt.text {
				t.Errorf("Text(%d) = %q; want %q", tt.e, got, tt.text)
			}
			e := bits32(99)
			if err := flagNames.Set(&e, tt.text); err != nil || e != tt.e {
				t.Errorf("Set(%q) = %d, %v; want %d", tt.text, e, err, tt.e)
			}
		})
	}
	e := bits32(1)
	for _, text := range []string{"up,", "UP", "up,sideways", "0x100000000"} {
		if err := flagNames.Set(&e, text); err == nil || e != 1 {
			t.Errorf("Set(%q) = %d, %v; want an error and no change", text, e, err)
		}
	}
}
