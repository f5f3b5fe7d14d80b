package logring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newSet(t testing.TB, limit int) *Set {
	t.Helper()
	s, err := NewSet(limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// write writes to the log of x.
func write(t testing.TB, w io.Writer, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		t.Fatal(err)
	}
}

// rest reads until the end or until ctx ends.
func rest(ctx context.Context, r *Reader) (string, error) {
	var b strings.Builder
	for {
		lines, err := r.Next(ctx)
		if err != nil {
			return b.String(), err
		}
		b.Write(lines)
	}
}

func TestWriterNeverTearsALine(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, tc := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"nothing", nil, ""},
		{"a line", []string{"a\n"}, "a\n"},
		{"several at once", []string{"a\nb\n\nc\n"}, "a\nb\n\nc\n"},
		{"in pieces", []string{"a", "b", "", "c\nd", "\n"}, "abc\nd\n"},
		{"an end for the last one", []string{"a\nb"}, "a\nb\n"},
		{"as long as it may be", []string{long[1:] + "\n"}, long[1:] + "\n"},
		{"longer than that", []string{long + "\n"}, long[1:] + "\nx\n"},
		{"longer than that, in pieces", []string{long[1:], "x", "\n"}, long[1:] + "\nx\n"},
		{"much longer, between others", []string{"a\n" + long + long + "\nb\n"}, "a\n" + long[1:] + "\n" + long[1:] + "\nxx\nb\n"},
		{"never ending", []string{long, long}, long[1:] + "\n" + long[1:] + "\nxx\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newSet(t, 0).Ring("x")
			w := r.NewWriter()
			for _, s := range tc.writes {
				if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
					t.Errorf("Write(%d bytes) = %d, %v; want all", len(s), n, err)
				}
			}
			for range 2 {
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}
			got, _ := rest(t.Context(), r.NewReader(All, false))
			if got != tc.want {
				t.Errorf("the ring has %d bytes; want %d\n%.200q\n%.200q", len(got), len(tc.want), got, tc.want)
			}
			if lines := r.Stats().Lines; lines != uint64(strings.Count(tc.want, "\n")) {
				t.Errorf("the ring counts %d lines; want %d", lines, strings.Count(tc.want, "\n"))
			}
		})
	}
}

func TestTwoWritersTakeTurnsByLines(t *testing.T) {
	r := newSet(t, 0).Ring("x")
	a, b := r.NewWriter(), r.NewWriter()
	write(t, a, "a begins")
	write(t, b, "b begins")
	write(t, a, ", a ends\n")
	b.Close()
	got, _ := rest(t.Context(), r.NewReader(All, false))
	if want := "a begins, a ends\nb begins\n"; got != want {
		t.Errorf("the ring has %q; want %q", got, want)
	}
}

// number is a line that is not compressed to nothing.
func number(i int) string {
	return fmt.Sprintf("%d %x", i, rand.New(rand.NewPCG(uint64(i), 7)).Uint64())
}

func TestTailBeginsAtTheRightLine(t *testing.T) {
	const lines = 20000 // several chunks of history
	s := newSet(t, 0)
	w := s.Open("x")
	for i := range lines {
		write(t, w, "%s\n", number(i))
	}
	if len(s.Ring("x").history) < 3 {
		t.Fatalf("%d chunks of history; the test wants some", len(s.Ring("x").history))
	}
	for _, n := range []int{0, 1, 2, 100, 1234, 5000, 19999, lines, lines + 1, All} {
		got := s.Tail("x", n)
		want := n
		if n == All || n > lines {
			want = lines
		}
		if len(got) != want {
			t.Errorf("Tail(%d) has %d lines; want %d", n, len(got), want)
			continue
		}
		for i, line := range got {
			if line != number(lines-want+i) {
				t.Errorf("Tail(%d): line %d = %q; want %q", n, i, line, number(lines-want+i))
				break
			}
		}
	}
	if got := s.Tail("nobody", 5); got != nil {
		t.Errorf("Tail(nobody) = %q; want nothing", got)
	}
	if _, ok := s.Find("nobody"); ok {
		t.Error("asking for a tail makes a ring")
	}
}

