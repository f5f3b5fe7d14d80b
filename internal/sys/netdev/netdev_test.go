package netdev

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLookup(t *testing.T) {
	root := t.TempDir()
	dir := func(parts ...string) string {
		t.Helper()
		d := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		return d
	}
	write := func(file, text string) error { return os.WriteFile(file, []byte(text), 0o644) }
	pci := dir("devices", "pci0000:00", "0000:00:03.0")
	virtio := dir("devices", "pci0000:00", "0000:00:03.0", "virtio1")
	usb := dir("devices", "platform", "usb1", "1-1")
	err := errors.Join(write(filepath.Join(pci, "vendor"), "0x1af4\n"), write(filepath.Join(pci, "device"), "0x1041\n"),
		os.Symlink("../../../../bus/virtio/drivers/virtio_net", filepath.Join(virtio, "driver")),
		os.Symlink(virtio, filepath.Join(dir("class", "net", "eth0"), "device")),
		os.Symlink(usb, filepath.Join(dir("class", "net", "usb0"), "device")))
	dir("class", "net", "lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		link string
		want Info
	}{
		{"eth0", Info{Driver: "virtio_net", BusPath: "0000:00:03.0", PCIID: "1AF4:1041"}},
		{"usb0", Info{BusPath: "1-1"}},
		{"lo", Info{}}, {"none", Info{}}, {"", Info{}}, {"../eth0", Info{}},
	} {
		if got := Lookup(root, tc.link); got != tc.want {
			t.Errorf("Lookup(%q) = %+v; want %+v", tc.link, got, tc.want)
		}
	}
}
