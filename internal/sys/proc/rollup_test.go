package proc

import (
	"os"
	"strings"
	"testing"
)

func TestRollup(t *testing.T) {
	got, err := captured(t).Rollup(4242)
	if want := (Rollup{Resident: 1700 << 10, Proportional: 246 << 10, Anonymous: 116 << 10}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	own, err := Reader{}.Rollup(os.Getpid())
	if err != nil || own.Resident < own.Proportional || own.Resident < own.Anonymous || own.Anonymous == 0 {
		t.Errorf("of this process: %+v, %v", own, err)
	}
	for _, tc := range []struct{ text, want string }{
		{"head\nRss: 1700\n", `parse input line 2: Rss is "1700"; want a number of kB`},
		{"Pss: x kB\n", `parse input line 1: "x" is no number`},
		{"Pss: 99999999999999999 kB\n", "parse input line 1: Pss is 99999999999999999 kB; want less"},
	} {
		if _, err := ParseRollup(strings.NewReader(tc.text)); err == nil || err.Error() != tc.want {
			t.Errorf("%q: %v; want %q", tc.text, err, tc.want)
		}
	}
}
