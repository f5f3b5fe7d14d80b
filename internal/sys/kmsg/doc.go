// Package kmsg reads and writes the log of the kernel, record by record.
//
// The log is a ring: what is not read in time is overwritten, and a gap in the sequence numbers shows it. A [Record] is
// parsed from one read of the device, in the format of the kernel's ABI/testing/dev-kmsg. [Read] gives all that the ring
// holds, or what comes, or both; each call has a position of its own. A [Writer] puts lines into the log, where they come
// out on the console, too, before anything else of the system runs.
//
// In a container the log, if it is there at all, is that of the machine. The package does not keep what it reads. Linux
// only; anything may import it that may import internal/sys.
package kmsg
