package squash

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/superblock"
)

var opened *debian.Pinned

// source is the repository's own lock, with packages that were downloaded for a build, or by apt now.
func source(t *testing.T) debian.Source {
	t.Helper()
	if opened != nil {
		return opened
	}
	f, err := os.Open("../packages.lock")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock, err := debian.ParseLock(f)
	if err != nil {
		t.Fatal(err)
	}
	s := &debian.Pinned{Lock: lock, Cache: &debian.Cache{Dir: "../../../_out/cache/debs", Archive: debian.NewApt(runtime.GOARCH)}}
	if _, err := s.Package(t.Context(), Tool.Package); err != nil {
		t.Skipf("the package %s is neither in _out/cache/debs nor does apt give it: %v", Tool.Package, err)
	}
	opened = s
	return s
}

func sample(t *testing.T) *rootfs.Tree {
	t.Helper()
	tree := &rootfs.Tree{}
	err := tree.Add(rootfs.Bytes("usr/sbin/init", 0o755, bytes.Repeat([]byte("init "), 1<<16)), rootfs.Symlink("sbin", "usr/sbin"),
		rootfs.Dir("tmp", 0o777|fs.ModeSticky), rootfs.Bytes("etc/hosts", 0o644, nil))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func write(t *testing.T, tree *rootfs.Tree, o Options) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "root")
	if err := Write(t.Context(), source(t), tree, name, o); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTheSameTreeGivesTheSameBytes(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1000000000") // it is not to count
	first := write(t, sample(t), Options{})
	procs := runtime.GOMAXPROCS(1)
	second := write(t, sample(t), Options{})
	runtime.GOMAXPROCS(procs)
	if !bytes.Equal(first, second) {
		t.Error("two file systems of one tree differ")
	}
	tree := sample(t)
	if err := tree.Add(rootfs.Bytes("etc/more", 0o644, nil)); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, write(t, tree, Options{})) {
		t.Error("another tree gave the same file system")
	}
	if len(first)%4096 != 0 {
		t.Errorf("the file system has %d bytes; want a multiple of 4096, for a hash tree", len(first))
	}
	found, _, err := superblock.Probe(bytes.NewReader(first), int64(len(first)), 512)
	if err != nil || found.Name != "squashfs" {
		t.Errorf("what is written is found to be %v, %v", found, err)
	}
}

func TestOptionsDecideHowMuchIsPacked(t *testing.T) {
	small, quick, stored := len(write(t, sample(t), Options{})), len(write(t, sample(t), Options{Quick: true})), len(write(t, sample(t), Options{Store: true}))
	if small > quick || quick >= stored || stored < 5<<16 {
		t.Errorf("sizes: small %d, quick %d, stored %d", small, quick, stored)
	}
}

func TestAFailureLeavesNoFile(t *testing.T) {
	tree := sample(t)
	broken := rootfs.Bytes("etc/broken", 0o644, nil)
	broken.Open = func() (io.ReadCloser, error) { return nil, fs.ErrPermission }
	if err := tree.Add(broken); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "root")
	if err := Write(t.Context(), source(t), tree, name, Options{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Write = %v; want what the file said", err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
}
