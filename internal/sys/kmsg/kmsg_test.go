package kmsg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Record
	}{
		{"of the kernel", "5,0,0,-;Linux version 6.18\n", Record{Facility: Kernel, Priority: Notice, Message: "Linux version 6.18"}},
		{"with tags", "6,194,289551,-;acpi: _OSC\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A08:00\n", Record{
			Priority: Info, Sequence: 194, Time: 289551 * time.Microsecond, Message: "acpi: _OSC",
			Tags: map[string]string{"SUBSYSTEM": "acpi", "DEVICE": "+acpi:PNP0A08:00"}}},
		{"of a program, with a caller and a semicolon", "12,7,1000000,c,caller=T1;a;b", Record{
			Facility: User, Priority: Warning, Sequence: 7, Time: time.Second, Continue: true, Message: "a;b"}},
		{"with an escape", `30,8,5,-;red \x1b[31m` + "\n", Record{Facility: Daemon, Priority: Info, Sequence: 8, Time: 5 * time.Microsecond, Message: `red \x1b[31m`}},
		{"of no text", "6,1,1,-;\n", Record{Priority: Info, Sequence: 1, Time: time.Microsecond}},
		{"of several lines", "6,1,1,-;a\nb\n K=v\n", Record{Priority: Info, Sequence: 1, Time: time.Microsecond, Message: "a\nb", Tags: map[string]string{"K": "v"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse([]byte(tc.in))
			if d := cmp.Diff(tc.want, got); d != "" || err != nil {
				t.Errorf("Parse() error %v (-want +got):\n%s", err, d)
			}
		})
	}
	for _, bad := range []string{"", "no prefix", "6,1,1;x", "x,1,1,-;x", "6,-1,1,-;x", "6,1,z,-;x"} {
		if r, err := Parse([]byte(bad)); err == nil {
			t.Errorf("Parse(%q) = %+v; want an error", bad, r)
		}
	}
}

func TestLine(t *testing.T) {
	boot := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	r := Record{Facility: User, Priority: Warning, Time: 1500 * time.Millisecond, Message: "hello"}
	if got, want := r.Line(boot), "user: warning: [2026-01-02T02:04:06.5Z]: hello"; got != want {
		t.Errorf("Line() = %s; want %s", got, want)
	}
	if got := fmt.Sprint(Facility(23), Facility(99), Priority(9)); got != "local7 99 9" {
		t.Errorf("names = %s", got)
	}
}

// log returns a file that gives one record for each read and nothing in between, as the device does: a socket. What is
// sent to the function returned is a record; sending "" ends it.
func log(t *testing.T, records ...string) (*os.File, func(string)) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, w := os.NewFile(uintptr(fds[0]), "log"), os.NewFile(uintptr(fds[1]), "writer")
	t.Cleanup(func() { f.Close(); w.Close() })
	send := func(s string) {
		if s == "" {
			w.Close()
		} else if _, err := w.WriteString(s); err != nil {
			t.Error(err)
		}
	}
	for _, r := range records {
		send(r)
	}
	return f, send
}

func TestReadEndsWhereTheRingEnds(t *testing.T) {
	f, _ := log(t, "6,1,0,-;one\n", "broken", "6,2,0,-;two\n")
	var got []string
	err := follow(t.Context(), f, unix.Read, false, func(r Record) error {
		got = append(got, r.Message)
		return nil
	})
	if d := cmp.Diff([]string{"one", "broken", "two"}, got); d != "" || err != nil {
		t.Errorf("records, error %v (-want +got):\n%s", err, d)
	}
}

func TestReadGoesOnAfterWhatWasOverwritten(t *testing.T) {
	f, _ := log(t, "6,1,0,-;one\n", "6,9,0,-;nine\n")
	calls := 0
	read := func(fd int, b []byte) (int, error) {
		calls++
		switch calls {
		case 2:
			return -1, unix.EPIPE
		case 3:
			return -1, unix.EINTR
		}
		return unix.Read(fd, b)
	}
	var got []uint64
	err := follow(t.Context(), f, read, false, func(r Record) error {
		got = append(got, r.Sequence)
		return nil
	})
	if d := cmp.Diff([]uint64{1, 9}, got); d != "" || err != nil {
		t.Errorf("sequence, error %v (-want +got):\n%s", err, d)
	}
	if err := follow(t.Context(), f, func(int, []byte) (int, error) { return -1, unix.EIO }, true, nil); !errors.Is(err, unix.EIO) {
		t.Errorf("follow() = %v; want EIO", err)
	}
}

