// Package kernel takes the kernel and the modules that a machine needs out of Debian's kernel package.
//
// [Read] finds them in the unpacked package, [Kernel.Select] chooses modules by [Rules] or by name and adds what these need:
// hard dependencies and soft ones, as the modules say themselves in their section .modinfo. The result is a [Set], whose
// [Set.Entries] are the files and the index by which the node loads them: the text files of depmod(8), as modules.dep(5),
// modules.softdep, modules.alias and modules.builtin describe them.
//
// There are two sets: [Boot] is in the initramfs and finds the root file system; [Node] is in the root, and holds what a machine
// and Kubernetes may ask for. Modules stay compressed by xz, and signed, as Debian made them: the kernel unpacks them itself.
//
// The package is for internal/image and those that make machines' images.
package kernel
