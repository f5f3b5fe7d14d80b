// Package assets builds what a machine boots from, with a real or a virtual firmware.
//
// [Builder.Boot] makes the [Parts]: kernel, initramfs, root file system with its hash tree, command line, unified kernel image, and
// systemd's boot loader. All of them fit together and with nothing else: the command line has the root file system's hash, and the
// unified kernel image has the command line.
//
// Every output is a file in one folder, and the same inputs give the same bytes. [Manifest] lists them with their digests.
//
// The package may be imported by internal/cli, internal/provision and cmd.
package assets
