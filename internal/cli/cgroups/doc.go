// Package cgroups has the command that shows the control groups of machines as a tree with a column for each value of interest.
//
// A [Group] is read from an archive of the kernel's cgroup file system (version 2), as machines give it. Which values are shown is a [Schema]: one of the
// presets, or a file of the user's. Groups of pods and containers get the names that Kubernetes knows them by.
package cgroups
