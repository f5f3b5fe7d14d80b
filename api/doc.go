// Package api is the root of the wire contract: the .proto files, and beside each the Go code that is made from it.
//
// Every message and service that leaves a process of ours is defined below this directory, in one Go package for each
// proto package: its directory, its Go package and the last element of its import path are the same name, which ends in
// pb. The names on the wire (proto packages, services, methods, fields, numbers, enum values) are the published ones;
// testdata/contract.golden lists them all, so that a change of the wire is a change of that file.
//
// To change the contract, edit the .proto file, run go generate ./api, then go test ./api -update, and read the diff.
// README.md in this directory says which package is which, and what was decided where the published facts left a choice.
//
// This package itself holds only the tests. What is below it may be imported by all code that speaks to another
// process; it imports nothing of the tree but itself.
package api

//go:generate go -C ../tools run ./cmd/protogen
