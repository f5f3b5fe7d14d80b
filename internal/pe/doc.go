// Package pe reads and changes UEFI programs: files in Microsoft's PE/COFF format for 64 bits, as far as such programs have it.
//
// [Read] takes the headers of a file from anywhere and finds its sections. [Append] adds sections, which is how a unified kernel
// image is made of systemd's stub. [File.Authenticode] gives what a signature is over, and [File.Certificates] and
// [WithCertificates] read and write the signatures themselves, which they do not understand: see package authenticode. The format
// is that of Microsoft's "PE Format" and "Windows Authenticode Portable Executable Signature Format".
//
// The package is pure and imports nothing of ours; anything may import it. Readers are fuzzed.
package pe
