// Package luks reads, makes and changes headers of LUKS2, the format of encrypted disks of Linux (LUKS2 On-Disk Format Specification 1.1).
// cryptsetup reads what is made here, and the other way round.
//
// A volume has one key, which never changes. Each key slot keeps it under a secret of its own: whoever has one of the secrets has the key.
// Tokens are notes in the header, in JSON; here each belongs to one slot, and says how its secret is come by.
//
// Nothing here writes. [Header.Format], [Header.Put] and [Header.Remove] return writes in their order, with the flushes between them, and
// [Apply] carries them out. Power may be cut at any of them, and a write may be torn at any sector of 512 bytes: after that either the
// volume is as it was, or the change is there. The material of a slot is written to a place that no slot has, before a header names it;
// the header has two copies with checksums, and the one that is not known to be good is written first; what no header names any more is
// overwritten last.
//
// The data themselves are encrypted by the kernel (package dm). Re-encryption, detached headers, LUKS1 and integrity are not here.
// internal/diskkey and internal/ctrl import this package.
package luks
