package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/gpt"
	"talos.internal/internal/install/sdboot"
	"talos.internal/internal/metastore"
)

const page = 4096

var zeroPage = make([]byte, page)

// medium is a disk in memory, as a layer over another one.
type medium struct {
	below *medium
	pages map[int64][]byte
}

func newMedium(below *medium) *medium { return &medium{below, map[int64][]byte{}} }

func (m *medium) page(i int64) []byte {
	for ; m != nil; m = m.below {
		if p, ok := m.pages[i]; ok {
			return p
		}
	}
	return zeroPage
}

func (m *medium) ReadAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); {
		at := off + int64(n)
		n += copy(b[n:], m.page(at / page)[at%page:])
	}
	return len(b), nil
}

func (m *medium) WriteAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); {
		at := off + int64(n)
		i, in := at/page, at%page
		part := b[n:min(len(b), n+int(page-in))]
		n += len(part)
		old := m.page(i)
		if bytes.Equal(old[in:int(in)+len(part)], part) {
			continue
		}
		fresh := bytes.Clone(old)
		copy(fresh[in:], part)
		m.pages[i] = fresh
	}
	return len(b), nil
}

func (m *medium) Sync() error { return nil }

// image makes a UKI: a PE file with the sections that the boot loader and the installer read, filled to a size.
func image(version string, hash RootHash, size int) []byte {
	sections := []struct{ name, content string }{
		{".osrel", fmt.Sprintf("NAME=Talos\nID=talos\nVERSION_ID=%s\nPRETTY_NAME=\"Talos (%s)\"\n", version, version)},
		{".cmdline", "console=ttyS0 roothash=" + hex.EncodeToString(hash[:])},
	}
	b := make([]byte, 512)
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[60:], 64)
	copy(b[64:], "PE\x00\x00")
	le.PutUint16(b[64+4:], 0x8664)
	le.PutUint16(b[64+6:], uint16(len(sections)))
	le.PutUint16(b[64+20:], 240) // of the optional header: PE32+, contents at multiples of 512 bytes, 16 directories
	le.PutUint16(b[64+24:], 0x20b)
	le.PutUint32(b[64+24+36:], 512)
	le.PutUint32(b[64+24+108:], 16)
	for i, s := range sections {
		h := b[64+24+240+i*40:]
		copy(h, s.name)
		le.PutUint32(h[8:], uint32(len(s.content)))
		le.PutUint32(h[16:], 512)
		le.PutUint32(h[20:], uint32(len(b)))
		b = append(b, s.content...)
		b = append(b, make([]byte, 512-len(s.content))...)
	}
	return append(b, bytes.Repeat([]byte(version+"~"), size/len(version))[:size-len(b)]...)
}

// version is a version of the system.
type version struct {
	Assets
	name string
	hash RootHash
	uki  []byte
}

func newVersion(name string, ukiSize, rootSize int) version {
	root := bytes.Repeat([]byte("root of "+name+"\n"), rootSize/8)[:rootSize]
	v := version{name: name, hash: RootHash(sha256.Sum256([]byte(name)))}
	v.uki = image(name, v.hash, ukiSize)
	v.Assets = Assets{UKI: blob(v.uki), Root: blob(root), BootLoader: blob(bytes.Repeat([]byte("loader"), 1001))}
	return v
}

// lab is a disk whose states after a cut of power are looked at.
type lab struct {
	t        *testing.T
	disk     *medium
	size     int64
	sector   int
	versions []version

	states, torn int
}

// system is what a disk starts from, found by the code that boots: the partition table, the EFI partition, the rules of the boot loader, and the
// root by its hash. complete says whether all of it is whole, everything whether that is true of each image that could be started.
type system struct {
	name                 string
	file                 string
	complete, everything bool
	conf                 string
	meta                 metastore.Values
}

