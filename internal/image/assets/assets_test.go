package assets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/gpt"
	"talos.internal/internal/image"
	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/kernel"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/image/squash"
	"talos.internal/internal/image/verity"
	"talos.internal/internal/install"
	"talos.internal/internal/metastore"
)

const release = "6.12.1-test"

// packages are those of the repository's lock, but for the kernel's, which is small and has a module for each rule.
type packages struct {
	debian.Source
	kernel map[string]*debian.Deb
}

func (p packages) Package(ctx context.Context, name string) (*debian.Deb, error) {
	if d, ok := p.kernel[name]; ok {
		return d, nil
	}
	return p.Source.Package(ctx, name)
}

var locked *debian.Pinned

// source is the repository's own lock, with packages that were downloaded for a build, or by apt now.
func source(t *testing.T) debian.Source {
	t.Helper()
	if locked == nil {
		f, err := os.Open("../packages.lock")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lock, err := debian.ParseLock(f)
		if err != nil {
			t.Fatal(err)
		}
		locked = &debian.Pinned{Lock: lock, Cache: &debian.Cache{Dir: "../../../_out/cache/debs", Archive: debian.NewApt(runtime.GOARCH)}}
	}
	for _, name := range []string{squash.Tool.Package, loaderPackage} {
		if _, err := locked.Package(t.Context(), name); err != nil {
			t.Skipf("the package %s is neither in _out/cache/debs nor does apt give it: %v", name, err)
		}
	}
	module, err := os.ReadFile("testdata/module.ko.xz")
	if err != nil {
		t.Fatal(err)
	}
	name := "linux-image-" + release
	meta := &debian.Deb{Control: debian.Stanza{"Package": kernel.MetaPackage(runtime.GOARCH), "Depends": name}}
	k := &debian.Deb{Control: debian.Stanza{"Package": name, "Version": "1", "Architecture": runtime.GOARCH}, Files: map[string]rootfs.Entry{}}
	add := func(name string, data []byte) { k.Files[name] = rootfs.Bytes(name, 0o644, data) }
	dir := "usr/lib/modules/" + release + "/"
	for i, rule := range kernel.Node() {
		add(fmt.Sprintf("%skernel/%sm%d.ko.xz", dir, strings.TrimPrefix(rule, "!"), i), module)
	}
	var builtin strings.Builder
	for _, name := range kernel.Boot() {
		builtin.WriteString("kernel/" + name + ".ko\n")
	}
	add(dir+"modules.builtin", []byte(builtin.String()))
	add(dir+"modules.order", nil)
	add("boot/vmlinuz-"+release, bytes.Repeat([]byte("kernel"), 1000))
	add("usr/share/doc/"+name+"/copyright", []byte("rights of the kernel"))
	return packages{locked, map[string]*debian.Deb{meta.Name(): meta, name: k}}
}

