// Package superblock recognises what is on a disk or partition by the first and last bytes of it: partition tables, file systems,
// encryption, and parts of other volumes.
//
// What it says is what a person is asked about before anything is overwritten, so it knows formats that this system does not use. It
// does not check that a file system is whole. A range that nothing is recognised on may hold data all the same.
//
// It does no I/O but through the reader that it is given, imports internal/gpt, and believes nothing that it reads: all parsers are
// fuzzed.
package superblock
