// Package netdev tells what hardware is behind a network link, from sysfs (Documentation/ABI/testing/sysfs-class-net).
//
// It reads; links themselves are package rtnl's. Linux only; anything may import it that may import internal/sys.
package netdev

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Root is where sysfs is mounted.
const Root = "/sys"

// Info is the hardware behind a link. What sysfs does not tell, as for links that are made by software, is empty.
type Info struct {
	Driver  string // of the device, "virtio_net"
	BusPath string // of the device on its bus, "0000:00:03.0"; of a device behind another one, such as virtio's, that of the PCI device
	PCIID   string // vendor and device, "1AF4:1041"
}

// pciAddress is domain, bus, device and function.
var pciAddress = regexp.MustCompile(`^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// Lookup returns what a sysfs at root tells of a link.
func Lookup(root, link string) Info {
	if link == "" || strings.ContainsRune(link, '/') {
		return Info{}
	}
	device, err := filepath.EvalSymlinks(filepath.Join(root, "class", "net", link, "device"))
	if err != nil {
		return Info{}
	}
	var out Info
	if driver, err := os.Readlink(filepath.Join(device, "driver")); err == nil {
		out.Driver = filepath.Base(driver)
	}
	out.BusPath = filepath.Base(device)
	for dir := device; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if pciAddress.MatchString(filepath.Base(dir)) {
			out.BusPath = filepath.Base(dir)
			vendor, product := number(dir, "vendor"), number(dir, "device")
			if vendor != "" && product != "" {
				out.PCIID = vendor + ":" + product
			}
			break
		}
	}
	return out
}

// number reads a file such as "0x1af4".
func number(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.ToUpper(strings.TrimPrefix(strings.TrimSpace(string(b)), "0x"))
}
