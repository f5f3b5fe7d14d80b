package metal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"talos.internal/internal/image/assets"
	"talos.internal/internal/install"
)

// state is what a disk is after a cut of power: these writes on top of what it was.
type state struct {
	name   string
	writes []install.Record
}

// metadata is the most that a write has which is not contents.
const metadata = 64 << 10

// sample chooses states from what was written: at each write that is not of contents, before it, torn in two, and it alone of those since the last flush;
// and in the middle of the contents.
func sample(log []install.Record) []state {
	var durable, pending []install.Record
	var out []state
	add := func(i int, how string, more ...install.Record) {
		out = append(out, state{fmt.Sprintf("write-%d-%s", i, how), append(slices.Clone(durable), more...)})
	}
	contents := 0
	for i, w := range log {
		if w.Data == nil {
			durable, pending = append(durable, pending...), nil
			continue
		}
		if len(w.Data) > metadata {
			if contents++; contents%40 == 20 {
				add(i, "contents", append(slices.Clone(pending), w)...)
			}
		} else {
			add(i, "before", pending...)
			if n := len(w.Data) / 1024 * 512; n > 0 {
				add(i, "torn", append(slices.Clone(pending), install.Record{Offset: w.Offset, Data: w.Data[:n]})...)
			}
			if len(pending) > 0 {
				add(i, "alone", w)
			}
		}
		pending = append(pending, w)
	}
	add(len(log), "all", pending...)
	return out
}

// recorder returns what notes a log.
func recorder(log *[]install.Record) func(install.Record) {
	return func(r install.Record) {
		*log = append(*log, install.Record{Offset: r.Offset, Data: bytes.Clone(r.Data)})
	}
}

