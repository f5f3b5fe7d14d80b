// Package diskkey has the keys of encrypted volumes: where the secret of each comes from, which of them opens a volume, and how a volume's key slots
// come to be what the machine config says.
//
// Package luks knows slots and secrets. Here a secret has a source: it is in the config (static), follows from the machine's UUID (node ID),
// is sealed by the machine's TPM (the blobs are in a token of the slot), or was written down by a person (recovery). [Keeper] makes secrets
// and has them again. [Format], [Unlock] and [Sync] work on a device; what Sync does is a plan first ([Plan]), each of whose changes may be cut
// off anywhere.
//
// A key server (KMS) is not here: a key with that source opens nothing, and says so.
//
// What is sealed by the TPM can be had back only by an image that the owner of the key in the boot image has signed, only before the
// phase pcr.StartTheWorld, and only while the registers are as they were. All volumes but STATE are sealed to pcr.Volumes as well, into which
// [Identity] of STATE is measured before anything is read from STATE: whoever puts another file system in its place, to have a machine under
// his config that opens the other volumes, opens nothing.
//
// internal/ctrl and internal/node import this package.
package diskkey
