package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/sys/kmod"
)

const release = "6.12.1-test"

// module is an object file with the section .modinfo, compressed.
func module(t *testing.T, info ...string) []byte {
	t.Helper()
	text := []byte(strings.Join(info, "\x00") + "\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	const head = 64
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: head,
		Shoff: uint64(head + len(text) + len(names)), Shentsize: 64, Shnum: 3, Shstrndx: 2,
	})
	b.Write(text)
	b.Write(names)
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: head, Size: uint64(len(text)), Addralign: 1})
	write(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(head + len(text)), Size: uint64(len(names)), Addralign: 1})
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// sample is a kernel with modules that need each other as real ones do.
func sample(t *testing.T) *debian.Deb {
	t.Helper()
	d := &debian.Deb{Control: debian.Stanza{"Package": "linux-image-" + release, "Version": "1", "Architecture": "amd64"}, Files: map[string]rootfs.Entry{}}
	add := func(name string, data []byte) { d.Files[name] = rootfs.Bytes(name, 0o600, data) }
	dir := "usr/lib/modules/" + release + "/"
	add("boot/vmlinuz-"+release, []byte("the kernel"))
	add("boot/config-"+release, []byte("CONFIG_X=y"))
	order := []string{}
	for _, m := range [][]string{
		{"drivers/b/virtio-blk", "name=virtio_blk", "alias=virtio:d00000002v*", "depends=virtio-ring"},
		{"drivers/b/virtio-ring", "name=virtio_ring", "depends=virtio"},
		{"drivers/b/virtio", "name=virtio", "depends="},
		{"fs/xfs/xfs", "name=xfs", "alias=fs-xfs", "depends=libcrc32c"},
		{"lib/libcrc32c", "name=libcrc32c", "softdep=pre: crc32c", "depends="},
		{"crypto/crc32c_generic", "name=crc32c_generic", "alias=crypto-crc32c", "alias=crc32c", "depends="},
		{"arch/x86/crypto/crc32c-intel", "name=crc32c_intel", "alias=crc32c", "depends="},
		{"drivers/net/tun", "name=tun", "alias=devname:net/tun", "alias=char-major-10-200", "depends="},
		{"sound/core/snd", "name=snd", "depends="},
		{"drivers/n/needy", "name=needy", "softdep=pre: nowhere post: tun", "depends=in-kernel"},
	} {
		add(dir+"kernel/"+m[0]+".ko.xz", module(t, m[1:]...))
		order = append(order, "kernel/"+m[0]+".ko\n")
	}
	add(dir+"modules.order", []byte(strings.Join(order, "")))
	add(dir+"modules.builtin", []byte("kernel/lib/in-kernel.ko\n"))
	add(dir+"modules.builtin.modinfo", nil)
	return d
}

func read(t *testing.T) *Kernel {
	t.Helper()
	k, err := Read(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestReadFindsTheKernel(t *testing.T) {
	k := read(t)
	if data, err := content(k.Image); k.Release != release || string(data) != "the kernel" || err != nil {
		t.Errorf("Read = release %q, kernel %q, %v", k.Release, data, err)
	}
	d := sample(t)
	d.Files["boot/vmlinuz-2"] = d.Files["boot/vmlinuz-"+release]
	if _, err := Read(d); !errors.Is(err, ErrFormat) {
		t.Errorf("two kernels: %v; want ErrFormat", err)
	}
	for _, name := range []string{"boot/vmlinuz-" + release, "usr/lib/modules/" + release + "/modules.order"} {
		d := sample(t)
		delete(d.Files, name)
		if _, err := Read(d); !errors.Is(err, ErrFormat) {
			t.Errorf("without %s: %v; want ErrFormat", name, err)
		}
	}
}

func TestThePackageIsTheOneThatTheMetaPackageNames(t *testing.T) {
	meta := &debian.Deb{Control: debian.Stanza{"Package": "linux-image-6.12-amd64", "Depends": "linux-base, linux-image-6.12.117+deb12-amd64 (= 6.12.117-1)"}}
	if got, err := Package(meta); got != "linux-image-6.12.117+deb12-amd64" || err != nil {
		t.Errorf("Package = %q, %v", got, err)
	}
	meta.Control["Depends"] = "linux-base"
	if _, err := Package(meta); !errors.Is(err, ErrFormat) {
		t.Errorf("a package that depends on no kernel: %v; want ErrFormat", err)
	}
}

func TestSelectAddsWhatModulesNeed(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules Rules
		names []string
		want  string
	}{
		{"by name, with what it needs", nil, []string{"virtio-blk"}, "virtio_blk virtio_ring virtio"},
		{"soft dependencies by alias, all that have it", nil, []string{"xfs"}, "xfs libcrc32c crc32c_generic crc32c_intel"},
		{"what is built in or nowhere is not missed", nil, []string{"needy", "in_kernel"}, "tun needy"},
		{"by rules, the longest decides", Rules{"drivers/", "!drivers/b/", "drivers/b/virtio."}, nil, "virtio tun needy"},
		{"nothing", nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := read(t).Select(t.Context(), c.rules, c.names...)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(set.Names(), " "); got != c.want {
				t.Errorf("Select = %s; want %s", got, c.want)
			}
		})
	}
	for _, c := range []struct {
		rules Rules
		names []string
	}{{nil, []string{"missing"}}, {Rules{"drivers/", "fs/ext9/"}, nil}, {Rules{"drivers/", "!drivers/nowhere/"}, nil}} {
		if _, err := read(t).Select(t.Context(), c.rules, c.names...); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Select(%v, %v) = %v; want fs.ErrNotExist", c.rules, c.names, err)
		}
	}
}

