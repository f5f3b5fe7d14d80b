// Package image builds the container images of a cluster, and their cache, from the programs that are built here and from
// Debian packages, without Docker.
//
// What each image holds is data: a [Spec]. [Specs] is the table of all of them, [Tools] the list of every C program in
// them, with the reason for each. A [Builder] makes images of specs:
//
//   - the base layer: CA certificates, users, /tmp;
//   - a layer for each component, with its licence texts: the images of one Kubernetes version share theirs;
//   - a layer for the tools of the image, with the shared libraries that they need;
//   - a layer of the image's own: links and other files, and the bill of materials at /usr/share/spdx/NAME.spdx.json.
//
// Layers that images have in common come lowest, so that a container runtime unpacks them once. There is no shell in any
// image, and nothing is setuid.
//
// The same inputs (the programs' bytes, the locked packages, the table) give the same digests, wherever and whenever the
// images are built. rootfs, debian, sbom and oci below this package do the work; cmd/imager is the command.
//
// [MachineSpec] is the root file system of a machine, which is the node image's with a little more; package assets makes of it
// what a machine boots from.
//
// The package may be imported by internal/cli, internal/provision and cmd.
package image
