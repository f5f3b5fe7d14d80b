// Package dm makes devices of the kernel's device mapper: devices whose blocks are those of others, changed or checked on
// the way.
//
// A [Table] says what a device is made of. [Create] makes it, with the ioctls of linux/dm-ioctl.h and without a program or a
// library; [Remove] takes it away. [Verity] is the table of dm-verity: a read-only device each of whose blocks is checked
// against a tree of hashes, with a root hash that the caller trusts (admin-guide/device-mapper/verity.rst).
//
// The kernel needs dm-mod, and the module of the target. Linux only; anything may import it that may import internal/sys.
package dm
