// Package uki makes unified kernel images, and reads their sections: a UEFI program whose sections hold kernel, command line and
// initramfs, so that one signature covers them all (UAPI group's specification 5, "Unified Kernel Image").
//
// The code in it is systemd's stub, systemd-stub(7), to which [Build] adds sections. The format is Microsoft's PE/COFF for 64-bit
// programs, of which [Read] understands what such an image has. [Read] takes files from anywhere, and is fuzzed.
//
// The package is pure and imports nothing of ours. It may be imported by what makes images and by what installs them.
package uki
