// Package uki makes unified kernel images: a UEFI program whose sections hold kernel, command line and initramfs, so that one signature
// covers them all (UAPI group's specification 5, "Unified Kernel Image").
//
// The code in it is systemd's stub, systemd-stub(7), which finds its sections by their names, measures them, and starts the kernel.
// With a key for PCR signatures the image says by itself which start of it may unseal secrets: see package pcrsig. The signature for
// Secure Boot comes last, over all of it: see package authenticode.
//
// The package does no I/O but to the writer that it is given.
package uki
