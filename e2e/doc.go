// Package e2e has the tests of whole machines: nodes that start as containers with the native provisioner, from the image that
// make image builds, and are asked and hurt through what a user has: the machine API, talosctl, signals.
//
// Each test makes a cluster of its own. They run as root, in a network and a mount namespace of their own, so that nothing which
// they make is on this computer but control groups and temporary files. They need the image cache ($TALOS_IMAGES, else
// _out/images) and runc ($TALOS_RUNC, else _out/components/runc/runc, else the one in PATH); without them they are skipped
// and say what is missing.
//
// Benchmarks of a node are here, too; docs/node-bench.md has what they showed. There is nothing to import.
package e2e
