// Package qemu runs the nodes of a laboratory cluster as virtual machines on this computer, without root.
//
// What there is of a cluster, and where:
//
//   - DIR/NAME, a folder: state.yaml; run/ with sockets and pid files; nodes/NODE with config.yaml (the machine config), cidata.iso
//     (the same for the machine, see [Seed]), disk.qcow2, vars.fd (UEFI variables), tpm/, console.log (the serial port),
//     qemu.log; snapshots/SNAPSHOT/NODE;
//   - a QEMU for each node that runs, and a swtpm if it has a TPM. QEMU ends when the machine is off;
//   - the switch (package layer2), a process of talosctl's own program, and the gateway: a QEMU without a machine, which has
//     the first address of the network and passes connections from ports on this computer's loopback on to nodes.
//
// All of them outlive talosctl, and are found by their command lines, which name the cluster's folder; so nothing that an
// interrupted create has started is overlooked. The network is the cluster's own: it has no way to this computer's or to the
// internet, and clusters with the same addresses do not meet.
//
// KVM is used where it is real; elsewhere QEMU translates, which is about ten times slower.
//
// The package compiles on every system; elsewhere than on Linux, [New] says that it is not supported. It may be imported by
// internal/cli, cmd and e2e.
package qemu