func (l *lab) start(m *medium) (system, error) {
	s, err := ReadSystem(m, l.size, l.sector)
	if err != nil {
		return system{}, err
	}
	next, ok := s.Next()
	if !ok {
		return system{}, errors.New("the boot loader has nothing to start")
	}
	out := system{name: next.Version, file: next.File, conf: sdboot.Default(s.Conf), everything: true}
	for _, i := range s.Images {
		whole := l.whole(m, s, i)
		if i.File == next.File {
			out.complete = whole
		}
		out.everything = out.everything && whole
	}
	p, ok := s.Table.Find(LabelMeta)
	if !ok {
		return system{}, errors.New("no META")
	}
	c, _, err := metastore.Read(io.NewSectionReader(m, p.Offset, p.Size))
	out.meta = c.Values
	return out, err
}

func (l *lab) whole(m *medium, s *System, i Image) bool {
	k := slices.IndexFunc(l.versions, func(v version) bool { return v.name == i.Version })
	if k < 0 {
		return false
	}
	v := l.versions[k]
	uki, err := s.Open(i)
	if err != nil {
		return false
	}
	b := make([]byte, uki.Size)
	if _, err := uki.Reader.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(b, v.uki) {
		return false
	}
	root, ok := s.Root(i)
	if !ok {
		return false
	}
	b = make([]byte, v.Root.Size)
	_, _ = m.ReadAt(b, root.Offset)
	return sha256.Sum256(b) == v.Root.SHA256
}

// logged is a write; nil data is a flush.
type logged struct {
	at   int64
	data []byte
}

// run carries a plan out on the disk, and returns what was written.
func (l *lab) run(p Plan, err error, a Assets) []logged {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
	var log []logged
	r := &Recorder{Target: l.disk, Record: func(r Record) { log = append(log, logged{r.Offset, bytes.Clone(r.Data)}) }}
	if err := Execute(l.t.Context(), p, r, a, nil); err != nil {
		l.t.Fatal(err)
	}
	return log
}

// cut says what a state of the disk is the result of.
type cut struct {
	write int    // which write power was cut at
	how   string // for a person
	// inSector says that the medium tore a sector, which it must not.
	inSector bool
}

// cuts calls f with each state that the disk can have if power is cut while log is written on top of before. A state is a layer that f may
// write to.
func (l *lab) cuts(before *medium, log []logged, f func(cut, *medium)) {
	random := rand.New(rand.NewPCG(uint64(len(log)), uint64(l.sector)))
	sector := l.sector
	durable := newMedium(before)
	var pending []logged
	state := func(c cut, writes []logged) {
		m := newMedium(durable)
		for _, w := range writes {
			_, _ = m.WriteAt(w.data, w.at)
		}
		l.states++
		if c.inSector {
			l.torn++
		}
		f(c, m)
	}
	for i, w := range log {
		if w.data == nil {
			for _, p := range pending {
				_, _ = durable.WriteAt(p.data, p.at)
			}
			pending = pending[:0:0]
			state(cut{write: i, how: "after a flush"}, nil)
			continue
		}
		state(cut{write: i, how: "before it"}, pending)
		// Torn between sectors, from both ends, at a sample of places in a large write.
		n := len(w.data) / sector
		places := min(n, 24)
		for k := range places {
			at := (k*n/places + 1) * sector
			if at < len(w.data) {
				state(cut{write: i, how: fmt.Sprintf("only its first %d bytes", at)}, append(slices.Clone(pending), logged{w.at, w.data[:at]}))
				state(cut{write: i, how: fmt.Sprintf("all but its first %d bytes", at)}, append(slices.Clone(pending), logged{w.at + int64(at), w.data[at:]}))
			}
		}
		// Torn within the first sector that it changes.
		if n <= 2 {
			for at := 16; at < min(sector, len(w.data)); at += 16 {
				if at > 512 && at%256 != 0 {
					continue
				}
				state(cut{write: i, how: fmt.Sprintf("only its first %d bytes", at), inSector: true}, append(slices.Clone(pending), logged{w.at, w.data[:at]}))
			}
		}
		// Writes that were not flushed are dropped.
		all := append(slices.Clone(pending), w)
		for k := range all {
			state(cut{write: i, how: fmt.Sprintf("write %d of those since the flush is dropped", k)}, slices.Delete(slices.Clone(all), k, k+1))
			state(cut{write: i, how: fmt.Sprintf("all but write %d since the flush are dropped", k)}, all[k:k+1])
		}
		for k := range 6 {
			some := slices.DeleteFunc(slices.Clone(all), func(logged) bool { return random.IntN(2) == 0 })
			state(cut{write: i, how: fmt.Sprintf("some are dropped (%d)", k)}, some)
		}
		pending = all
	}
}

