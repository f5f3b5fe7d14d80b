// Package native runs the nodes of a laboratory cluster as containers on this Linux computer, with runc and without Docker.
//
// What there is of a cluster, and where:
//
//   - DIR/NAME, a folder: state.yaml, runc's own state in runc/, and nodes/NODE with config.json (of the OCI runtime
//     specification), config.yaml (the machine config), console.log, runc.log, and the node's /var, /system/state and /opt;
//   - CACHE/roots/sha256-…, the unpacked node image, read-only, shared by all nodes of all clusters that have it; it goes
//     with the last of them;
//   - a bridge with the gateway's address, a veth pair for each node, a table of nftables that masquerades; the sysctl
//     net.ipv4.ip_forward, which is put back by the last cluster if the first one set it;
//   - a cgroup for the cluster and one in it for each node, in every hierarchy.
//
// Their names come from the cluster's name and folder, and are in the state before anything is made. Nothing runs between
// two calls but the nodes themselves: there is no daemon, and it does not matter when talosctl ends. Nodes are gone after
// this computer restarts; [provision.Provisioner.StartNode] starts each with the data that it had.
//
// A node sees its image cache, an OCI layout, read-only at [ImageCache]. This computer reaches a node at its address.
//
// Only root can do this. Capabilities that root lacks here, nodes lack too. The package compiles on every system; elsewhere
// than on Linux, [New] says that it is not supported. It may be imported by internal/cli, cmd and e2e.
package native
