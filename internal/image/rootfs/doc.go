// Package rootfs holds a file tree in memory and writes it as a tar stream that depends on nothing but the tree.
//
// A [Tree] is a set of [Entry]: files, folders, symbolic links. What is written is sorted by name, every time in it is
// [Epoch], owners are numbers, and modes are those of the entries: nothing comes from the files of the machine that
// builds but their bytes. The same tree therefore gives the same stream, wherever and whenever it is written.
//
// Hard links, devices and sockets do not exist here: nothing that is shipped needs them.
//
// The package is for internal/image and those below it.
package rootfs