// bump is what the boot loader does to the image that it starts.
func (l *lab) bump(m *medium) {
	l.t.Helper()
	s, err := ReadSystem(m, l.size, l.sector)
	if err != nil {
		l.t.Fatal(err)
	}
	p, err := s.PlanBump()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := Execute(l.t.Context(), p, &Recorder{Target: m}, Assets{}, nil); err != nil {
		l.t.Fatal(err)
	}
}

// expect runs a plan at all cuts. old and new are what may be started: before the last write is begun old alone; when all is written, new.
func (l *lab) expect(what string, before *medium, log []logged, old, new string) {
	l.t.Helper()
	last := 0
	for i, w := range log {
		if w.data != nil {
			last = i
		}
	}
	if s, err := l.start(l.disk); err != nil || s.name != new || !s.complete {
		l.t.Fatalf("%s: at the end %+v is started (%v); want %s", what, s, err, new)
	}
	started := map[string]int{}
	l.cuts(before, log, func(c cut, m *medium) {
		s, err := l.start(m)
		switch {
		case err != nil:
			l.t.Errorf("%s, cut at write %d of %d, %s: %v", what, c.write, len(log), c.how, err)
		case !s.complete:
			l.t.Errorf("%s, cut at write %d of %d, %s: %s is started, and is not complete (default %q)", what, c.write, len(log), c.how, s.file, s.conf)
		case !s.everything && !c.inSector:
			l.t.Errorf("%s, cut at write %d of %d, %s: an image can be started that is not complete", what, c.write, len(log), c.how)
		case s.name != old && s.name != new, c.write < last && s.name != old && !c.inSector:
			l.t.Errorf("%s, cut at write %d of %d, %s: %s is started; want %s", what, c.write, len(log), c.how, s.name, old)
		}
		started[s.name]++
	})
	if old != new && (started[old] == 0 || started[new] == 0) {
		l.t.Errorf("%s: started are %v; the test tests nothing", what, started)
	}
}

func record(s string) Changes { return Changes{}.Set(metastore.Upgrade, s) }