func builder(t *testing.T) *Builder {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "initramfs")
	if err := os.WriteFile(program, []byte("the first program"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Builder{
		Images: &image.Builder{Arch: runtime.GOARCH, Debian: source(t)}, Init: program, Dir: t.TempDir(),
		Spec: image.Spec{Name: "root", Ref: "talos.internal/root:v1", Files: []rootfs.Entry{rootfs.Bytes("usr/sbin/init", 0o755, []byte("the second program"))}},
	}
}

// all makes every output and returns the sums of the files.
func all(t *testing.T, b *Builder) map[string]string {
	t.Helper()
	if err := b.Boot(t.Context(), Options{Args: []string{"quiet"}, Config: []byte("version: v1alpha1\n")}); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteDisk(t.Context(), DiskOptions{Meta: metastore.Values{metastore.Upgrade: "B"}}); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteQCOW2(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteISO(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	names, err := os.ReadDir(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if e.Name() == Disk {
			continue // nearly all of its gigabytes are zero, and who made it is tested there
		}
		data, err := os.ReadFile(b.path(e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sums[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return sums
}

func TestTheSameInputsGiveTheSameFiles(t *testing.T) {
	mask := syscall.Umask(0o077)
	first := builder(t)
	a := all(t, first)
	syscall.Umask(0)
	second := builder(t)
	procs := runtime.GOMAXPROCS(1)
	b := all(t, second)
	runtime.GOMAXPROCS(procs)
	syscall.Umask(mask)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("two builds differ:\n%s", diff)
	}
	if len(a) != 8 {
		t.Errorf("%d files %v; want 8 and the disk", len(a), a)
	}
	compareDisks(t, first.path(Disk), second.path(Disk))
	t.Run("what is on the disk", func(t *testing.T) { checkDisk(t, first) })
	t.Run("what is on the ISO image", func(t *testing.T) { checkISO(t, first) })
	t.Run("what the UKI has", func(t *testing.T) { checkUKI(t, first) })
	t.Run("the root is checked by what the command line says", func(t *testing.T) { checkRoot(t, first) })
	// It can fail: another first program is seen in what holds it, and nowhere else.
	if err := os.WriteFile(first.Init, []byte("another program"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := all(t, first)
	for name, want := range map[string]bool{Initramfs: true, UKI: true, ISO: true, Root: false, Kernel: false, Cmdline: false, BootLoader: false} {
		if (a[name] != c[name]) != want {
			t.Errorf("with another first program %s is another: %v; want %v", name, a[name] != c[name], want)
		}
	}
}

// written returns the parts of a sparse file that are not zero, MiB by MiB.
func written(t *testing.T, name string) map[int64][32]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	const block = 1 << 20
	zero := make([]byte, block)
	parts := map[int64][32]byte{-1: {byte(info.Size() / block)}}
	b := make([]byte, block)
	for at := int64(0); at < info.Size(); {
		data, err := syscall.Seek(int(f.Fd()), at, 3) // SEEK_DATA: what was never written is passed over
		if err != nil {
			break
		}
		at = data / block * block
		n, _ := f.ReadAt(b, at) // the last part is shorter
		if !bytes.Equal(b[:n], zero[:n]) {
			parts[at] = sha256.Sum256(b[:n])
		}
		at += block
	}
	return parts
}

func compareDisks(t *testing.T, a, b string) {
	t.Helper()
	one, other := written(t, a), written(t, b)
	if diff := cmp.Diff(one, other); diff != "" {
		t.Errorf("two disks differ:\n%s", diff)
	}
	if len(one) < 3 {
		t.Errorf("%d parts of the disk are not zero", len(one))
	}
}

func checkDisk(t *testing.T, b *Builder) {
	f, err := os.Open(b.path(Disk))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(f, info.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	root, ok := table.Find(install.LabelRootA)
	if !ok {
		t.Fatal("no partition for the root")
	}
	want, err := os.ReadFile(b.path(Root))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, root.Offset); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the root's partition has another content: %v", err)
	}
	p := params(t, b)
	if got, want := strings.ReplaceAll(root.GUID.String(), "-", ""), fmt.Sprintf("%x", p.Root[:16]); got != want {
		t.Errorf("the root's partition is %s; want the first half of the root hash, %s", got, want)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks; blocks*512 > 64<<20 {
		t.Errorf("the file takes %d bytes: it is not sparse", blocks*512)
	}
}

func params(t *testing.T, b *Builder) verity.Params {
	t.Helper()
	line, err := os.ReadFile(b.path(Cmdline))
	if err != nil {
		t.Fatal(err)
	}
	p, err := verity.Parse(string(line))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func checkRoot(t *testing.T, b *Builder) {
	p := params(t, b)
	data, err := os.ReadFile(b.path(Root))
	if err != nil {
		t.Fatal(err)
	}
	size := p.Blocks * verity.BlockSize
	var tree bytes.Buffer
	got, err := verity.Build(t.Context(), bytes.NewReader(data), size, p.Salt, &tree)
	if err != nil {
		t.Fatal(err)
	}
	if got.Root != p.Root || !bytes.Equal(data[size:], tree.Bytes()) {
		t.Errorf("root hash %x; the command line says %x", got.Root, p.Root)
	}
}

func checkUKI(t *testing.T, b *Builder) {
	f, err := pe.Open(b.path(UKI))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for section, file := range map[string]string{".linux": Kernel, ".initrd": Initramfs, ".cmdline": Cmdline} {
		want, err := os.ReadFile(b.path(file))
		if err != nil {
			t.Fatal(err)
		}
		s := f.Section(section)
		if s == nil {
			t.Fatalf("no section %s", section)
		}
		got, err := s.Data()
		if err != nil || string(got[:s.VirtualSize]) != strings.TrimSuffix(string(want), "\n") {
			t.Errorf("section %s is not the file %s", section, file)
		}
	}
	line, err := os.ReadFile(b.path(Cmdline))
	if err != nil || !strings.HasSuffix(string(line), " quiet\n") {
		t.Errorf("command line %q, %v; want the further argument at its end", line, err)
	}
}

// checkISO finds the files by the names of ISO 9660, and the partition by its table.
func checkISO(t *testing.T, b *Builder) {
	data, err := os.ReadFile(b.path(ISO))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	root := data[16*2048+156:]
	directory := data[le.Uint32(root[2:])*2048:][:le.Uint32(root[10:])]
	for name, file := range map[string]string{"ROOTFS.IMG;1": Root, "UKI.EFI;1": UKI, "SYSTEMD-BOOT.EFI;1": BootLoader} {
		want, err := os.ReadFile(b.path(file))
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(directory, []byte(name))
		if at < 0 {
			t.Errorf("no file %s", name)
			continue
		}
		record := directory[at-33:]
		if got := data[le.Uint32(record[2:])*2048:][:le.Uint32(record[10:])]; !bytes.Equal(got, want) {
			t.Errorf("file %s is not %s", name, file)
		}
		if n := bytes.Count(data, want[:512]); n != 1 {
			t.Errorf("the beginning of %s is there %d times", file, n)
		}
	}
	table, err := gpt.Read(bytes.NewReader(data), int64(len(data)), 512)
	if err != nil || len(table.Partitions) != 1 || table.Partitions[0].Type != gpt.TypeESP || table.FromBackup || table.Moved {
		t.Fatalf("partition table %+v, %v", table, err)
	}
	if p := table.Partitions[0]; string(data[p.Offset+82:p.Offset+90]) != "FAT32   " {
		t.Error("the partition has no FAT32")
	}
	if label := string(data[16*2048+40 : 16*2048+45]); label != ISOLabel {
		t.Errorf("label %q; want %q", label, ISOLabel)
	}
}

func TestArgs(t *testing.T) {
	p := verity.Params{Blocks: 1, Salt: []byte{1}}
	line, err := Args(p, []string{"a=b"})
	if err != nil {
		t.Fatal(err)
	}
	// What a machine of the contract refuses to boot without.
	for _, want := range []string{"talos.platform=metal", "slab_nomerge", "pti=on", "module.sig_enforce=1", "proc_mem.force_override=never", "a=b"} {
		if !strings.Contains(" "+line+" ", " "+want+" ") {
			t.Errorf("no %s in %q", want, line)
		}
	}
	for _, extra := range []string{strings.Repeat("x", maxArgs), "a\nb"} {
		if _, err := Args(p, []string{extra}); err == nil {
			t.Errorf("Args with %d bytes more: no error", len(extra))
		}
	}
}

func TestTheManifestListsWhatWasMade(t *testing.T) {
	b := &Builder{Dir: t.TempDir(), Images: &image.Builder{Arch: "amd64"}}
	line, err := Args(verity.Params{Root: [32]byte{1, 2}, Blocks: 3, Salt: []byte{4}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{Cmdline: line + "\n", Kernel: "kernel", ISO: "of an earlier build"} {
		if err := b.write(name, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.WriteManifest(t.Context(), map[string]bool{Cmdline: true, Kernel: true}); err != nil {
		t.Fatal(err)
	}
	m, err := ReadManifest(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.RootHash != "0102"+strings.Repeat("00", 30) || m.Cmdline != line || m.Arch != "amd64" || m.Version == "" {
		t.Errorf("manifest %+v", m)
	}
	want := []File{
		{Cmdline, int64(len(line) + 1), fmt.Sprintf("%x", sha256.Sum256([]byte(line+"\n")))},
		{Kernel, 6, fmt.Sprintf("%x", sha256.Sum256([]byte("kernel")))},
	}
	if diff := cmp.Diff(want, m.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(b.path(ISO)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ISO image of an earlier build is still there: %v", err)
	}
	if err := Verify(t.Context(), b.Dir); err != nil {
		t.Errorf("Verify = %v", err)
	}
	if err := b.write(Kernel, strings.NewReader("Kernel")); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), b.Dir); err == nil || !strings.Contains(err.Error(), Kernel) {
		t.Errorf("Verify of a changed kernel = %v; want its name", err)
	}
	for _, file := range m.Sizes() {
		if file.What == "" {
			t.Errorf("nothing says what %s is", file.Name)
		}
	}
}

// The installer image has the parts where the installer looks for them, and the image cache is what the node mounts.
func TestInstallerAndImageCache(t *testing.T) {
	b := builder(t)
	for _, name := range []string{Root, UKI, BootLoader} {
		if err := b.write(name, strings.NewReader("content of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	img, err := b.WriteInstaller("talos.internal/installer:v1", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(t.TempDir(), "layout")
	if err := oci.WriteLayout(layout, []oci.Image{img}); err != nil {
		t.Fatal(err)
	}
	images, err := oci.Read(layout)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := oci.Unpack(images[0], root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Root, UKI, BootLoader} {
		if data, err := os.ReadFile(filepath.Join(root, "usr/install", runtime.GOARCH, name)); string(data) != "content of "+name {
			t.Errorf("%s of the installer has %q, %v", name, data, err)
		}
	}
	if err := b.WriteImageCache(t.Context(), layout); err != nil {
		t.Fatal(err)
	}
	cache, err := os.ReadFile(b.path(ImageCache))
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if string(cache[:4]) != "hsqs" || !bytes.Contains(cache, index) {
		t.Error("the cache is no file system that stores the layout as it is")
	}
	// A broken layout is not shipped.
	if err := os.WriteFile(filepath.Join(layout, "blobs", "sha256", strings.Repeat("0", 64)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteImageCache(t.Context(), layout); !errors.Is(err, oci.ErrBroken) {
		t.Errorf("WriteImageCache of a broken layout = %v; want oci.ErrBroken", err)
	}
}

// The size of a medium follows that of its files, whatever kind of FAT32 that takes.
func TestAnISOImageIsHardlyLargerThanItsFiles(t *testing.T) {
	for _, size := range []int64{1, 30 << 20, 60 << 20, 90 << 20, 600 << 20, 3 << 30} {
		m, err := planISO(map[string]int64{UKI: 20 << 20, BootLoader: 1 << 17, Root: size, ImageCache: 1 << 20}, nil, [32]byte{1})
		if err != nil {
			t.Errorf("%d MiB: %v", size>>20, err)
			continue
		}
		files := size + 21<<20 + 1<<17
		if over := m.size - files; over > 5<<20+files/50 && m.size > 40<<20 {
			t.Errorf("files of %d MiB make an image of %d MiB", files>>20, m.size>>20)
		}
	}
}

func TestAFailureLeavesTheOldFile(t *testing.T) {
	b := &Builder{Dir: t.TempDir()}
	if err := b.write("name", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	if err := b.create("name", func(*os.File) error { return fs.ErrPermission }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("create = %v", err)
	}
	names, err := os.ReadDir(b.Dir)
	if err != nil || len(names) != 1 {
		t.Errorf("files %v, %v; want the old one alone", names, err)
	}
	if data, err := os.ReadFile(b.path("name")); string(data) != "old" {
		t.Errorf("content %q, %v", data, err)
	}
	// Without its parts there is no disk, and no part of one.
	if err := b.WriteDisk(t.Context(), DiskOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteDisk without parts = %v; want fs.ErrNotExist", err)
	}
}
