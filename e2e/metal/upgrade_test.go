package metal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image"
	"talos.internal/internal/image/assets"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/verity"
	"talos.internal/internal/install"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/qemu"
)

// installerRef is the name of the installers of these tests.
const installerRef = "talos.internal/installer:next"

// sendLimit is how long it may take to fetch an installer and write it.
const sendLimit = 8 * time.Minute

// another makes an installer of another version: the same programs with another hash tree, so another root, and another os-release. args go
// to its kernel; damage changes the root after its hash was taken. It returns the folder with the image and the version.
func another(t *testing.T, args string, damage func(root []byte, data int64)) (layout, version string) {
	t.Helper()
	b, version := anotherVersion(t, args, damage)
	img, err := b.WriteInstaller(installerRef, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	layout = filepath.Join(t.TempDir(), "layout")
	if err := oci.WriteLayout(layout, []oci.Image{img}); err != nil {
		t.Fatal(err)
	}
	return layout, version
}

// anotherVersion makes what another installs.
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

// stage has the machine write the version of its image cache, to be tried at its next start.
func (m *machine) stage() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), sendLimit)
	defer cancel()
	began := time.Now()
	out, err := m.talosctl(ctx, "upgrade", "--image", installerRef, "--stage")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("staged in %v:\n%s", time.Since(began).Round(time.Second), out)
	m.shows("upgradestatus", "phase: prepared")
}

func (m *machine) do(args ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if _, err := m.talosctl(ctx, args...); err != nil {
		m.t.Fatal(err)
	}
}

// target is a disk image that is written to.
type target struct{ *os.File }

// upgradedDisk is a disk image with what was built in slot A, and in slot B the version of next, which is to be tried.
func upgradedDisk(t *testing.T, next *assets.Builder) string {
	t.Helper()
	b := sameVersion(t)
	if err := b.WriteDisk(t.Context(), assets.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	open := func(dir, name string) install.Blob {
		f, err := os.Open(filepath.Join(dir, name))
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
	running, err := install.ReadRootHash(open(b.Dir, assets.UKI))
	if err != nil {
		t.Fatal(err)
	}
	a := install.Assets{UKI: open(next.Dir, assets.UKI), Root: open(next.Dir, assets.Root)}
	hash, err := install.ReadRootHash(a.UKI)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(b.Dir, assets.Disk), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := install.ReadSystem(f, st.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	p, err := install.PlanUpgrade(install.UpgradeRequest{Disk: f.Name(), System: s, Running: running, UKI: a.UKI.Size, Root: a.Root.Size, RootHash: hash})
	if err != nil {
		t.Fatal(err)
	}
	if err := install.Execute(t.Context(), p, &install.Recorder{Target: target{f}}, a, nil); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// The boot loader itself keeps to the rules that package sdboot has of it: it tries the new image, which breaks off, and then never again.
func TestTheBootLoaderTriesAnImageOnce(t *testing.T) {
	const mark = "loglevel=6"
	next, _ := anotherVersion(t, mark, func(root []byte, data int64) { clear(root[data : data+verity.BlockSize]) })
	m := newMachine(t, "metal-once", upgradedDisk(t, next), false, qemu.Options{UEFI: true})
	const line = "] Kernel command line: "
	m.says(line, 1)
	m.restart(nil)
	m.says(line, 2)
	var console bytes.Buffer
	if err := m.p.Logs(t.Context(), m.cluster.Name, m.node().Name, provision.LogOptions{}, &console); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(console.String(), line)
	for i, want := range []bool{true, false} {
		first, _, _ := strings.Cut(lines[i+1], "\n")
		if strings.Contains(first, mark) != want {
			t.Errorf("start %d has the command line %q; want that of the new image: %t", i+1, first, want)
		}
	}
}

// A machine that is no cluster yet is not healthy, so its upgrade is forced: the API has to answer, and does.
func TestUpgradeIsTriedAndKept(t *testing.T) {
	layout, version := another(t, "talos.upgrade.limit=10m", nil)
	m := newMachine(t, "metal-upgrade", withInstaller(t, layout), false, qemu.Options{UEFI: true})
	m.answers()
	before := m.identity()
	m.do("upgrade", "--legacy", "--force", "--image", installerRef, "--wait=false")
	m.shows("upgradestatus", "phase: permanent", "running: B", "to: "+version)
	if after := m.identity(); after != before {
		t.Errorf("after the upgrade the identity is %q; want %q", after, before)
	}
	m.survives()
	m.shows("upgradestatus", "phase: permanent", "running: B")
}

// Each of a catalogue of broken systems ends in the one from before, by itself, with the reason.
func TestBrokenUpgradesEndInTheOldSystem(t *testing.T) {
	for _, tc := range []struct {
		name, args string
		damage     func(root []byte, data int64)
		reason     string
	}{
		{"no root", "loglevel=4", func(root []byte, data int64) { clear(root[data : data+verity.BlockSize]) }, "before it could prove itself"},
		{"init breaks off", "loglevel=5 talos.platform=none", nil, "before it could prove itself"},
		{"never healthy", "talos.upgrade.limit=1m", nil, "it did not prove itself within 1m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			layout, _ := another(t, tc.args, tc.damage)
			m := newMachine(t, "metal-broken", withInstaller(t, layout), false, qemu.Options{UEFI: true})
			m.answers()
			m.stage()
			began := time.Now()
			m.do("reboot", "--wait=false")
			m.shows("upgradestatus", "phase: failed", "running: A", tc.reason)
			t.Logf("back after %v", time.Since(began).Round(time.Second))
			m.says(tc.reason, 1)
		})
	}
}
