package steps

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestALogHasALineForEachStepAndSaysSeldomWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(&out, time.Now, func(string) string { return "" })
		if err := l.Do("make network", func(*Step) error { time.Sleep(1200 * time.Millisecond); return nil }); err != nil {
			t.Fatal(err)
		}
		cause := errors.New("no")
		err := l.Do("wait for\nnodes", func(s *Step) error {
			s.Waiting("a")
			time.Sleep(15 * time.Second)
			s.Waiting("b\x1b[31m")
			s.Waiting("b\x1b[31m")
			time.Sleep(30 * time.Second)
			s.Note("%s answers", "n1")
			time.Sleep(30 * time.Second)
			return cause
		})
		if !errors.Is(err, cause) {
			t.Errorf("Do = %v; want %v", err, cause)
		}
		want := `    1.2s  make network
          wait for nodes: waiting 5s for b�[31m
          wait for nodes: waiting 25s for b�[31m
          n1 answers
          wait for nodes: waiting 50s for b�[31m
   1m15s  wait for nodes: it did not work
`
		if got := out.String(); got != want {
			t.Errorf("log:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestATerminalsLineIsRewritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(&out, time.Now, func(string) string { return "" })
		l.width = 40
		s := l.Begin("wait")
		s.Waiting("a node with a very long name that does not fit")
		time.Sleep(3 * time.Second)
		s.Note("done")
		s.End(nil)
		s.End(nil) // no second line
		for line := range strings.SplitSeq(out.String(), "\r\033[K") {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 39 {
				t.Errorf("line %q has %d characters; the terminal has 40", line, n)
			}
		}
		if got, want := out.String(), "\r\033[K    3.0s  wait\n"; !strings.HasSuffix(got, want) {
			t.Errorf("output ends with %q; want %q", got[max(0, len(got)-60):], want)
		}
		if !strings.Contains(out.String(), "     3s.  wait: waiting 3s for a nod...") {
			t.Errorf("output %q does not show the time that goes by", out.String())
		}
	})
}

func TestWidthIsZeroWhereLinesCannotBeRewritten(t *testing.T) {
	term := func(string) string { return "xterm" }
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if got := width(new(bytes.Buffer), term); got != 0 {
		t.Errorf("width of a buffer = %d", got)
	}
	if got := width(file, term); got != 0 {
		t.Errorf("width of a file = %d", got)
	}
	if got := width(null, func(name string) string { return map[string]string{"TERM": "xterm", "COLUMNS": "132"}[name] }); got != 132 {
		t.Errorf("width of a device = %d; want that of $COLUMNS", got)
	}
	if got := width(null, func(name string) string { return map[string]string{"TERM": "dumb"}[name] }); got != 0 {
		t.Errorf("width of a dumb terminal = %d", got)
	}
}
