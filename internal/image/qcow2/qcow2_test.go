package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// disk is mostly zero, with contents at its beginning, its end, and where tables change.
func disk(size int) []byte {
	b := make([]byte, size)
	random := rand.New(rand.NewPCG(1, 2))
	for _, at := range []int{0, 100_000, 7*clusterSize - 1, size - 512} {
		for i := range 512 {
			if at+i < size {
				b[at+i] = byte(random.Uint32())
			}
		}
	}
	return b
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(t.Context(), f, bytes.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
	return name
}

// readBack reads an image by its tables alone.
func readBack(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	if string(b[:4]) != "QFI\xfb" || be.Uint32(b[4:]) != 3 {
		t.Fatalf("header % x", b[:8])
	}
	out := make([]byte, be.Uint64(b[24:]))
	l1 := be.Uint64(b[40:])
	for i := range uint64(be.Uint32(b[36:])) {
		l2 := be.Uint64(b[l1+8*i:]) &^ copied
		if l2 == 0 {
			continue
		}
		for j := range uint64(perTable) {
			if at := be.Uint64(b[l2+8*j:]) &^ copied; at != 0 {
				to := (i*perTable + j) * clusterSize
				copy(out[to:], b[at:min(at+clusterSize, uint64(len(b)))])
			}
		}
	}
	return out
}

func TestTheImageHasTheDisk(t *testing.T) {
	for _, size := range []int{512, clusterSize, 10*clusterSize + 512, 100 * clusterSize} {
		content := disk(size)
		name := write(t, content)
		if !bytes.Equal(readBack(t, name), content) {
			t.Errorf("%d bytes: what is read differs", size)
		}
		checkByQEMU(t, name, content)
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 12*clusterSize {
			t.Errorf("%d bytes with five clusters that are not zero take %d", size, info.Size())
		}
		if again, err := os.ReadFile(write(t, content)); err != nil || !bytes.Equal(again, must(t, name)) {
			t.Errorf("%d bytes: a second image of the disk differs, %v", size, err)
		}
	}
}

func must(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkByQEMU lets qemu-img compare and check, where it is installed (Debian: qemu-utils); the reader above is there always.
func checkByQEMU(t *testing.T, name string, content []byte) {
	t.Helper()
	program, err := exec.LookPath("qemu-img")
	if err != nil {
		return
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "-f", "qcow2", name}, {"compare", "-f", "raw", "-F", "qcow2", raw, name}} {
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			t.Errorf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
}

func TestHolesAreNotRead(t *testing.T) {
	content := disk(100 * clusterSize)
	reads := 0
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	holes := func(at int64) (int64, error) {
		reads++
		if at > 8*clusterSize {
			return int64(len(content)) - 512, nil
		}
		return at, nil
	}
	if err := Write(t.Context(), f, bytes.NewReader(content), int64(len(content)), holes); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readBack(t, f.Name()), content) || reads > 12 {
		t.Errorf("%d clusters were looked at, or the disk differs", reads)
	}
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int64{0, 511, -512, maxSize + 512} {
		if err := Write(t.Context(), f, bytes.NewReader(nil), size, nil); err == nil {
			t.Errorf("%d bytes: no error", size)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, f, bytes.NewReader(make([]byte, 512)), 512, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
