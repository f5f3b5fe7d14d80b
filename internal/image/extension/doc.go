// Package extension reads system extensions and makes them part of a machine's root file system.
//
// An extension is an OCI image with a [Manifest] at /manifest.yaml and its files below /rootfs (contract.md, section 5.9). [Open] reads one from an image
// layout and refuses, with the reason, what is no extension: a manifest that is not understood, files in places that an extension may not have ([Allowed]),
// devices, and programs that give their user other rights. [Manifest.Check] says whether it is for a version of the system.
//
// [Merge] puts several together: two may not have the same file. What they are is written to /etc/extensions.yaml, which the machine shows as its extensions. Kernel
// modules are kept apart, because the index of all modules is made of them. The root file system is signed and hashed with all of it: a machine takes
// nothing in later.
//
// The package is for internal/image and those that make machines' images.
package extension
