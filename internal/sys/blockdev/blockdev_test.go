package blockdev

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sysfs makes a tree of files and links ("-> target") below a new root.
func sysfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, "sys", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestListReadsWhatTheKernelSays(t *testing.T) {
	const (
		vda  = "devices/pci0000:00/0000:00:02.0/virtio1/block/vda/"
		nvme = "devices/pci0000:00/0000:00:03.0/nvme/nvme0/nvme0n1/"
		sda  = "devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/"
		sr0  = "devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sr0/"
		dm0  = "devices/virtual/block/dm-0/"
	)
	root := sysfs(t, map[string]string{
		"block/vda": "-> ../" + strings.TrimSuffix(vda, "/"), "block/nvme0n1": "-> ../" + strings.TrimSuffix(nvme, "/"),
		"block/sda": "-> ../" + strings.TrimSuffix(sda, "/"), "block/sr0": "-> ../" + strings.TrimSuffix(sr0, "/"), "block/dm-0": "-> ../" + strings.TrimSuffix(dm0, "/"),
		"block/ram0/size": "100\n", "block/gone": "-> ../devices/nothing", "block/loop0/size": "0\n",
		vda + "size": "20971520\n", vda + "dev": "254:0\n", vda + "ro": "0\n", vda + "serial": "system\n", vda + "device/modalias": "virtio:d00000002v00001AF4\n",
		vda + "queue/logical_block_size": "512\n", vda + "queue/minimum_io_size": "512\n", vda + "queue/optimal_io_size": "0\n", vda + "queue/rotational": "1\n",
		vda + "vda2/partition": "2\n", vda + "vda2/start": "4096\n", vda + "vda2/size": "2048\n", vda + "vda2/dev": "254:2\n",
		vda + "vda1/partition": "1\n", vda + "vda1/start": "2048\n", vda + "vda1/size": "2048\n", vda + "vda1/dev": "254:1\n", vda + "vda1/ro": "1\n",
		nvme + "size": "8\n", nvme + "wwid": "eui.0025\n", nvme + "uuid": "0-1\n", nvme + "queue/logical_block_size": "4096\n", nvme + "queue/rotational": "0\n",
		nvme + "device/model": "Fast  One   \n", nvme + "device/serial": "S1\n", nvme + "device/firmware_rev": "7\n", nvme + "dev": "259:0\n",
		sda + "size": "8\n", sda + "device/model": "Disk\n", sda + "device/vpd_pg80": "\x00\x80\x00\x08  SER123", sda + "device/wwid": "naa.5000\n", sda + "ro": "1\n",
		sr0 + "size": "8\n", sr0 + "device/type": "5\n",
		dm0 + "size": "8\n", dm0 + "slaves/sda": "x", dm0 + "dm/uuid": "CRYPT-1\n",
	})
	got, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []Disk{
		{Name: "dm-0", SysPath: "/sys/devices/virtual/block/dm-0", Size: 4096, SectorSize: 512, UUID: "CRYPT-1", Below: []string{"sda"}},
		{Name: "nvme0n1", Major: 259, SysPath: "/sys/" + strings.TrimSuffix(nvme, "/"), Size: 4096, SectorSize: 4096, Model: "Fast  One", Firmware: "7", Serial: "S1",
			WWID: "eui.0025", UUID: "0-1", BusPath: "/pci0000:00/0000:00:03.0/nvme/nvme0", Transport: "nvme"},
		{Name: "sda", SysPath: "/sys/" + strings.TrimSuffix(sda, "/"), Size: 4096, SectorSize: 512, ReadOnly: true, Model: "Disk", Serial: "SER123", WWID: "naa.5000",
			BusPath: "/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0", Transport: "sata"},
		{Name: "sr0", SysPath: "/sys/" + strings.TrimSuffix(sr0, "/"), Size: 4096, SectorSize: 512, CDROM: true,
			BusPath: "/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0", Transport: "sata"},
		{Name: "vda", Major: 254, SysPath: "/sys/" + strings.TrimSuffix(vda, "/"), Size: 10 << 30, SectorSize: 512, IOSize: 512, Rotational: true, Serial: "system",
			Modalias: "virtio:d00000002v00001AF4", BusPath: "/pci0000:00/0000:00:02.0/virtio1", Transport: "virtio",
			Partitions: []Partition{
				{Name: "vda1", Number: 1, Major: 254, Minor: 1, SysPath: "/sys/" + vda + "vda1", Offset: 1 << 20, Size: 1 << 20, ReadOnly: true},
				{Name: "vda2", Number: 2, Major: 254, Minor: 2, SysPath: "/sys/" + vda + "vda2", Offset: 2 << 20, Size: 1 << 20},
			}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestThisMachineCanBeListed(t *testing.T) {
	if _, err := List(""); err != nil {
		t.Error(err)
	}
}

func TestAFileIsADevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Size() != 8192 || d.SectorSize() != 512 || d.Name() != path {
		t.Errorf("%s: size %d, sectors of %d", d.Name(), d.Size(), d.SectorSize())
	}
	if err := errors.Join(d.Reread(t.Context()), d.AddPartition(1, 0, 512), d.Sync()); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Dir(path)); err == nil {
		t.Error("a directory was opened as a device")
	}
	if _, err := Open("/dev/null"); err == nil {
		t.Error("/dev/null was opened as a device")
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestKernel goes through what only a kernel can show, on a loop device: size, claim, growing.
func TestAClaimIsRefusedWhileMountedAndAFileSystemGrows(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for a loop device; CI runs as root")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 32<<20); err != nil {
		t.Fatal(err)
	}
	loop := run(t, "losetup", "--find", "--show", file)
	defer func() { _ = exec.Command("losetup", "--detach", loop).Run() }()
	d, err := Claim(loop)
	if err != nil {
		t.Fatal(err)
	}
	if d.Size() != 32<<20 || d.SectorSize() != 512 {
		t.Errorf("size %d, sectors of %d; want 32 MiB, 512", d.Size(), d.SectorSize())
	}
	if _, err := Claim(loop); !errors.Is(err, ErrBusy) {
		t.Errorf("a second claim = %v; want ErrBusy", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", loop)
	point := t.TempDir()
	if err := syscall.Mount(loop, point, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(point, 0) }()
	if _, err := Claim(loop); !errors.Is(err, ErrBusy) {
		t.Errorf("claim of what is mounted = %v; want ErrBusy", err)
	}
	if _, err := GrowXFS(point, 64<<20); err == nil {
		t.Error("GrowXFS of an ext4 succeeded")
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "losetup", "--set-capacity", loop)
	// Root of a container may lack the capability: then the kernel has understood the request at least.
	if err := GrowExt4(point, 64<<20); err != nil && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("GrowExt4 = %v", err)
	}
	s, err := Open(loop)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Reread(ctx); err == nil {
		t.Error("the table of a mounted device was read again")
	}
}

func TestWhatIsProtectedCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := Protect(file); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("Protect of a file = %v; want that it is no device", err)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for a loop device; CI runs as root")
	}
	loop := run(t, "losetup", "--find", "--show", file)
	// A loop device keeps the mark when its file is taken away: the next one who gets it could not write.
	defer func() {
		_ = errors.Join(exec.Command("blockdev", "--setrw", loop).Run(), exec.Command("losetup", "--detach", loop).Run())
	}()
	d, err := Share(loop)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	if err := Protect(loop); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(make([]byte, 512), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a write by who had opened it before = %v; want EPERM", err)
	}
	if _, err := d.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("a read: %v", err)
	}
}

func TestSwapHeaderIsRecognised(t *testing.T) {
	b, err := SwapHeader(16<<20, "s-swap")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "swap")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 16<<20); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "blkid", "--probe", "--output", "export", file); !strings.Contains(out, "TYPE=swap") || !strings.Contains(out, "LABEL=s-swap") {
		t.Errorf("blkid says %s", out)
	}
	if _, err := SwapHeader(4096, ""); err == nil {
		t.Error("a swap space of one page was made")
	}
}
