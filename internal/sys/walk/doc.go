// Package walk looks at trees of files for the API of the machine: it lists them, adds up what they take of the disk, and
// packs them into an archive.
//
// All three start at a path below a root. Symbolic links in that path are followed as if the root were "/", so that no
// link leads out of it; below it none is followed at all: a link is an entry, with its target as text. A directory that
// is exchanged for a link while it is looked at is an error, and never a way out. Mount points are walked through.
//
// The order is that of the names' bytes, a directory before what is in it (in [Usage], after it). What cannot be looked at
// is an entry with its error; the walk goes on. Only the end of the context, a start that cannot be opened, and an error
// of the caller's function end it.
//
// The package holds one directory open at a time, and a directory's names in memory. It changes nothing. It needs
// openat2(2), so Linux 5.6. Anything may import it that may import internal/sys.
package walk
