package qemu

import "time"

// Name is the name of this provisioner in states and flags.
const Name = "qemu"

// Options are what a provisioner works with. Paths are absolute, or relative to the working directory.
//
// Those of machines are for clusters that are created; later nodes of a cluster get what its first ones got. What a machine
// boots is the image of the request, a file: a disk image (raw or qcow2), which each machine gets a layer of its own on; an
// ISO 9660 image, which is in its drive, beside an empty disk; or a kernel for x86 (bzImage), beside an empty disk.
type Options struct {
	Dir string // of clusters: see provision.DefaultDir
	// Switch is the command that runs [layer2.Run] with the folder that it gets as one more argument: talosctl itself.
	Switch []string

	Kernel    string // boot this kernel instead of what the image has; the image is then still the disk, or in the drive
	Initramfs string // with a kernel
	Cmdline   string // the kernel's command line, with a kernel
	Disk      int64  // bytes of the disk at least; 0 is DefaultDisk
	UEFI      bool   // boot by firmware, not by QEMU's own BIOS; not with a kernel
	// SecureBoot takes a firmware that insists on signatures once it has keys, which at first it has not: it is in setup mode. With UEFI.
	SecureBoot bool
	TPM        bool // a TPM 2.0
	// DHCP leaves the addresses out of the seed: machines ask the network, which leases from the first node's address upwards to those
	// who ask, in their order.
	DHCP bool
	// Clock is the time that the machines' clocks show at each start of QEMU; the zero time is the right one.
	Clock time.Time
}

// DefaultDisk is the size of a disk in bytes, as published: 6144 MB.
const DefaultDisk = 6144 << 20

// DefaultMemory is the memory of a machine whose request has no limit.
const DefaultMemory = 2 << 30
