// Package archtest holds the tree to its layout: who may import whom, how large a file or a package may be, how packages
// are named and described, and what only one of them may do. It has tests alone; nothing imports it.
//
// The rules are those of ARCHITECTURE.md and STYLE.md. A rule that has to give way is changed here, in the open, with its
// reason beside it.
package archtest