// TestPowerCutAtEveryWrite installs, upgrades, confirms, rolls back and returns, and cuts power at each write of each of them.
func TestPowerCutAtEveryWrite(t *testing.T) {
	total, torn := 0, 0
	for _, sector := range []int{512, 4096} {
		l := &lab{t: t, size: 8 << 30, sector: sector, versions: []version{
			newVersion("1.9.0", 20_000, 30_000), newVersion("1.10.0", 31_000, 25_000), newVersion("1.8.0", 45_000, 50_001),
		}}
		now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
		v1, v2, v3 := l.versions[0], l.versions[1], l.versions[2]
		read := func() *System {
			s, err := ReadSystem(l.disk, l.size, l.sector)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		// step makes the disk a layer of its own, and returns what it was.
		step := func() (before *medium) {
			before = l.disk
			l.disk = newMedium(before)
			return before
		}
		upgrade := func(running, v version) (Plan, error) {
			return PlanUpgrade(UpgradeRequest{
				Disk: "vda", System: read(), Running: running.hash, UKI: v.UKI.Size, Root: v.Root.Size, RootHash: v.hash, Time: now, Meta: record("to " + v.name),
			})
		}

		// An installation: nothing, or the system.
		l.disk = newMedium(nil)
		_, _ = l.disk.WriteAt(bytes.Repeat([]byte{0x55, 0xaa}, 1<<20), 0)
		before := step()
		p, err := PlanInstall(Request{
			Disk: Disk{Name: "vda", Size: l.size, SectorSize: sector}, UKI: v1.UKI.Size, Root: v1.Root.Size, BootLoader: v1.BootLoader.Size,
			RootHash: v1.hash, Seed: "seed", Time: now, Meta: metastore.Values{metastore.MetalNetworkPlatform: "net"},
		})
		log := l.run(p, err, v1.Assets)
		whole := 0
		l.cuts(before, log, func(c cut, m *medium) {
			s, err := l.start(m)
			switch {
			case err == nil && s.complete && s.everything:
				whole++
			case err == nil:
				t.Errorf("install, cut at write %d, %s: %+v is started, and is not complete", c.write, c.how, s)
			case !errors.Is(err, ErrNotInstalled) && !errors.Is(err, gpt.ErrCorrupt):
				t.Errorf("install, cut at write %d, %s: %v", c.write, c.how, err)
			}
		})
		if whole == 0 {
			t.Error("no state of an installation has a system; the test tests nothing")
		}

		installed := l.disk
		before = step()
		p, err = upgrade(v1, v2)
		log = l.run(p, err, v2.Assets)
		l.expect("upgrade A to B", before, log, v1.name, v2.name)

		// Power is cut, and then the upgrade is done again, with another version.
		boundary := 0
		l.cuts(before, log, func(c cut, m *medium) {
			if boundary++; boundary%17 != 0 || c.inSector {
				return
			}
			kept := l.disk
			l.disk = m
			if s, err := l.start(m); err != nil || s.name != v1.name {
				l.disk = kept
				return
			}
			p, err := upgrade(v1, v3)
			l.run(p, err, v3.Assets)
			if s, err := l.start(m); err != nil || s.name != v3.name || !s.complete {
				t.Errorf("after an upgrade that was cut at write %d (%s), another one starts %+v (%v)", c.write, c.how, s, err)
			}
			l.disk = kept
		})

		// The new system is tried once, and not again.
		tried := newMedium(l.disk)
		l.bump(tried)
		if s, err := l.start(tried); err != nil || s.name != v1.name || !s.complete {
			t.Errorf("after a try that failed %+v is started (%v); want %s", s, err, v1.name)
		}

		// It fails, and says why.
		l.disk = tried
		before = step()
		p, err = PlanReturn("vda", read(), v2.hash, record("failed"))
		log = l.run(p, err, Assets{})
		l.expect("return to A", before, log, v1.name, v1.name)
		if _, err := PlanRollback("vda", read(), v1.hash, now, nil); !errors.Is(err, ErrNoOther) {
			t.Errorf("a rollback to what failed = %v", err)
		}

		// It proves itself.
		l.disk = tried
		before = step()
		p, err = PlanConfirm("vda", read(), v2.hash, now, record("done"))
		log = l.run(p, err, Assets{})
		// Between the writes either may be started: META has not said that it is done.
		l.cuts(before, log, func(c cut, m *medium) {
			if s, err := l.start(m); err != nil || !s.complete || s.name != v2.name && c.write > 1 && !c.inSector {
				t.Errorf("confirm, cut at write %d, %s: %+v is started (%v)", c.write, c.how, s, err)
			}
		})
		if s, err := l.start(l.disk); err != nil || s.file != "talos-B.efi" || s.meta[metastore.Upgrade] != "done" || s.meta[metastore.MetalNetworkPlatform] != "net" {
			t.Errorf("confirmed: %+v (%v)", s, err)
		}
		if p, err := PlanConfirm("vda", read(), v2.hash, now, nil); err != nil || len(p.Steps) > 0 {
			t.Errorf("what is permanent is made permanent again by %v (%v)", p.Steps, err)
		}

		// Back to the older one, which is tried once as well; and into A another version, from B, although it is older.
		confirmed := l.disk
		before = step()
		p, err = PlanRollback("vda", read(), v2.hash, now, record("back"))
		log = l.run(p, err, Assets{})
		l.expect("roll back to A", before, log, v2.name, v1.name)
		l.bump(l.disk)
		if s, err := l.start(l.disk); err != nil || s.name != v2.name {
			t.Errorf("after a rollback that failed %+v is started (%v); want %s", s, err, v2.name)
		}
		l.disk = confirmed
		before = step()
		p, err = upgrade(v2, v3)
		log = l.run(p, err, v3.Assets)
		l.expect("upgrade B to A", before, log, v2.name, v3.name)
		for i, w := range log { // the running slot is not touched
			if root, _ := p.Table.Find(LabelRootB); w.at >= root.Offset && w.at < root.End() {
				t.Errorf("write %d is to the root that runs", i)
			}
		}
		_ = installed
		t.Logf("sectors of %d bytes: %d states, of which %d with a torn sector", sector, l.states, l.torn)
		total, torn = total+l.states, torn+l.torn
	}
	t.Logf("%d states, of which %d with a torn sector", total, torn)
	if total < 3000 {
		t.Errorf("only %d states", total)
	}
}

// The search for states finds something if there is something: without the flush between contents and what names them.
func TestPowerCutFindsAMissingFlush(t *testing.T) {
	l := &lab{t: t, size: 8 << 30, sector: 512, disk: newMedium(nil), versions: []version{newVersion("1", 9000, 9000), newVersion("2", 9000, 9000)}}
	v1, v2 := l.versions[0], l.versions[1]
	p, err := PlanInstall(Request{
		Disk: Disk{Name: "vda", Size: l.size, SectorSize: 512}, UKI: v1.UKI.Size, Root: v1.Root.Size, BootLoader: v1.BootLoader.Size, RootHash: v1.hash, Seed: "seed",
	})
	l.run(p, err, v1.Assets)
	before := l.disk
	l.disk = newMedium(before)
	s, err := ReadSystem(l.disk, l.size, 512)
	if err != nil {
		t.Fatal(err)
	}
	p, err = PlanUpgrade(UpgradeRequest{Disk: "vda", System: s, Running: v1.hash, UKI: v2.UKI.Size, Root: v2.Root.Size, RootHash: v2.hash})
	log := l.run(p, err, v2.Assets)
	log = slices.DeleteFunc(log, func(w logged) bool { return w.data == nil })
	bad := 0
	l.cuts(before, log, func(c cut, m *medium) {
		if s, err := l.start(m); err != nil || !s.complete {
			bad++
		}
	})
	if bad == 0 {
		t.Errorf("without flushes each of %d states starts a whole system: the search finds nothing", l.states)
	}
	t.Logf("without flushes %d of %d states start what is not whole", bad, l.states)
}

// A disk that lies is found out.
type lying struct {
	*medium
	at int64
}

func (f lying) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.medium.ReadAt(b, off)
	if f.at >= off && f.at < off+int64(n) {
		b[f.at-off]++
	}
	return n, err
}

