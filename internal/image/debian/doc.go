// Package debian takes single programs out of Debian packages, with the shared libraries they need and nothing else.
//
// What is wanted is named by package and path ([Want]). [Pick] unpacks the package in memory, without its maintainer
// scripts, follows the path's symbolic links, reads from each ELF file which libraries it needs, finds these in the
// packages that the package depends on, and so on until nothing is missing. Every package that gave something also
// gives its copyright file.
//
// Which version of a package is used is said by a [Lock], a committed text with name, version, architecture and SHA-256:
// [Pinned] gives exactly those packages, from a folder of earlier downloads or else from the machine's own apt.
// [Newest] gives what apt has now; picking from it and writing down what was used is how a lock is renewed.
//
// Paths are those of a merged /usr: what a package has in bin, sbin, lib or lib64 comes out below usr, and [Pick] adds the
// four links. The loader needs no ld.so.cache: it searches the folders of [libraryDirs] by itself.
//
// Formats: deb(5), ar(5), deb-control(5); the machine-readable copyright file is copyright-format 1.0 of Debian's policy.
// The package is for internal/image.
package debian