func TestABrokenModuleIsNamed(t *testing.T) {
	for name, data := range map[string][]byte{"no xz": []byte("text"), "no ELF file": xzOf(t, []byte("text"))} {
		d := sample(t)
		file := "usr/lib/modules/" + release + "/kernel/sound/core/snd.ko.xz"
		d.Files[file] = rootfs.Bytes(file, 0o644, data)
		k, err := Read(d)
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Select(t.Context(), nil, "snd")
		if !errors.Is(err, ErrFormat) || !strings.Contains(fmt.Sprint(err), "sound/core/snd") {
			t.Errorf("%s: %v; want ErrFormat and the module's name", name, err)
		}
	}
}

func xzOf(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack writes a set with all modules to a folder, and returns that of the modules.
func unpack(t *testing.T) string {
	t.Helper()
	set, err := read(t).Select(t.Context(), Rules{"drivers/", "fs/", "sound/"})
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, e := range set.Entries() {
		data, err := content(e)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(root, e.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, e.Mode.Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(root, "usr/lib/modules", release)
}

func TestIndex(t *testing.T) {
	dir := unpack(t)
	for name, want := range map[string]string{
		"modules.dep": `kernel/drivers/b/virtio-blk.ko.xz: kernel/drivers/b/virtio-ring.ko.xz kernel/drivers/b/virtio.ko.xz
kernel/drivers/b/virtio-ring.ko.xz: kernel/drivers/b/virtio.ko.xz
kernel/drivers/b/virtio.ko.xz:
kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/drivers/net/tun.ko.xz:
kernel/sound/core/snd.ko.xz:
kernel/drivers/n/needy.ko.xz:
`,
		"modules.softdep": `# Soft dependencies extracted from modules themselves.
softdep libcrc32c pre: crc32c
softdep needy pre: nowhere post: tun
`,
		"modules.alias": `# Aliases extracted from modules themselves.
alias virtio:d00000002v* virtio_blk
alias fs-xfs xfs
alias crypto-crc32c crc32c_generic
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias devname:net/tun tun
alias char-major-10-200 tun
`,
		"modules.devname": `# Device nodes to trigger on-demand module loading.
tun net/tun c10:200
`,
		"modules.builtin": "kernel/lib/in-kernel.ko\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What the node loads modules by understands the index.
func TestTheNodeReadsTheIndex(t *testing.T) {
	index, err := kmod.Open(unpack(t))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := index.Plan(kmod.Options{}, "xfs", "virtio-blk", "in-kernel")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
	}
	if got, want := strings.Join(names, " "), "crc32c_generic crc32c_intel libcrc32c xfs virtio virtio_ring virtio_blk"; got != want {
		t.Errorf("plan = %s; want %s", got, want)
	}
	found, err := index.Match("virtio:d00000002v00001AF4", "fs-xfs", "char-major-10-200")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"virtio:d00000002v00001AF4": {"virtio_blk"}, "fs-xfs": {"xfs"}, "char-major-10-200": {"tun"}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("Match (-want +got):\n%s", diff)
	}
}

// TestTheIndexIsThatOfDepmod compares with depmod(8), where it is installed (Debian: kmod), but for the order of lines.
func TestTheIndexIsThatOfDepmod(t *testing.T) {
	program, err := exec.LookPath("depmod")
	if err != nil {
		t.Log("depmod is not here; the golden files are compared all the same")
		return
	}
	dir := unpack(t)
	lines := func(name string) []string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Split(strings.TrimSpace(string(data)), "\n")
		slices.Sort(all)
		return all
	}
	names := []string{"modules.softdep", "modules.alias", "modules.devname"}
	var ours [][]string
	for _, name := range names {
		ours = append(ours, lines(name))
	}
	// depmod finds no symbols in these modules, and so no dependencies: modules.dep is compared by the golden text.
	root := strings.TrimSuffix(dir, "/usr/lib/modules/"+release)
	if err := os.Symlink("usr/lib", filepath.Join(root, "lib")); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "-b", root, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v\n%s", err, out)
	}
	for i, name := range names {
		theirs := lines(name)
		if diff := cmp.Diff(theirs, ours[i]); diff != "" {
			t.Errorf("%s (-depmod +ours):\n%s", name, diff)
		}
	}
}

func TestTheSetsNameTheirModulesOnce(t *testing.T) {
	for name, list := range map[string][]string{"Boot": Boot(), "Node": Node()} {
		sorted := slices.Sorted(slices.Values(list))
		if len(slices.Compact(sorted)) != len(list) {
			t.Errorf("%s has a name twice", name)
		}
	}
}

// Whatever a module has, reading it ends with what it says or with ErrFormat.
func FuzzReadInfo(f *testing.F) {
	f.Add([]byte("name=xfs\x00depends=a,b-c\x00softdep=pre: x post: y\x00alias=fs-xfs\x00"))
	f.Add([]byte("\x00=\x00depends=,,\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		info := parseInfo(text)
		for _, name := range info.Depends {
			if name == "" || strings.Contains(name, "-") {
				t.Errorf("it depends on %q", name)
			}
		}
		if _, err := readInfo(bytes.NewReader(text)); err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, io.EOF) {
			t.Errorf("readInfo: %v; want ErrFormat", err)
		}
	})
}