func TestMemoryIsBoundedWhateverIsWritten(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		name string
		line func(i int) []byte
		full bool // takes most of the limit
	}{
		{"noise", func(int) []byte {
			p := make([]byte, 1000)
			for i := range p {
				p[i] = byte(noise.Uint32())
			}
			return append(p, '\n')
		}, true},
		{"text", func(i int) []byte { return []byte(number(i) + " controller reconciled the resource\n") }, true},
		{"one line for ever", func(int) []byte { return []byte("boom\n") }, false},
		{"empty lines", func(int) []byte { return []byte("\n") }, false},
		{"lines of all lengths", func(i int) []byte { return append(bytes.Repeat([]byte{'x'}, i*37%maxLine), '\n') }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const limit = 256 << 10
			r := newSet(t, limit).Ring("x")
			w := r.NewWriter()
			for i := 0; r.Stats().Bytes < 8<<20; i++ {
				if _, err := w.Write(bytes.Repeat(tc.line(i), 4)); err != nil {
					t.Fatal(err)
				}
				if st := r.Stats(); st.Memory > limit {
					t.Fatalf("memory = %d after %d bytes; want at most %d", st.Memory, st.Bytes, limit)
				}
			}
			st := r.Stats()
			if tc.full && st.Memory < limit/2 {
				t.Errorf("memory = %d of %d; the history is dropped too early", st.Memory, limit)
			}
			got, err := rest(t.Context(), r.NewReader(All, false))
			if !errors.Is(err, io.EOF) || len(got) != st.HeldBytes || uint64(strings.Count(got, "\n")) != st.HeldLines {
				t.Errorf("read %d bytes, %v; want the %d that are held", len(got), err, st.HeldBytes)
			}
		})
	}
}

func TestASmallLogTakesLittle(t *testing.T) {
	r := newSet(t, 0).Ring("x")
	write(t, r.NewWriter(), "hello\n")
	if m := r.Stats().Memory; m != startSize {
		t.Errorf("memory = %d; want %d", m, startSize)
	}
}

func TestAReaderThatDoesNotFollowEndsWhereTheRingEnded(t *testing.T) {
	r := newSet(t, 0).Ring("x")
	w := r.NewWriter()
	write(t, w, "a\nb\nc\n")
	reader := r.NewReader(2, false)
	write(t, w, "d\n")
	if got, err := rest(t.Context(), reader); got != "b\nc\n" || !errors.Is(err, io.EOF) {
		t.Errorf("read %q, %v; want b and c", got, err)
	}
	for i := range 10000 {
		write(t, w, "%s\n", number(i))
	}
	reader = r.NewReader(3, false)
	for i := range 10000 {
		write(t, w, "%s\n", number(i))
	}
	want := number(9997) + "\n" + number(9998) + "\n" + number(9999) + "\n"
	if got, err := rest(t.Context(), reader); got != want || !errors.Is(err, io.EOF) {
		t.Errorf("read %.100q, %v; want the three lines, which are history now", got, err)
	}
}

func TestFollowGetsWhatIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, 0)
		w := s.Open("x")
		write(t, w, "a\nb\n")
		ctx, cancel := context.WithCancel(t.Context())
		type result struct {
			text string
			err  error
		}
		results := map[int]chan result{0: nil, 1: nil, All: nil}
		for tail := range results {
			c := make(chan result, 1)
			results[tail] = c
			r := s.Ring("x").NewReader(tail, true)
			go func() {
				text, err := rest(ctx, r)
				c <- result{text, err}
			}()
		}
		synctest.Wait()
		write(t, w, "c")
		synctest.Wait()
		write(t, w, "\nd\n")
		time.Sleep(time.Second)
		cancel()
		for tail, want := range map[int]string{0: "c\nd\n", 1: "b\nc\nd\n", All: "a\nb\nc\nd\n"} {
			if got := <-results[tail]; got.text != want || !errors.Is(got.err, context.Canceled) {
				t.Errorf("follow from %d = %q, %v; want %q, canceled", tail, got.text, got.err, want)
			}
		}
	})
}

func TestRemoveEndsReadersAndSilencesWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, 0)
		w := s.Open("x")
		write(t, w, "a\n")
		r := s.Ring("x").NewReader(All, true)
		ended := make(chan error, 1)
		go func() {
			_, err := rest(t.Context(), r)
			ended <- err
		}()
		synctest.Wait()
		s.Remove("x")
		s.Remove("x")
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Errorf("the reader ended with %v; want EOF", err)
		}
		write(t, w, "b\n")
		if ids := s.IDs(); len(ids) != 0 {
			t.Errorf("IDs = %v; want none", ids)
		}
	})
}

func TestWhatWasReadStaysAsItIs(t *testing.T) {
	r := newSet(t, 0).Ring("x")
	w := r.NewWriter()
	for i := range 10000 { // until the open chunk has its full size
		write(t, w, "%s\n", number(i))
	}
	write(t, w, "first\n")
	got, err := r.NewReader(1, false).Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10000 { // its memory is used again
		write(t, w, "%s\n", number(i))
	}
	if string(got) != "first\n" {
		t.Errorf("what was read has become %q", got)
	}
}

