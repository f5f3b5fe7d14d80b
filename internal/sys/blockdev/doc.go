// Package blockdev opens disks and partitions, tells the kernel of changed partition tables, and reads from sysfs what disks there are.
//
// A [Device] is an open one, or a regular file in its place, as disk images and tests have. One that is opened to be changed is claimed:
// the kernel refuses it, with [ErrBusy], while it or a partition of it is mounted or in use by another device, and refuses to mount it
// meanwhile. [List] reads what the kernel knows of all of them from a sysfs below a root of the caller's choice, so that captured
// trees can be read.
//
// What is on a device is not the subject of this package: see internal/superblock and internal/gpt. Linux only.
package blockdev