func TestFollowWaitsUntilTheContextIsDone(t *testing.T) {
	f, send := log(t, "6,1,0,-;one\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var got []string
	err := follow(ctx, f, unix.Read, true, func(r Record) error {
		got = append(got, r.Message)
		switch r.Message {
		case "one":
			go send("6,2,0,-;two\n")
		case "two":
			go cancel(enough)
		}
		return nil
	})
	if d := cmp.Diff([]string{"one", "two"}, got); d != "" || !errors.Is(err, enough) {
		t.Errorf("records, error %v; want %v (-want +got):\n%s", err, enough, d)
	}
}

func TestAnErrorOfTheCallerEndsTheRead(t *testing.T) {
	f, _ := log(t, "6,1,0,-;one\n", "6,2,0,-;two\n")
	enough := errors.New("enough")
	n := 0
	if err := follow(t.Context(), f, unix.Read, true, func(Record) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("follow() = %v after %d; want %v after 1", err, n, enough)
	}
}

func TestWriterCutsLinesIntoRecords(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "dev", "kmsg")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(root, Daemon, Info)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1018) + "ä" + strings.Repeat("y", 1200)
	text := "one\n\ntwo\n" + long
	if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("Write() = %d, %v; want %d", n, err, len(text))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write(after Close) = nil; want an error")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got, lengths []string
	for _, l := range strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n") {
		if len(l) > maxLine {
			t.Errorf("a record has %d bytes; the kernel takes %d", len(l), maxLine)
		}
		got = append(got, strings.TrimSpace(l))
		lengths = append(lengths, fmt.Sprint(len(l)))
	}
	if got[0] != "<30>one" || got[1] != "<30>two" || len(got) != 5 || strings.ReplaceAll(strings.Join(got[2:], ""), "<30>", "") != long {
		t.Errorf("records of %v bytes: %.20q; want one, two, and the long line in three parts", lengths, got)
	}
	if strings.ContainsRune(strings.ToValidUTF8(string(b), "\uFFFD"), '\uFFFD') {
		t.Error("a character was broken")
	}
}

func TestNoLog(t *testing.T) {
	if err := Read(t.Context(), t.TempDir(), Options{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() = %v; want fs.ErrNotExist", err)
	}
	if _, err := NewWriter(t.TempDir(), User, Info); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewWriter() = %v; want fs.ErrNotExist", err)
	}
}

func TestTheLogOfThisMachine(t *testing.T) {
	w, err := NewWriter("", User, Debug)
	if err != nil {
		t.Skipf("the log of the kernel cannot be written: %v", err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	mark := fmt.Sprintf("test of package kmsg, process %d", os.Getpid())
	n, last := 0, uint64(0)
	err = Read(ctx, "", Options{}, func(r Record) error {
		if n++; n > 1 && r.Sequence <= last {
			t.Errorf("record %d comes after %d", r.Sequence, last)
		}
		last = r.Sequence
		return nil
	})
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("the log of the kernel cannot be read: %v", err)
	}
	if err != nil || n == 0 {
		t.Fatalf("Read() = %d records, %v", n, err)
	}
	// It is written until it comes: the kernel may drop lines when many write.
	found := errors.New("found")
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := fmt.Fprintln(w, mark); err != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	err = Read(ctx, "", Options{Follow: true, Tail: true}, func(r Record) error {
		if r.Sequence <= last {
			t.Errorf("record %d was there before the tail", r.Sequence)
		}
		if r.Message != mark {
			return nil
		}
		if r.Facility != User || r.Priority != Debug {
			t.Errorf("record = %+v", r)
		}
		return found
	})
	if !errors.Is(err, found) {
		t.Errorf("Read(follow) = %v; want the line that was written", err)
	}
}

func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("testdata/records")
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range strings.SplitAfter(string(b), "\n") {
		f.Add([]byte(r))
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err == nil && (r.Time < 0 || len(r.Message) > len(b) || r.Priority > Debug) {
			t.Errorf("Parse(%q) = %+v", b, r)
		}
	})
}
