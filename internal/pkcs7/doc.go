// Package pkcs7 makes and checks signatures in the form that UEFI firmware understands: SignedData of PKCS #7 version 1.5 (RFC 2315)
// with RSA and SHA-2.
//
// [Sign] signs a content that is in the message, as Authenticode has it; [SignDetached] signs data beside it, as authenticated
// variables have it. [Parse] reads both and is fuzzed; [Message.Verify] says who signed. There is no encryption, no time stamp and no
// revocation: the firmware knows none of these either, but in its own list of what is forbidden.
//
// The package is pure and imports nothing of ours; packages authenticode and uefi are built on it.
package pkcs7
