package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/install"
	"talos.internal/internal/install/sdboot"
	"talos.internal/internal/metastore"
	"talos.internal/resource/runtime"
)

// release is what an installer image has.
type release struct{ assets install.Assets }

func (r release) Assets() install.Assets { return r.assets }
func (r release) Close() error           { return nil }

func blob(b []byte) install.Blob {
	return install.Blob{Reader: bytes.NewReader(b), Size: int64(len(b)), SHA256: sha256.Sum256(b)}
}

// version makes an installer of a version; more is added to its os-release.
func version(name, more string) (install.Assets, install.RootHash) {
	hash := install.RootHash(sha256.Sum256([]byte(name)))
	uki := program(
		".osrel", fmt.Sprintf("ID=talos\nVERSION_ID=%s\nPRETTY_NAME=\"Talos (%s)\"\n%s", name, name, more),
		".cmdline", "roothash="+hex.EncodeToString(hash[:]),
	)
	return install.Assets{UKI: blob(uki), Root: blob(bytes.Repeat([]byte(name), 9000)), BootLoader: blob(make([]byte, 5000))}, hash
}

// program is a PE file with sections, given as names and contents.
func program(sections ...string) []byte {
	const pe, optional = 64, 240
	b := make([]byte, 512)
	copy(b, "MZ")
	b[60] = pe
	copy(b[pe:], "PE\x00\x00\x64\x86")
	b[pe+6], b[pe+20] = byte(len(sections)/2), optional
	copy(b[pe+24:], "\x0b\x02")
	copy(b[pe+24+36:], "\x00\x02") // contents at multiples of 512 bytes
	b[pe+24+108] = 16
	for i := 0; i < len(sections); i += 2 {
		h := b[pe+24+optional+i/2*40:]
		content := sections[i+1]
		copy(h, sections[i])
		h[8], h[9] = byte(len(content)), byte(len(content)>>8)
		h[17] = 2
		h[21] = byte(len(b) >> 8)
		b = append(b, append([]byte(content), make([]byte, 512-len(content))...)...)
	}
	return b
}

const diskSize = 8 << 30

// part is a partition of a file.
type part struct {
	*os.File
	at, size int64
}

func (p part) ReadAt(b []byte, off int64) (int, error)  { return p.File.ReadAt(b, p.at+off) }
func (p part) WriteAt(b []byte, off int64) (int, error) { return p.File.WriteAt(b, p.at+off) }
func (p part) Sync() error                              { return nil }
func (p part) Close() error                             { return nil }
func (p part) Size() int64                              { return p.size }
func (p part) SectorSize() int                          { return 512 }

