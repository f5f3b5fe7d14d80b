// Package uefi has what Secure Boot is set up with: lists of signatures, and updates of the variables that hold them (UEFI
// specification 2.10, sections 8.2 and 32.4).
//
// A [Signatures] value is what a variable as db holds: who may sign programs, or the hashes of programs. An [Update] is such a value for
// a variable, signed by the owner of another one: of KEK for db, of PK for KEK and for PK itself. Firmware in setup mode, in which
// there is no PK, takes any.
//
// Both are read and written as bytes, and the readers are fuzzed. The package talks to no firmware and is pure; anything may import it.
package uefi
