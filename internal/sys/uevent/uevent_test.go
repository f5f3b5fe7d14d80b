package uevent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const disk = "add@/devices/pci0000:00/0000:00:03.0/virtio0/block/vda\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:03.0/virtio0/block/vda\x00SUBSYSTEM=block\x00DEVNAME=vda\x00DEVTYPE=disk\x00SEQNUM=1234\x00"

func TestAMessageOfTheKernelIsRead(t *testing.T) {
	e, err := Parse([]byte(disk))
	if err != nil {
		t.Fatal(err)
	}
	want := Event{Action: "add", Path: "/devices/pci0000:00/0000:00:03.0/virtio0/block/vda", Vars: map[string]string{
		"ACTION": "add", "DEVPATH": "/devices/pci0000:00/0000:00:03.0/virtio0/block/vda", "SUBSYSTEM": "block", "DEVNAME": "vda", "DEVTYPE": "disk", "SEQNUM": "1234",
	}}
	if d := cmp.Diff(want, e); d != "" {
		t.Errorf("Parse() (-want +got):\n%s", d)
	}
	for _, bad := range []string{"", "libudev\x00\xfe\xed\xca\xfe", "add@", "@/x", "add@/x\x00a"} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, errFormat) {
			t.Errorf("Parse(%q) = %v; want that it is no message", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(disk))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := Parse(b); err == nil && (e.Action == "" || e.Path == "" || e.Vars == nil) {
			t.Errorf("Parse(%q) = %+v", b, e)
		}
	})
}

func TestTheDevicesThatAreThereSayWhatTheyAre(t *testing.T) {
	root := t.TempDir()
	for p, text := range map[string]string{
		"bus/pci/devices/a/modalias": "pci:v00001AF4\n", "bus/virtio/devices/b/modalias": "virtio:d2\n", "bus/virtio/devices/c/modalias": "virtio:d2\n",
		"bus/pci/devices/d/modalias": "\n", "bus/pci/devices/e/uevent": "x\n", "bus/pci/drivers/f": "x\n", "devices/system/cpu/modalias": "cpu:x\n",
		"class/dmi/id/modalias": "dmi:y\n", "class/input/input0/modalias": "input:z\n",
	} {
		file := filepath.Join(root, "sys", p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Aliases(root)
	if d := cmp.Diff([]string{"cpu:x", "dmi:y", "input:z", "pci:v00001AF4", "virtio:d2"}, got); d != "" || err != nil {
		t.Errorf("Aliases() (-want +got):\n%s, %v", d, err)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	l, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := errors.New("long enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Millisecond, ended)
	defer cancel()
	for {
		if _, err = l.Next(ctx); err != nil && !errors.Is(err, ErrLost) { // this machine may have devices that come and go
			break
		}
	}
	if !errors.Is(err, ended) {
		t.Errorf("Next() = %v; want the cause of its context", err)
	}
}

// The kernel is asked to say again that there is /dev/null.
func TestDevicesOfASubsystemAreSeen(t *testing.T) {
	const device = "/devices/virtual/mem/null"
	trigger := func() error { return os.WriteFile("/sys"+device+"/uevent", []byte("change"), 0) }
	if err := trigger(); errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		t.Skipf("only root may ask the kernel for messages: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seen, ended := make(chan string, 100), make(chan error, 1)
	go func() { ended <- Watch(ctx, "mem", func(path string) { seen <- path }) }()
	for path := ""; path != device; {
		if err := trigger(); err != nil {
			t.Fatal(err)
		}
		select {
		case path = <-seen:
		case <-time.After(20 * time.Millisecond): // it may not listen yet
		case <-ctx.Done():
			t.Fatalf("no message of %s; the last was of %q", device, path)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Watch = %v when its context has ended; want nil", err)
	}
}
