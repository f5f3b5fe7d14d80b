// Package proc reads what the kernel reports in its text files: memory, CPUs, disks, network devices, mounts, processes,
// sockets, sysctls.
//
// A [Reader] reads below one root: PID 1 uses "/", tests a directory with captured files. Each file has a parser that
// takes an io.Reader and a method of Reader that opens the file and calls it. The structs say what their numbers count;
// sizes stay in the kernel's own unit where the API of the machine wants that unit.
//
// Parsers are tolerant where kernels differ and strict where a file is broken: a line or a column that they do not know
// is skipped, a missing one leaves zero, and a value that is no number where a number belongs is a [*ParseError] with
// file and line. Nothing is cached; each call sees the machine as it is now. All of the package is safe for concurrent
// use.
//
// The formats are those of the kernel's Documentation/filesystems/proc.rst and proc(5). The package changes nothing but
// sysctls. Anything may import it that may import internal/sys; mounting is package mount's.
package proc