// machine has version 1.0 installed, and runs it.
type machine struct {
	*Engine
	t         *testing.T
	disk      *os.File
	installer map[string]install.Assets
	opened    []int // partitions that were opened
	said      []string
	changed   int
	forbidden error
	held      int // what Allowed holds
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(diskSize); err != nil {
		t.Fatal(err)
	}
	a, hash := version("1.0", "TALOS_CONFIG_FORMAT=2\n")
	p, err := install.PlanInstall(install.Request{
		Disk: install.Disk{Name: "vda", Size: diskSize, SectorSize: 512}, UKI: a.UKI.Size, Root: a.Root.Size, BootLoader: a.BootLoader.Size, RootHash: hash, Seed: "x",
		Meta: metastore.Values{metastore.MetalNetworkPlatform: "net"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := install.Execute(t.Context(), p, &install.Recorder{Target: part{f, 0, diskSize}}, a, nil); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, disk: f, installer: map[string]install.Assets{}}
	partition := func(number int) (Device, error) {
		m.opened = append(m.opened, number)
		for _, x := range p.Table.Partitions {
			if x.Number == number {
				return part{f, x.Offset, x.Size}, nil
			}
		}
		return nil, os.ErrNotExist
	}
	m.Engine = &Engine{
		Disk: func(context.Context) (Disk, error) {
			return Disk{Name: "vda", Whole: func() (Device, error) { return part{f, 0, diskSize}, nil }, Claim: partition, Share: partition}, nil
		},
		Running: hash,
		Open: func(_ context.Context, o Order, _ func(string) error) (Installer, error) {
			a, ok := m.installer[o.Image]
			if !ok {
				return nil, os.ErrNotExist
			}
			return release{a}, nil
		},
		Allowed: func(context.Context) (func(), error) { m.held++; return func() { m.held-- }, m.forbidden },
		Changed: func() { m.changed++ },
	}
	return m
}

func (m *machine) say(line string) error {
	m.said = append(m.said, line)
	return nil
}

// boots starts the machine as the boot loader would, and returns the version that runs.
func (m *machine) boots() string {
	m.t.Helper()
	s, err := install.ReadSystem(part{m.disk, 0, diskSize}, diskSize, 512)
	if err != nil {
		m.t.Fatal(err)
	}
	i, ok := s.Next()
	if !ok {
		m.t.Fatal("nothing to start")
	}
	if name := sdboot.Bump(i.File); name != i.File {
		plan, err := s.PlanBump()
		if err != nil {
			m.t.Fatal(err)
		}
		if err := install.Execute(m.t.Context(), plan, &install.Recorder{Target: part{m.disk, 0, diskSize}}, install.Assets{}, nil); err != nil {
			m.t.Fatal(err)
		}
	}
	m.Running = i.Root
	return i.Version
}

func (m *machine) look() (Record, bool) {
	m.t.Helper()
	r, _, trial, ok, err := m.Look(m.t.Context())
	if err != nil || !ok {
		m.t.Fatalf("Look = %+v, %t, %v", r, ok, err)
	}
	return r, trial
}

func TestAnUpgradeIsTriedAndKept(t *testing.T) {
	m := newMachine(t)
	if _, _, _, ok, err := m.Look(t.Context()); ok || err != nil {
		t.Fatalf("Look before any upgrade = %t, %v", ok, err)
	}
	m.installer["i:2"], _ = version("2.0", "TALOS_CONFIG_FORMAT=2\n")
	if err := m.Upgrade(t.Context(), Order{ID: "id", Image: "i:2"}, m.say); err != nil {
		t.Fatal(err)
	}
	if r, trial := m.look(); r.Phase != runtime.UpgradePrepared || trial || r.From != install.SlotA || r.ToVersion != "2.0" || r.FromVersion != "1.0" || r.ID != "id" {
		t.Errorf("prepared: %+v, %t", r, trial)
	}
	if text := strings.Join(m.said, "\n"); !strings.Contains(text, "version 2.0 goes to slot B of vda; slot A (1.0) runs and stays") || !strings.Contains(text, "copy 9") && !strings.Contains(text, "copy") {
		t.Errorf("it says:\n%s", text)
	}
	if m.changed == 0 {
		t.Error("nobody is told that META has changed")
	}
	if v := m.boots(); v != "2.0" {
		t.Fatalf("%s is started", v)
	}
	r, trial := m.look()
	if !trial {
		t.Fatalf("the new system is not on trial: %+v", r)
	}
	if err := m.Upgrade(t.Context(), Order{Image: "i:2"}, m.say); !errors.Is(err, install.ErrOnTrial) {
		t.Errorf("an upgrade of what is on trial = %v", err)
	}
	if r, err := m.Confirm(t.Context(), r); err != nil || r.Phase != runtime.UpgradePermanent {
		t.Errorf("Confirm = %+v, %v", r, err)
	}
	if v := m.boots(); v != "2.0" {
		t.Errorf("%s is started; want 2.0", v)
	}
	if r, trial := m.look(); trial || r.Phase != runtime.UpgradePermanent {
		t.Errorf("after that: %+v", r)
	}
	// And back, which is tried as well; a cut of power in the trial ends it.
	if err := m.Rollback(t.Context(), Order{ID: "back"}, m.say); err != nil {
		t.Fatal(err)
	}
	if v := m.boots(); v != "1.0" {
		t.Errorf("%s is started after a rollback", v)
	}
	if v := m.boots(); v != "2.0" {
		t.Errorf("%s is started after a rollback that broke off", v)
	}
	if r, trial := m.look(); trial || r.Phase != runtime.UpgradeFailed || !strings.Contains(r.Reason, "before it could prove itself") || !r.Rollback {
		t.Errorf("after a rollback that broke off: %+v", r)
	}
}

func TestAnUpgradeThatFailsSaysWhy(t *testing.T) {
	m := newMachine(t)
	m.installer["i:2"], _ = version("2.0", "TALOS_CONFIG_FORMAT=3\n")
	if err := m.Upgrade(t.Context(), Order{Image: "i:2"}, m.say); err != nil {
		t.Fatal(err)
	}
	m.boots()
	r, _ := m.look()
	if _, err := m.Return(t.Context(), r, "kubelet is not ready"); err != nil {
		t.Fatal(err)
	}
	if v := m.boots(); v != "1.0" {
		t.Errorf("%s is started", v)
	}
	if r, trial := m.look(); trial || r.Phase != runtime.UpgradeFailed || r.Reason != "kubelet is not ready" {
		t.Errorf("the record is %+v", r)
	}
	if err := m.Rollback(t.Context(), Order{}, m.say); !errors.Is(err, install.ErrNoOther) {
		t.Errorf("a rollback to what failed = %v", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	m := newMachine(t)
	m.installer["old"], _ = version("0.9", "TALOS_CONFIG_FORMAT=1\n")
	m.installer["older"], _ = version("0.8", "")
	m.installer["same"], _ = version("1.0", "TALOS_CONFIG_FORMAT=2\n")
	m.installer["new"], _ = version("2.0", "TALOS_CONFIG_FORMAT=2\n")
	for image, want := range map[string]string{
		"none": "file does not exist", "old": "would not understand its config", "older": "reads machine configs of format 1", "same": "runs this system already",
	} {
		if err := m.Upgrade(t.Context(), Order{Image: image}, m.say); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Upgrade by %s = %v; want %q", image, err, want)
		}
		if m.held != 0 {
			t.Errorf("after a refusal something is held")
		}
		if r, trial := m.look(); trial || r.Phase != runtime.UpgradeFailed || !r.Refused || r.Image != image || !strings.Contains(r.Reason, want) {
			t.Errorf("after a refusal the record is %+v", r)
		}
	}
	untrusted := errors.New("nobody signed it")
	m.Trusted = func(install.Blob) error { return untrusted }
	if err := m.Upgrade(t.Context(), Order{Image: "new", Force: true}, m.say); !errors.Is(err, untrusted) {
		t.Errorf("Upgrade by what the firmware refuses = %v; want %v", err, untrusted)
	}
	m.Trusted = nil
	m.forbidden = errors.New("etcd would lose its quorum")
	if err := m.Upgrade(t.Context(), Order{Image: "new"}, m.say); !errors.Is(err, m.forbidden) {
		t.Errorf("Upgrade = %v; want %v", err, m.forbidden)
	}
	if r, _ := m.look(); r.Reason != m.forbidden.Error() || r.FromVersion != "1.0" {
		t.Errorf("after what is not allowed the record is %+v", r)
	}
	gone := errors.New("the caller is gone")
	if err := m.Upgrade(t.Context(), Order{Image: "new", Force: true}, func(string) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("Upgrade for nobody = %v", err)
	}
	if v := m.boots(); v != "1.0" {
		t.Errorf("%s is started", v)
	}
	m.writing.Lock()
	if err := m.Upgrade(t.Context(), Order{Image: "new", Force: true}, m.say); !errors.Is(err, ErrUnderWay) {
		t.Errorf("a second upgrade = %v", err)
	}
	m.writing.Unlock()
}

// What can still be started is what the record is of, whatever is refused afterwards.
func TestARefusalLeavesWhatIsPrepared(t *testing.T) {
	m := newMachine(t)
	m.installer["i:2"], _ = version("2.0", "TALOS_CONFIG_FORMAT=2\n")
	m.installer["broken"], _ = version("3.0", "TALOS_CONFIG_FORMAT=2\n")
	// Too much for its partition: found out before the first write.
	large := m.installer["broken"]
	large.Root.Size = diskSize
	m.installer["large"] = large
	// Less than it says: found out while it is written.
	broken := m.installer["broken"]
	broken.Root.Size++
	m.installer["broken"] = broken
	if err := m.Upgrade(t.Context(), Order{ID: "first", Image: "i:2"}, m.say); err != nil {
		t.Fatal(err)
	}
	if err := m.Upgrade(t.Context(), Order{ID: "second", Image: "large"}, m.say); err == nil {
		t.Fatal("an upgrade that has no room is done")
	}
	if r, _ := m.look(); r.ID != "first" || r.Phase != runtime.UpgradePrepared {
		t.Errorf("after a refusal the record is %+v; want that of what is prepared", r)
	}
	if err := m.Upgrade(t.Context(), Order{ID: "third", Image: "broken"}, m.say); err == nil {
		t.Fatal("an upgrade by a broken image is done")
	}
	if r, _ := m.look(); r.ID != "third" || r.Phase != runtime.UpgradeFailed || !r.Refused || !strings.Contains(r.Reason, "EOF") {
		t.Errorf("after an upgrade that broke off the record is %+v", r)
	}
	if v := m.boots(); v != "1.0" {
		t.Errorf("%s is started", v)
	}
	// A caller that does not hear the last word has prepared all the same.
	gone := errors.New("the caller is gone")
	err := m.Upgrade(t.Context(), Order{ID: "fourth", Image: "i:2"}, func(line string) error {
		if strings.Contains(line, "is tried at the next start") {
			return gone
		}
		return nil
	})
	if !errors.Is(err, gone) {
		t.Errorf("Upgrade for nobody = %v", err)
	}
	if r, _ := m.look(); r.ID != "fourth" || r.Phase != runtime.UpgradePrepared {
		t.Errorf("the record is %+v; want what is prepared", r)
	}
	if v := m.boots(); v != "2.0" {
		t.Errorf("%s is started", v)
	}
	opened := 0
	m.Open = func(context.Context, Order, func(string) error) (Installer, error) {
		opened++
		return nil, os.ErrNotExist
	}
	if err := m.Upgrade(t.Context(), Order{ID: "fifth", Image: "i:2", Force: true}, m.say); !errors.Is(err, install.ErrOnTrial) || opened > 0 {
		t.Errorf("an upgrade of what is on trial = %v, and its image is opened %d times", err, opened)
	}
	if r, trial := m.look(); !trial || r.ID != "fourth" {
		t.Errorf("after that: %+v, on trial %t", r, trial)
	}
}

func TestThePartitionThatRunsIsNotOpened(t *testing.T) {
	m := newMachine(t)
	if _, _, _, _, err := m.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.opened {
		if n == 2 {
			t.Error("ROOT-A, which runs, was opened to be written")
		}
	}
}

func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	a := install.Image{Entry: sdboot.Entry{File: "talos-A.efi"}, Slot: install.SlotA}
	b := func(file string) install.Image {
		return install.Image{Entry: sdboot.Entry{File: file}, Slot: install.SlotB}
	}
	prepared := Record{From: install.SlotA, To: install.SlotB, Phase: runtime.UpgradePrepared}
	for _, tc := range []struct {
		name    string
		running install.Slot
		images  []install.Image
		next    install.Slot
		want    verdict
		reason  string
	}{
		{"nobody restarted", install.SlotA, []install.Image{a, b("talos-B+1.efi")}, install.SlotB, nothing, ""},
		{"cut before the last write", install.SlotA, []install.Image{a, b("talos-B+1.efi")}, install.SlotA, settle, "has not been tried"},
		{"cut before the entry", install.SlotA, []install.Image{a}, install.SlotA, settle, "before the new system was complete"},
		{"it is tried", install.SlotB, []install.Image{a, b("talos-B+0-1.efi")}, install.SlotA, trial, ""},
		{"it was made permanent, but for the record", install.SlotB, []install.Image{a, b("talos-B.efi")}, install.SlotB, trial, ""},
		{"it broke off", install.SlotA, []install.Image{a, b("talos-B+0-1.efi")}, install.SlotA, settle, "started (1 times) and ended before it could prove itself"},
		{"it broke off at the very end", install.SlotA, []install.Image{a, b("talos-B.efi")}, install.SlotA, settle, "made permanent"},
	} {
		r, v := judge(prepared, tc.running, tc.images, tc.next, now)
		if v != tc.want || !strings.Contains(r.Reason, tc.reason) || (v == settle) != (r.Phase == runtime.UpgradeFailed) {
			t.Errorf("%s: judge = %+v, %d; want %d, %q", tc.name, r, v, tc.want, tc.reason)
		}
	}
	done := prepared
	done.Phase = runtime.UpgradePermanent
	if r, v := judge(done, install.SlotA, []install.Image{a}, install.SlotA, now); v != nothing || r != done {
		t.Errorf("judge of what has ended = %+v, %d", r, v)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(`{"id":"x","from":"A","to":"B","phase":"prepared","started":"2026-11-28T20:00:00Z"}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, ok, err := ParseRecord(s)
		if err == nil && ok {
			if again, _, err := ParseRecord(*r.changes()[Key]); err != nil || again.Phase != r.Phase {
				t.Errorf("%+v is read again as %+v, %v", r, again, err)
			}
		}
	})
}