func TestWhatWasNotWrittenAsItShouldIsNotStarted(t *testing.T) {
	l := &lab{t: t, size: 8 << 30, sector: 512, disk: newMedium(nil), versions: []version{newVersion("1", 9000, 9000), newVersion("2", 9000, 9000)}}
	v1, v2 := l.versions[0], l.versions[1]
	p, err := PlanInstall(Request{
		Disk: Disk{Name: "vda", Size: l.size, SectorSize: 512}, UKI: v1.UKI.Size, Root: v1.Root.Size, BootLoader: v1.BootLoader.Size, RootHash: v1.hash, Seed: "seed",
	})
	l.run(p, err, v1.Assets)
	s, err := ReadSystem(l.disk, l.size, 512)
	if err != nil {
		t.Fatal(err)
	}
	r := UpgradeRequest{Disk: "vda", System: s, Running: v1.hash, UKI: v2.UKI.Size, Root: v2.Root.Size, RootHash: v2.hash}
	p, err = PlanUpgrade(r)
	if err != nil {
		t.Fatal(err)
	}
	root, _ := s.Table.Find(LabelRootB)
	err = Execute(t.Context(), p, &Recorder{Target: lying{l.disk, root.Offset + 1000}}, v2.Assets, nil)
	if err == nil || !strings.Contains(err.Error(), "the disk is faulty") {
		t.Errorf("Execute on a faulty disk = %v", err)
	}
	if s, err := l.start(l.disk); err != nil || s.name != "1" {
		t.Errorf("after that %+v is started (%v)", s, err)
	}
	bad := v2.Assets
	bad.Root.SHA256[0]++
	if err := Execute(t.Context(), p, &Recorder{Target: l.disk}, bad, nil); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("Execute of a wrong asset = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Execute(ctx, p, &Recorder{Target: l.disk}, v2.Assets, nil); err == nil {
		t.Error("Execute goes on after its context has ended")
	}
	if s, err := l.start(l.disk); err != nil || s.name != "1" {
		t.Errorf("after that %+v is started (%v)", s, err)
	}
}
