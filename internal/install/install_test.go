package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/gpt"
	"talos.internal/internal/metastore"
	"talos.internal/internal/pe"
	"talos.internal/internal/superblock"
	"talos.internal/internal/sys/blockdev"
)

var update = flag.Bool("update", false, "write golden files")

const hashText = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// program is a PE file with one section more than a stub has.
func program(name, content string) []byte {
	stub, err := os.ReadFile("../pe/testdata/stub.efi")
	var b bytes.Buffer
	if err := errors.Join(err, pe.Append(&b, stub, []pe.Part{{Name: name, Data: []byte(content)}})); err != nil {
		panic(err) // the stub is there, or no test is of use
	}
	return b.Bytes()
}

func blob(b []byte) Blob {
	return Blob{Reader: bytes.NewReader(b), Size: int64(len(b)), SHA256: sha256.Sum256(b)}
}

func assets() Assets {
	return Assets{
		UKI:        blob(program(".cmdline", "console=ttyS0 roothash="+hashText+" x")),
		Root:       blob(bytes.Repeat([]byte("root"), 700_001)),
		BootLoader: blob(bytes.Repeat([]byte("loader"), 1001)),
		ImageCache: blob(bytes.Repeat([]byte("images"), 300_001)),
	}
}

func request(t testing.TB, a Assets) Request {
	t.Helper()
	hash, err := ReadRootHash(a.UKI)
	if err != nil {
		t.Fatal(err)
	}
	return Request{
		Disk: Disk{Name: "vda", Size: 8 << 30, SectorSize: 512}, UKI: a.UKI.Size, Root: a.Root.Size, BootLoader: a.BootLoader.Size, ImageCache: a.ImageCache.Size,
		RootHash: hash, Seed: "seed", Time: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC), Meta: metastore.Values{metastore.MetalNetworkPlatform: "network"},
	}
}

func TestThePlan(t *testing.T) {
	p, err := PlanInstall(request(t, assets()))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%s", s)
		if s.Data != "" {
			fmt.Fprintf(&b, " (SHA-256 %.8x)", sha256.Sum256([]byte(s.Data)))
		}
		b.WriteByte('\n')
	}
	for _, part := range p.Table.Partitions {
		fmt.Fprintf(&b, "partition %d %s at %d: %d bytes, type %s, GUID %s\n", part.Number, part.Label, part.Offset, part.Size, part.Type, part.GUID)
	}
	file := filepath.Join("testdata", "plan.golden")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the plan has changed (-want +got):\n%s", diff)
	}
	again, err := PlanInstall(request(t, assets()))
	if err != nil || !cmp.Equal(p.Steps, again.Steps) {
		t.Errorf("the same request has another plan (%v)", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	found := &superblock.Found{Name: "ntfs", Label: "Photos"}
	for _, tc := range []struct {
		name   string
		change func(*Request)
		err    error
		text   string
	}{
		{"small disk", func(r *Request) { r.Disk.Size = 3 << 30 }, ErrTooSmall, "it has 3.0 GiB, and 4.6 GiB are needed"},
		{"someone's data", func(r *Request) { r.Disk.Found = found }, ErrHasData, `install on vda: the disk has data: ntfs "Photos". Ask for it to be wiped`},
		{"someone's data, to be wiped", func(r *Request) { r.Disk.Found = found; r.Wipe = true }, nil, ""},
		{"read-only, to be wiped", func(r *Request) { r.Disk.ReadOnly = true; r.Wipe = true }, ErrReadOnly, ""},
		{"image", func(r *Request) { r.Disk.Size = ImageSize(r.ImageCache); r.Image = true }, nil, ""},
		{"image without room", func(r *Request) { r.Disk.Size = ImageSize(r.ImageCache) - 1; r.Image = true }, ErrTooSmall, ""},
		{"large root", func(r *Request) { r.Root = SizeRoot + 1 }, errAny, "the root file system has 1.0 GiB"},
		{"large UKI", func(r *Request) { r.UKI = SizeEFI }, errAny, "do not fit"},
		{"no boot loader", func(r *Request) { r.BootLoader = 0 }, errAny, "the assets are not complete"},
		{"no root hash", func(r *Request) { r.RootHash = RootHash{} }, errAny, "no root hash"},
		{"no seed", func(r *Request) { r.Seed = "" }, errAny, "no seed"},
		{"large META", func(r *Request) { r.Meta = metastore.Values{1: strings.Repeat("x", 1<<20)} }, metastore.ErrTooLarge, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := request(t, assets())
			tc.change(&r)
			p, err := PlanInstall(r)
			switch {
			case tc.err == nil:
				if err != nil {
					t.Errorf("PlanInstall: %v", err)
				}
				return
			case err == nil || !errors.Is(tc.err, errAny) && !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.text):
				t.Errorf("PlanInstall = %v; want %v, %q", err, tc.err, tc.text)
			}
			if len(p.Steps) > 0 {
				t.Errorf("a plan that is refused has %d steps", len(p.Steps))
			}
		})
	}
}

