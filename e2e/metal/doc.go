// Package metal has the tests of machines with firmware and disks of their own: virtual machines of the provisioner qemu, from the
// images that make machine builds in _out/machine.
//
// They need no root and share nothing with this computer but processor, memory and temporary files. Boots are few, since each
// costs seconds, and many of them without KVM: a test asks a machine for everything before it starts it again. QEMU_TEST says
// that they are wanted; without the images they are skipped and say what is missing. There is nothing to import.
package metal
