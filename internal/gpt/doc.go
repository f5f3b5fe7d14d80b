// Package gpt reads, changes and writes GUID partition tables (UEFI specification 2.10, chapter 5).
//
// A [Table] is a value in memory. [Read] takes it from a disk, from the backup at the disk's end if the primary at its beginning
// is damaged. [Table.Encode] turns it into writes, in an order that leaves one complete table on the disk whenever power is
// cut: the backup first, then the primary. Linux looks at the backup only with "gpt" on its command line.
//
// Partitions are made on bounds of 1 MiB. Sizes and offsets of the interface are in bytes; sectors are an affair of the format.
//
// The package does no I/O but through the reader that it is given, and tells no kernel of anything. It imports nothing of ours;
// anything may import it.
package gpt