func TestModulesOfOthersAreInTheIndex(t *testing.T) {
	k := read(t)
	entry := func(name string, data []byte) rootfs.Entry {
		return rootfs.Bytes("usr/lib/modules/"+name, 0o600, data)
	}
	snd := module(t, "name=snd", "depends=")
	names, err := k.Add(
		entry(release+"/extra/gadget.ko.xz", module(t, "name=gadget", "alias=usb:v1p2*", "depends=snd")),
		entry(release+"/kernel/sound/core/snd.ko.xz", snd), // the package's own, which the root would not have
	)
	if d := cmp.Diff([]string{"gadget", "snd"}, names); d != "" || err != nil {
		t.Fatalf("Add (-want +got):\n%s%v", d, err)
	}
	set, err := k.Select(t.Context(), nil, names...)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"snd", "gadget"}, set.Names()); d != "" {
		t.Errorf("Names (-want +got):\n%s", d)
	}
	if got := string(set.dep()); !strings.Contains(got, "extra/gadget.ko.xz: kernel/sound/core/snd.ko.xz\n") {
		t.Errorf("modules.dep = %s", got)
	}
	if got := string(set.alias()); !strings.Contains(got, "alias usb:v1p2* gadget\n") {
		t.Errorf("modules.alias = %s", got)
	}
	for name, e := range map[string]rootfs.Entry{
		"of another kernel":     entry("6.12.9-other/extra/x.ko.xz", snd),
		"not compressed":        entry(release+"/extra/x.ko", snd),
		"another of its name":   entry(release+"/extra/tun.ko.xz", module(t, "name=tun", "depends=virtio")),
		"what is built in":      entry(release+"/extra/in-kernel.ko.xz", snd),
		"compressed by another": entry(release+"/extra/x.ko.zst", snd),
	} {
		if _, err := read(t).Add(e); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v; want ErrFormat", name, err)
		}
	}
}
