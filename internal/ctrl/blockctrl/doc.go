// Package blockctrl has the controllers of disks: what there is, what is on it, which volumes there should be, and where they are mounted.
//
// A volume goes through phases. It is waiting until its disk, its parent or its turn has come; located when it was found, or made (in free
// space, of a disk that its config selects); ready when it has the file system that it should have. Missing and failed say that there is
// none, and why not: the reason is in the status, and nothing was destroyed. The rules are these: a partition is made in space that no
// partition has, on a disk that has a GPT or on which nothing is recognised; a file system is made only where a fresh look recognises
// nothing; a partition never shrinks; a volume whose device went away is not made again somewhere else before the next boot.
//
// Deciding is pure (decide, choose); what is done goes through [Kernel], and every write to a disk through install.Recorder.
//
// An encrypted volume has one more device: the mapped one, which is in clear, and is what gets the file system. Its keys are those of
// package diskkey.
//
// LVM, software RAID, trim and scrub are not here.
// The composition of the node imports this package.
package blockctrl
