package metal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/client"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image"
	"talos.internal/internal/image/assets"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/verity"
	"talos.internal/internal/install"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/qemu"
	"talos.internal/internal/upgrade"
)

// The names of the installers of these tests: of another version, and of the one that is there.
const (
	installerRef = "talos.internal/installer:next"
	firstRef     = "talos.internal/installer:first"
)

// sendLimit is how long it may take to fetch an installer and write it.
const sendLimit = 8 * time.Minute

// installer makes installers of versions, by the names of their images, and returns the folder with those.
func installer(t *testing.T, versions map[string]*assets.Builder) (layout string) {
	t.Helper()
	var images []oci.Image
	for ref, b := range versions {
		img, err := b.WriteInstaller(ref, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	layout = filepath.Join(t.TempDir(), "layout")
	if err := oci.WriteLayout(layout, images); err != nil {
		t.Fatal(err)
	}
	return layout
}

// anotherVersion makes another version: the same programs with another hash tree, so another root, and another os-release. args go to its kernel; damage
// changes the root after its hash was taken.
func anotherVersion(t *testing.T, args string, damage func(root []byte, data int64)) (b *assets.Builder, version string) {
	t.Helper()
	from := filepath.Dir(built(t, assets.UKI))
	b = &assets.Builder{Images: &image.Builder{Arch: runtime.GOARCH, Debian: pinned(t)}, Dir: t.TempDir()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{assets.Kernel, assets.Initramfs} {
		must(os.Symlink(filepath.Join(from, name), filepath.Join(b.Dir, name)))
	}
	line, err := os.ReadFile(filepath.Join(from, assets.Cmdline))
	must(err)
	old, err := verity.Parse(string(line))
	must(err)
	root, err := os.ReadFile(filepath.Join(from, assets.Root))
	must(err)
	root = root[:old.Blocks*verity.BlockSize]
	salt := sha256.Sum256([]byte(args))
	var tree bytes.Buffer
	params, err := verity.Build(t.Context(), bytes.NewReader(root), int64(len(root)), salt[:], &tree)
	must(err)
	whole := append(root[:len(root):len(root)], tree.Bytes()...)
	if damage != nil {
		damage(whole, int64(len(root)))
	}
	must(os.WriteFile(filepath.Join(b.Dir, assets.Root), whole, 0o600))
	text := strings.TrimSpace(strings.Replace(string(line), old.Args(), params.Args(), 1) + " " + args)
	must(os.WriteFile(filepath.Join(b.Dir, assets.Cmdline), []byte(text+"\n"), 0o600))
	must(b.Unify(t.Context(), string(section(t, filepath.Join(from, assets.UKI), ".uname"))))
	// Another version, of the same length.
	version = buildinfo.Version[:len(buildinfo.Version)-1] + "9"
	uki, err := os.ReadFile(filepath.Join(b.Dir, assets.UKI))
	must(err)
	changed := bytes.ReplaceAll(uki, []byte("VERSION_ID="+buildinfo.Version), []byte("VERSION_ID="+version))
	if bytes.Equal(changed, uki) {
		t.Fatal("the UKI's os-release does not have the version of this build: make machine")
	}
	must(os.WriteFile(filepath.Join(b.Dir, assets.UKI), changed, 0o600))
	return b, version
}

// withInstaller makes a disk image of what was built, whose image cache has an installer: to send one to a machine that is emulated takes
// minutes.
func withInstaller(t *testing.T, layout string) string {
	t.Helper()
	b := sameVersion(t)
	err := b.WriteImageCache(t.Context(), layout)
	if err == nil {
		err = b.WriteDisk(t.Context(), assets.DiskOptions{ImageCache: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(b.Dir, assets.Disk)
}

// sameVersion has the files that were built, to make others of them.
func sameVersion(t *testing.T) *assets.Builder {
	t.Helper()
	from := filepath.Dir(built(t, assets.UKI))
	b := &assets.Builder{Images: &image.Builder{Arch: runtime.GOARCH, Debian: pinned(t)}, Dir: t.TempDir()}
	for _, name := range []string{assets.Kernel, assets.Initramfs, assets.Cmdline, assets.Root, assets.UKI, assets.BootLoader} {
		if err := os.Symlink(filepath.Join(from, name), filepath.Join(b.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (m *machine) do(args ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if _, err := m.talosctl(ctx, args...); err != nil {
		m.t.Fatal(err)
	}
}

// part is a part of a disk image, as the device of a partition is of a disk.
type part struct {
	*os.File
	at, size int64
}

func (p part) ReadAt(b []byte, off int64) (int, error)  { return p.File.ReadAt(b, p.at+off) }
func (p part) WriteAt(b []byte, off int64) (int, error) { return p.File.WriteAt(b, p.at+off) }
func (p part) Close() error                             { return nil } // the image is closed by who opened it
func (p part) Size() int64                              { return p.size }
func (p part) SectorSize() int                          { return 512 }

// opened is an installer that nobody has to fetch.
type opened struct{ assets install.Assets }

func (o opened) Assets() install.Assets { return o.assets }
func (o opened) Close() error           { return nil }

// blob is a file of a build, which is closed after the test.
func blob(t *testing.T, b *assets.Builder, name string) install.Blob {
	t.Helper()
	f, err := os.Open(filepath.Join(b.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return install.Blob{Reader: f, Size: st.Size()}
}

// engine is what a machine upgrades itself with, on a disk image on which a version runs.
func engine(t *testing.T, disk *os.File, running *assets.Builder, next install.Assets, record func(install.Record)) *upgrade.Engine {
	t.Helper()
	hash, err := install.ReadRootHash(blob(t, running, assets.UKI))
	if err != nil {
		t.Fatal(err)
	}
	st, err := disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := install.ReadTable(disk, st.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	partition := func(number int) (upgrade.Device, error) {
		for _, p := range table.Partitions {
			if p.Number == number {
				return part{disk, p.Offset, p.Size}, nil
			}
		}
		return nil, os.ErrNotExist
	}
	return &upgrade.Engine{
		Disk: func(context.Context) (upgrade.Disk, error) {
			whole := func() (upgrade.Device, error) { return part{disk, 0, st.Size()}, nil }
			return upgrade.Disk{Name: disk.Name(), Whole: whole, Claim: partition, Share: partition}, nil
		},
		Running: hash, Record: record,
		Open: func(context.Context, upgrade.Order, func(string) error) (upgrade.Installer, error) {
			return opened{next}, nil
		},
		Allowed: func(context.Context) (func(), error) { return nil, nil },
	}
}

// upgradedDisk is a disk image with the version of first in slot A, and in slot B that of next, which is to be tried. record is told of each write, and
// may be nil.
func upgradedDisk(t *testing.T, first, next *assets.Builder, o assets.DiskOptions, record func(install.Record)) string {
	t.Helper()
	if err := first.WriteDisk(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	disk, err := os.OpenFile(filepath.Join(first.Dir, assets.Disk), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	e := engine(t, disk, first, install.Assets{UKI: blob(t, next, assets.UKI), Root: blob(t, next, assets.Root)}, record)
	if err := e.Upgrade(t.Context(), upgrade.Order{ID: t.Name(), Image: installerRef}, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return disk.Name()
}

// The boot loader itself keeps to the rules that package sdboot has of it: it tries the new image, which breaks off, and then never again.
func TestTheBootLoaderTriesAnImageOnce(t *testing.T) {
	const mark = "loglevel=6"
	next, _ := anotherVersion(t, mark, func(root []byte, data int64) { clear(root[data : data+verity.BlockSize]) })
	m := newMachine(t, "metal-once", upgradedDisk(t, sameVersion(t), next, assets.DiskOptions{}, nil), false, qemu.Options{UEFI: true})
	m.says(commandLine, 1)
	m.restart(nil)
	m.says(commandLine, 2)
	var console bytes.Buffer
	if err := m.p.Logs(t.Context(), m.cluster.Name, m.node().Name, provision.LogOptions{}, &console); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(console.String(), commandLine)
	for i, want := range []bool{true, false} {
		first, _, _ := strings.Cut(lines[i+1], "\n")
		if strings.Contains(first, mark) != want {
			t.Errorf("start %d has the command line %q; want that of the new image: %t", i+1, first, want)
		}
	}
}

// A machine that is no cluster yet is not healthy, so its upgrades are forced: the API has to answer, and does. Somebody asks it all the time, and it is
// said how often in vain.
func TestUpgradeIsTriedAndKept(t *testing.T) {
	const limit = "talos.upgrade.limit=10m" // of a busy computer
	next, version := anotherVersion(t, limit, nil)
	first := sameVersion(t)
	m := newMachine(t, "metal-upgrade", withInstaller(t, installer(t, map[string]*assets.Builder{installerRef: next, firstRef: first})), false, qemu.Options{UEFI: true})
	m.answers()
	m.holdsContainers()
	before := m.identity()
	for _, step := range []struct{ image, running, to string }{{installerRef, "B", version}, {firstRef, "A", buildinfo.Version}} {
		began := time.Now()
		asked := m.asks()
		m.do("upgrade", "--legacy", "--force", "--image", step.image, "--wait=false")
		m.shows("upgradestatus", "phase: permanent", "running: "+step.running, "to: "+step.to)
		t.Logf("to slot %s in %s; %s", step.running, seconds(time.Since(began)), asked())
		if after := m.identity(); after != before {
			t.Errorf("after the upgrade to slot %s the identity is %q; want %q", step.running, after, before)
		}
	}
	m.survives()
	m.shows("upgradestatus", "phase: permanent", "running: A")
}

// holdsContainers waits for containerd, which fetches installers.
func (m *machine) holdsContainers() {
	m.t.Helper()
	m.until("containerd to be healthy", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "get", "services", "containerd", "-o", "yaml")
		if err == nil && !strings.Contains(out, "healthy: true") {
			err = fmt.Errorf("it is not: %s", out)
		}
		return err
	})
}

// asks asks the API four times a second, until the function is called that it returns, which says what came of it.
func (m *machine) asks() func() string {
	m.t.Helper()
	c, err := client.New(client.Options{Context: m.context()})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(m.t.Context())
	said := make(chan string, 1)
	go func() {
		asked, failed, gap, last := 0, 0, time.Duration(0), time.Now()
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(ctx, time.Second)
			_, err := client.Only(c.Machine().Version(one, &emptypb.Empty{}))
			cancel()
			if ctx.Err() != nil {
				break
			}
			asked++
			if err != nil {
				failed++
			} else {
				last = time.Now()
			}
			gap = max(gap, time.Since(last))
			time.Sleep(250 * time.Millisecond)
		}
		said <- fmt.Sprintf("the API was asked %d times, %d in vain, at most %s without an answer", asked, failed, seconds(gap))
	}()
	return func() string {
		cancel()
		defer c.Close()
		return <-said
	}
}
