// Package kmod loads modules of the kernel: by name, by alias, and for what a device says that it is (its modalias).
//
// An [Index] is what depmod(8) wrote into the directory of the kernel's modules: which module is in which file and needs
// which others (modules.dep), which should be there before it (modules.softdep), which devices and requests it serves
// (modules.alias), and what is part of the kernel itself (modules.builtin). [Index.Plan] decides from it what has to be
// loaded and in which order, and is pure but for the reading of these files; [Load] does it, side by side where the order
// allows. The kernel takes the files as they are, compressed by xz or not.
//
// Names of modules are compared as the kernel has them: "-" is "_". A module is never taken out again here. Linux only;
// anything may import it that may import internal/sys.
package kmod