var errAny = errors.New("any")

// disk makes a sparse file that begins and ends with rubbish, and opens it as a disk.
func disk(t *testing.T, size int64) *blockdev.Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	rubbish := bytes.Repeat([]byte{0xa5}, 64<<10)
	for _, at := range []int64{0, 1 << 20, size - int64(len(rubbish))} {
		if _, err := f.WriteAt(rubbish, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := blockdev.Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func read(t *testing.T, d *blockdev.Device, at, n int64) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := d.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestInstallation(t *testing.T) {
	a := assets()
	r := request(t, a)
	d := disk(t, r.Disk.Size)
	p, err := PlanInstall(r)
	if err != nil {
		t.Fatal(err)
	}
	writes, flushes, steps := 0, 0, 0
	rec := &Recorder{Target: d, Record: func(w Record) {
		if w.Data == nil {
			flushes++
		} else {
			writes++
		}
	}}
	if err := Execute(t.Context(), p, rec, a, func(Step) { steps++ }); err != nil {
		t.Fatal(err)
	}
	if steps != len(p.Steps) || writes < 20 || flushes != 4 {
		t.Errorf("%d steps of %d, %d writes, %d flushes; want all steps, 4 flushes", steps, len(p.Steps), writes, flushes)
	}
	facts, err := Inspect("vda", d)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Found == nil || facts.Found.Table == nil {
		t.Fatalf("Inspect found %v", facts.Found)
	}
	table := facts.Found.Table
	probe := map[string]string{}
	for _, part := range table.Partitions {
		f, _, err := superblock.Probe(section64(d, part), part.Size, 512)
		if err != nil {
			t.Fatal(err)
		}
		probe[part.Label] = f.Name + f.Label
	}
	want := map[string]string{"EFI": "vfatEFI", "ROOT-A": "", "ROOT-B": "", "META": "talosmeta", "IMAGECACHE": "", "STATE": ""}
	if diff := cmp.Diff(want, probe); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	root, _ := table.Find(LabelRootA)
	if got := root.GUID.String(); got != "00010203-0405-0607-0809-0a0b0c0d0e0f" {
		t.Errorf("GUID of ROOT-A = %s; want the first half of the root hash", got)
	}
	if got := read(t, d, root.Offset, a.Root.Size); sha256.Sum256(got) != a.Root.SHA256 {
		t.Error("ROOT-A has other contents than the asset")
	}
	meta, _ := table.Find(LabelMeta)
	if c, _, err := metastore.Read(section64(d, meta)); err != nil || c.Values[metastore.MetalNetworkPlatform] != "network" {
		t.Errorf("META = %v, %v", c.Values, err)
	}
	// What is there is not overwritten by a second installation, and can be wiped.
	r.Disk.Found = facts.Found
	if _, err := PlanInstall(r); !errors.Is(err, ErrHasData) || !strings.Contains(err.Error(), `gpt with 1 "EFI", 2 "ROOT-A", 3 "ROOT-B", 4 "META"`) {
		t.Errorf("PlanInstall on an installed disk = %v", err)
	}
	wipe, err := PlanWipe(facts, []string{LabelMeta, LabelRootA})
	if err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), wipe, rec, Assets{}, nil); err != nil {
		t.Fatal(err)
	}
	if c, _, err := metastore.Read(section64(d, meta)); err != nil || len(c.Values) != 0 {
		t.Errorf("META after a wipe = %v, %v", c.Values, err)
	}
	if facts, err = Inspect("vda", d); err != nil || facts.Found.Table == nil {
		t.Fatalf("after a wipe of partitions: %v, %v", facts.Found, err)
	}
	wipe, err = PlanWipe(facts, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), wipe, rec, Assets{}, nil); err != nil {
		t.Fatal(err)
	}
	if facts, err = Inspect("vda", d); err != nil || facts.Found != nil {
		t.Errorf("after a wipe of the disk: %v, %v; want nothing", facts.Found, err)
	}
}

type part struct {
	d    *blockdev.Device
	from int64
}

func (p part) ReadAt(b []byte, off int64) (int, error) { return p.d.ReadAt(b, p.from+off) }

func section64(d *blockdev.Device, p gpt.Partition) part { return part{d, p.Offset} }

