package process

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/sys/proc"
)

const maps = `00400000-0120d000 r-xp 00000000 00:1c 4711                               /usr/sbin/init
0120d000-022a0000 r--p 00e0d000 00:1c 4711                               /usr/sbin/init
022a0000-02333000 rw-p 01ea0000 00:1c 4711                               /usr/sbin/init
02333000-04381000 rw-p 00000000 00:00 0 
277756000000-277756800000 rw-p 00000000 00:00 0 
7feef40d0000-7feef4400000 r--p 00000000 00:1c 12                         /etc/ssl/certs/ca certificates.crt
7feef4400000-7feef4500000 r--s 00000000 00:1c 4711                       /usr/sbin/init
7ffd4a1c2000-7ffd4a1e3000 rw-p 00000000 00:00 0                          [stack]
`

func TestProgramSpansAreWhatCannotBeWritten(t *testing.T) {
	got, err := programSpans(strings.NewReader(maps), "/usr/sbin/init")
	want := []span{{0x400000, 0x120d000}, {0x120d000, 0x22a0000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(span{})); err != nil || diff != "" {
		t.Errorf("programSpans: %v, (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"x-2 r-xp 0 0 0 /f", "1-y r-xp 0 0 0 /f", "2-1 r-xp 0 0 0 /f", "1 r-xp 0 0 0 /f"} {
		if got, err := programSpans(strings.NewReader(bad), "/f"); err == nil {
			t.Errorf("programSpans(%q) = %v; want an error", bad, got)
		}
	}
}

func FuzzProgramSpans(f *testing.F) {
	f.Add(maps, "/usr/sbin/init")
	f.Fuzz(func(t *testing.T, text, file string) {
		spans, _ := programSpans(strings.NewReader(text), file)
		for _, s := range spans {
			if s.to <= s.from {
				t.Errorf("span %x-%x", s.from, s.to)
			}
		}
	})
}

func TestSettleGivesBackWhatTheStartTouched(t *testing.T) {
	resident := func() uint64 {
		t.Helper()
		p, err := proc.Reader{}.Process(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return p.Resident
	}
	before := resident()
	if err := Settle(); err != nil {
		t.Fatal(err)
	}
	after := resident()
	t.Logf("resident were %d KiB and are %d", before>>10, after>>10)
	if after >= before {
		t.Errorf("after Settle %d bytes are resident; before it were %d", after, before)
	}
	if _, err := programSpans(strings.NewReader(maps), "/usr/sbin/init"); err != nil { // the program still runs
		t.Error(err)
	}
}
