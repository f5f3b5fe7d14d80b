package node

import (
	"log/slog"
	"testing"

	"talos.internal/internal/sys/cgroup"
)

func TestProgramsAreFrugalWhereThereIsLittleMemory(t *testing.T) {
	for memory, want := range map[int64]string{0: "", 2 << 30: "50", 4 << 30: "50", 4<<30 + 1: "", 64 << 30: ""} {
		if got := garbageOf(memory); got != want {
			t.Errorf("garbageOf(%d) = %q; want %q", memory, got, want)
		}
	}
	groups, err := cgroup.Detect("")
	if err != nil {
		groups = nil
	}
	if m := memory(groups, slog.New(slog.DiscardHandler)); m < 64<<20 {
		t.Errorf("this computer has %d bytes of memory", m)
	}
}