// laid calls f while a disk has some writes on top of what it has.
func laid(t *testing.T, disk *os.File, writes []install.Record, f func()) {
	t.Helper()
	must := func(_ int, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var before []install.Record
	for _, w := range writes {
		old := make([]byte, len(w.Data))
		must(disk.ReadAt(old, w.Offset))
		before = append(before, install.Record{Offset: w.Offset, Data: old})
		must(disk.WriteAt(w.Data, w.Offset))
	}
	f()
	for _, w := range slices.Backward(before) {
		must(disk.WriteAt(w.Data, w.Offset))
	}
}

// chosen are what boot loader and initramfs say on a console of what they start: the root hash, and the partition.
func chosen(console string) (hash, partition string) {
	_, line, _ := strings.Cut(console, commandLine)
	line, _, _ = strings.Cut(line, "\n")
	for word := range strings.FieldsSeq(line) {
		if h, ok := strings.CutPrefix(word, "roothash="); ok {
			hash = h
		}
	}
	_, rest, _ := strings.Cut(console, foundRoot)
	return hash, strings.TrimSpace(rest[:min(len(rest), 1)])
}

const (
	foundRoot = "found partition /dev/vda" // said by the initramfs
	nothing   = "No bootable option or device was found"
)

// What a disk is after a cut of power starts what the code says that reads it as boot loader and initramfs do: TestPowerCutAtEveryWrite asks that
// code of thousands of states; these are some of them.
func TestStatesAfterACutUpgradeStart(t *testing.T) {
	first := sameVersion(t)
	next, _ := anotherVersion(t, "test.slot=B", nil)
	var log []install.Record
	name := upgradedDisk(t, first, next, assets.DiskOptions{}, recorder(&log))
	// The disk from before the upgrade: the same build again.
	if err := first.WriteDisk(t.Context(), assets.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	disk := reopened(t, name)
	eachStartsAsPredicted(t, disk, sample(log))
}

// The same of the moment at which a version on trial becomes permanent.
func TestStatesAfterACutConfirmationStart(t *testing.T) {
	next, _ := anotherVersion(t, "test.slot=B", nil)
	disk := reopened(t, upgradedDisk(t, sameVersion(t), next, assets.DiskOptions{}, nil))
	st, err := disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := install.ReadSystem(disk, st.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	bump, err := s.PlanBump() // as the boot loader does, which has started it
	if err == nil {
		err = install.Execute(t.Context(), bump, &install.Recorder{Target: part{disk, 0, st.Size()}}, install.Assets{}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	var log []install.Record
	e := engine(t, disk, next, install.Assets{}, recorder(&log))
	r, running, trial, _, err := e.Look(t.Context())
	if err != nil || running != install.SlotB || !trial {
		t.Fatalf("Look = %v in slot %s, on trial %t, %v; want slot B on trial", r, running, trial, err)
	}
	before := make([]byte, 64<<20) // all that is written to is at the beginning, but META
	if _, err := disk.ReadAt(before, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Confirm(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt(before, 0); err != nil {
		t.Fatal(err)
	}
	eachStartsAsPredicted(t, disk, sample(log))
}

// reopened is a disk image that is open until the test ends.
func reopened(t *testing.T, name string) *os.File {
	t.Helper()
	disk, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	return disk
}

// An installation that was cut leaves a disk that starts nothing, or the system.
func TestStatesAfterACutInstallationStart(t *testing.T) {
	b := sameVersion(t)
	var log []install.Record
	name := filepath.Join(t.TempDir(), "disk")
	disk, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	a := install.Assets{UKI: blob(t, b, assets.UKI), Root: blob(t, b, assets.Root), BootLoader: blob(t, b, assets.BootLoader)}
	hash, err := install.ReadRootHash(a.UKI)
	if err != nil {
		t.Fatal(err)
	}
	size := install.ImageSize(0)
	if err := disk.Truncate(size); err != nil {
		t.Fatal(err)
	}
	p, err := install.PlanInstall(install.Request{
		Disk: install.Disk{Name: name, Size: size, SectorSize: 512}, UKI: a.UKI.Size, Root: a.Root.Size, BootLoader: a.BootLoader.Size, RootHash: hash, Seed: t.Name(), Image: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := install.Execute(t.Context(), p, &install.Recorder{Target: part{disk, 0, size}, Record: recorder(&log)}, a, nil); err != nil {
		t.Fatal(err)
	}
	if err := disk.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := disk.Truncate(size); err != nil {
		t.Fatal(err)
	}
	all := sample(log)
	eachStartsAsPredicted(t, disk, all[max(0, len(all)-6):]) // before that there is no partition table
}

// eachStartsAsPredicted expects a machine to start from a disk in each state what is predicted.
func eachStartsAsPredicted(t *testing.T, disk *os.File, states []state) {
	t.Helper()
	started := map[install.Slot]int{}
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			laid(t, disk, s.writes, func() { startsAsPredicted(t, disk, started) })
		})
	}
	t.Logf("started: %v", started)
}

// startsAsPredicted is eachStartsAsPredicted for the state that the disk is in. It counts what is predicted.
func startsAsPredicted(t *testing.T, disk *os.File, started map[install.Slot]int) {
	t.Helper()
	st, err := disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	vars := emptyVars(t)
	var want install.Image
	s, err := install.ReadSystem(disk, st.Size(), 512)
	if err == nil {
		want, _ = s.Next()
	}
	started[want.Slot]++
	if want.Slot == "" {
		if console := firmware(t, vars, disk.Name(), nothing); strings.Contains(console, commandLine) {
			t.Errorf("a system is started; want none:\n%s", console)
		}
		return
	}
	number := map[install.Slot]string{install.SlotA: "2", install.SlotB: "3"}[want.Slot]
	hash, partition := chosen(firmware(t, vars, disk.Name(), foundRoot+number))
	if hash != hex.EncodeToString(want.Root[:]) || partition != number {
		t.Errorf("the root %s on partition %s is started; want %x on %s (slot %s)", hash, partition, want.Root, number, want.Slot)
	}
	t.Logf("slot %s, as predicted", want.Slot)
}
