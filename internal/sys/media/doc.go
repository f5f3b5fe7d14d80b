// Package media looks at block devices as the start of a machine needs it: which disks there are, which unique GUIDs their
// partitions have, which label an ISO 9660 file system has and of which type a file system is.
//
// It reads what it needs and no more: it is part of the initramfs, and what it finds is checked afterwards, by dm-verity.
// The parsers take an io.ReaderAt, trust nothing in it and are fuzzed. To know disks in full, with sizes, errors and every
// file system, is the business of the controllers. Linux only; anything may import it that may import internal/sys.
package media
