package main

import (
	"slices"
	"strings"
	"testing"
)

func TestProfilesOfACommandLine(t *testing.T) {
	for _, c := range []struct {
		args   string
		want   string
		signed bool
		err    string
	}{
		{"iso metal", "iso metal", false, ""},
		{"secureboot-iso secureboot-metal secureboot-installer", "iso metal installer", true, ""},
		{"iso secureboot-metal", "", false, "one build is signed or not as a whole"},
		{"secureboot-iso metal", "", false, "one build is signed or not as a whole"},
		{"secureboot-", "", false, "no profile secureboot-"},
		{"floppy", "", false, "no profile floppy; there are boot, installer, iso, metal, metal-4k"},
	} {
		got, signed, err := chosen(strings.Fields(c.args))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("chosen(%s) = %v; want %q", c.args, err, c.err)
			}
			continue
		}
		if err != nil || signed != c.signed || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("chosen(%s) = %v, %v, %v; want %s, %v", c.args, got, signed, err, c.want, c.signed)
		}
	}
}
