// Package cgroup makes groups of processes, limits what they use, measures it, and ends them.
//
// A [Tree] is the hierarchy of groups of a machine. With cgroup v2 (admin-guide/cgroup-v2.rst) it is one; with v1
// (admin-guide/cgroup-v1) each controller has its own, and a group here is the groups of the same path in those of
// memory, cpu, cpuacct, pids and freezer. [Detect] finds which of the two the machine has: a v2 hierarchy that is mounted
// beside v1 controllers has none itself, and then the tree is v1. Where v1 cannot do what is asked, it is said, not done.
//
// A [Group] is a path in the tree. It starts at the root that the mount shows, which in a container is the container's
// own; the package does not mount anything. Paths are cleaned and cannot leave the tree.
//
// Nothing is cached. All is safe for concurrent use, in so far as the kernel's files are: two that create and remove one
// group meet the other's errors. Anything may import the package that may import internal/sys.
package cgroup
