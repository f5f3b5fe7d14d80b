// Package mount mounts file systems, and brings mounts to a declared state.
//
// The model is that of the kernel (filesystems/sharedsubtree.rst, mount(2)). A mount shows a file system, or a part of it,
// at a point; several can stand on one point, and the topmost is seen. Flags such as read-only belong to a mount; the
// file system below has flags of its own, the same for all its mounts. A remount with [Bind] changes the first alone,
// one without it both.
//
// [Verbs] are what can be done. [Kernel] does it. [Memory] keeps a tree of mounts in memory, with the same errors; it
// records each verb and can fail at any of them, so that what is built of verbs is tested without a kernel. Both pass
// one suite.
//
// A [Spec] declares a mount. [Plan] decides from it and the table of mounts which steps are missing, and is pure; [Ensure]
// takes the steps. Doing it again does nothing.
//
// Mounts belong to the mount namespace of the calling thread, which a goroutine shares with all the others unless it
// locked itself to a thread and moved that. The package does not make file systems and does not check them. Linux only;
// anything may import it that may import internal/sys.
package mount