func TestASlowReaderSkipsAheadAndIsTold(t *testing.T) {
	r := newSet(t, 128<<10).Ring("x")
	w := r.NewWriter()
	write(t, w, "first\n")
	slow := r.NewReader(All, true)
	if got, err := slow.Next(t.Context()); err != nil || string(got) != "first\n" {
		t.Fatalf("Next = %q, %v; want the first line", got, err)
	}
	for i := range 50000 {
		write(t, w, "%s\n", number(i))
	}
	held := int(r.Stats().HeldLines)
	if held >= 50000 {
		t.Fatal("nothing was dropped; the test wants it")
	}
	got, err := slow.Next(t.Context())
	if want := Skipped(uint64(50000-held)) + "\n"; err != nil || string(got) != want {
		t.Errorf("Next = %q, %v; want %q", got, err, want)
	}
	next := 50000 - held
	for next < 50000 {
		lines, err := slow.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(lines)) {
			if line != number(next)+"\n" {
				t.Fatalf("line = %q; want %q", line, number(next))
			}
			next++
		}
	}
	if got := r.NewReader(All, false); got.next != uint64(1+50000-held) {
		t.Errorf("a new reader begins at %d; want the oldest line, and no marker", got.next)
	}
}

// TestManyWritersAndReaders is for the race detector, and checks that each reader gets each writer's lines in order.
func TestManyWritersAndReaders(t *testing.T) {
	const writers, lines = 4, 3000
	r := newSet(t, 0).Ring("x")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers, writing sync.WaitGroup
	for range 3 {
		reader := r.NewReader(All, true)
		readers.Go(func() {
			next := [writers]int{}
			for got := 0; got < writers*lines; {
				text, err := reader.Next(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				for line := range strings.Lines(string(text)) {
					var who, what int
					if _, err := fmt.Sscanf(line, "%d %d\n", &who, &what); err != nil || what != next[who] {
						t.Errorf("line %q, %v; want number %d", line, err, next[who])
						return
					}
					next[who]++
					got++
				}
			}
		})
	}
	for who := range writers {
		writing.Go(func() {
			w := r.NewWriter()
			for i := range lines {
				fmt.Fprintf(w, "%d ", who)
				fmt.Fprintf(w, "%d\n", i)
			}
		})
	}
	writing.Wait()
	readers.Wait()
}

func TestALimitWithoutRoomForHistoryIsRefused(t *testing.T) {
	if _, err := NewSet(100 << 10); err == nil {
		t.Error("NewSet(100 KiB) = nil error; want one")
	}
}

// FuzzWriter checks that the lines that come out are those that went in, however they were cut into writes.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), uint8(1), uint16(0))
	f.Add([]byte("abc"), uint8(2), uint16(maxLine))
	f.Add([]byte("\n"), uint8(200), uint16(maxLine-1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8, pad uint16) {
		in = append(bytes.Repeat([]byte{'p'}, int(pad)), in...)
		r := newSet(t, 0).Ring("x")
		w := r.NewWriter()
		for rest := in; len(rest) > 0; {
			n := min(len(rest), int(step)*97+1)
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		w.Close()
		got, err := rest(t.Context(), r.NewReader(All, false))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		var want strings.Builder
		for line := range strings.Lines(string(in)) {
			line = strings.TrimSuffix(line, "\n")
			for len(line) > maxLine-1 {
				want.WriteString(line[:maxLine-1] + "\n")
				line = line[maxLine-1:]
			}
			want.WriteString(line + "\n")
		}
		if got != want.String() {
			t.Errorf("the ring has %d bytes; want %d", len(got), want.Len())
		}
	})
}

func TestRingsTellsOfThoseThatComeAndGo(t *testing.T) {
	s, err := NewSet(0)
	if err != nil {
		t.Fatal(err)
	}
	s.Ring("a")
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	rings, changed := s.Rings()
	if len(rings) != 1 || rings["a"] != s.Ring("a") || closed(changed) {
		t.Errorf("Rings() = %v; want a, and no change", rings)
	}
	s.Ring("b")
	if !closed(changed) {
		t.Error("a ring came, and nobody was told")
	}
	_, changed = s.Rings()
	s.Remove("nothing")
	if closed(changed) {
		t.Error("told of a ring that was not there")
	}
	s.Remove("a")
	if !closed(changed) {
		t.Error("a ring went, and nobody was told")
	}
}