// TestPowerCut stops an installation over an old one before each of its writes: the disk has no system, or all of it.
func TestPowerCutLeavesNoSystemOrAWholeOne(t *testing.T) {
	a := assets()
	r := request(t, a)
	r.Image, r.Disk.Size = true, ImageSize(r.ImageCache)
	d := disk(t, r.Disk.Size)
	p, err := PlanInstall(r)
	if err != nil {
		t.Fatal(err)
	}
	cut := errors.New("power was cut")
	total := 0
	if err := Execute(t.Context(), p, &Recorder{Target: d, Record: func(Record) { total++ }}, a, nil); err != nil {
		t.Fatal(err)
	}
	whole := 0
	for n := 1; n <= total; n++ {
		if err := Execute(t.Context(), p, &Recorder{Target: &breaking{d, n, cut}}, a, nil); n < total && !errors.Is(err, cut) {
			t.Fatalf("cut at write %d: %v", n, err)
		}
		table, err := gpt.Read(d, d.Size(), 512)
		switch {
		case errors.Is(err, gpt.ErrNone), errors.Is(err, gpt.ErrCorrupt):
		case err != nil:
			t.Fatal(err)
		case len(table.Partitions) == len(p.Table.Partitions):
			root, _ := table.Find(LabelRootA)
			if n > 3 && sha256.Sum256(read(t, d, root.Offset, a.Root.Size)) != a.Root.SHA256 {
				t.Errorf("cut at write %d: there is a table, and ROOT-A is not whole", n)
			}
			whole++
		default:
			t.Errorf("cut at write %d: %d partitions", n, len(table.Partitions))
		}
	}
	if whole == 0 || whole == total {
		t.Errorf("%d of %d states have a table; the test tests nothing", whole, total)
	}
}

// breaking fails from the nth write or flush on. A write that fails has done its first half.
type breaking struct {
	Target
	left int
	err  error
}

func (b *breaking) WriteAt(p []byte, off int64) (int, error) {
	if b.left--; b.left > 0 {
		return b.Target.WriteAt(p, off)
	}
	if b.left == 0 {
		if n, err := b.Target.WriteAt(p[:len(p)/1024*512], off); err != nil {
			return n, err
		}
	}
	return 0, b.err
}

func (b *breaking) Sync() error {
	if b.left--; b.left > 0 {
		return nil
	}
	return b.err
}

func TestAnAssetThatIsNotWhatItSaysLeavesNoTable(t *testing.T) {
	a := assets()
	r := request(t, a)
	d := disk(t, r.Disk.Size)
	p, err := PlanInstall(r)
	if err != nil {
		t.Fatal(err)
	}
	a.Root.SHA256[0]++
	err = Execute(t.Context(), p, &Recorder{Target: d}, a, nil)
	if err == nil || !strings.Contains(err.Error(), "the root file system has the SHA-256") {
		t.Errorf("Execute = %v", err)
	}
	if _, err := gpt.Read(d, d.Size(), 512); !errors.Is(err, gpt.ErrNone) {
		t.Errorf("the disk has a table: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the machine stops"))
	if err := Execute(ctx, p, &Recorder{Target: d}, a, nil); err == nil || !strings.Contains(err.Error(), "the machine stops") {
		t.Errorf("Execute after the end of its context = %v", err)
	}
}

func TestWipeRefuses(t *testing.T) {
	d := Disk{Name: "vda", Size: 1 << 30, SectorSize: 512}
	if _, err := PlanWipe(d, []string{"STATE"}); err == nil || !strings.Contains(err.Error(), "no partitions") {
		t.Errorf("PlanWipe of a disk without partitions = %v", err)
	}
	table, err := gpt.New(gpt.GUID{1}, d.Size, 512)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Add("STATE", gpt.TypeLinux, gpt.GUID{2}, 1<<20); err != nil {
		t.Fatal(err)
	}
	d.Found = &superblock.Found{Name: "gpt", Table: table}
	p, err := PlanWipe(d, []string{"STATE", "STAET"})
	if err == nil || !strings.Contains(err.Error(), `no such partition; it has gpt with 1 "STATE"`) || len(p.Steps) > 0 {
		t.Errorf("PlanWipe of an unknown label = %v", err)
	}
}

func TestWipeOfAFile(t *testing.T) {
	a := assets()
	r := request(t, a)
	d := disk(t, r.Disk.Size)
	p, err := PlanInstall(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := Execute(t.Context(), p, &Recorder{Target: d}, a, nil); err != nil {
		t.Fatal(err)
	}
	path := d.Name()
	if err := Wipe(t.Context(), path, []string{"META"}); err != nil {
		t.Fatal(err)
	}
	if err := Wipe(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	if facts, err := Inspect("x", d); err != nil || facts.Found != nil {
		t.Errorf("after Wipe: %v, %v", facts.Found, err)
	}
}

func TestReadRootHash(t *testing.T) {
	for _, tc := range []struct {
		name string
		uki  []byte
		want string
	}{
		{"other section", program(".linux", "x"), "no section .cmdline"},
		{"no hash", program(".cmdline", "quiet"), "no roothash="},
		{"short hash", program(".cmdline", "roothash=0011"), "expected 64 hexadecimal digits"},
		{"not a program", []byte("#!/bin/sh"), "not a sound PE file"},
		{"text", bytes.Repeat([]byte("x"), 1000), "not a sound PE file"},
		{"cut", program(".cmdline", "x")[:300], "it ends after"},
	} {
		if _, err := ReadRootHash(blob(tc.uki)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: ReadRootHash = %v; want %q", tc.name, err, tc.want)
		}
	}
}

func FuzzReadRootHash(f *testing.F) {
	f.Add(program(".cmdline", "roothash="+hashText))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ReadRootHash(blob(b)) })
}
