// Package pcrsig says which values PCR 11 of a TPM has while a unified kernel image starts, and signs them, so that what is sealed to
// the signer's key can be unsealed by every image that he signs, and by nothing else.
//
// # Model
//
// systemd's stub measures the sections of its image into PCR 11: for each the name with a zero, then the content. PID 1 goes on with
// words, the phases of the start (package pcr). So the value at a point of the start is known when the image is built: [Predict]. A policy that the
// PCR has this value is a digest ([PolicyPCR]), and a signature of that digest is what a TPM's PolicyAuthorize asks for ([Sign]).
//
// Secrets are sealed to the key. They can be unsealed in the phases that were signed, by default in [Phases] only: a word more is
// measured when the volumes are open, and then nobody can any more.
//
// # Format
//
// Signatures are kept in JSON, as systemd-measure(1) writes and systemd-cryptsetup(8) reads it, in the image's section .pcrsig, which is
// the only one of those that is not measured; the key in .pcrpkey. The stub hands both to the initramfs as [SignatureFile] and [KeyFile].
//
// The package does no I/O and talks to no TPM: what makes images and what opens volumes may import it. [Parse] is fuzzed.
package pcrsig
