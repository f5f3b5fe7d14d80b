// Package docker runs the nodes of a laboratory cluster as containers of a Docker daemon, 20.10 or newer.
//
// What there is of a cluster, and where:
//
//   - DIR/NAME, a folder with state.yaml;
//   - a network of the cluster's name, a bridge;
//   - a container for each node, of the node's name, with anonymous volumes for /var, /system/state and /opt;
//   - the node image, which stays in the daemon when the cluster goes, as images do.
//
// Networks, containers and volumes have the published labels, talos.owned and talos.cluster.name, and containers talos.type. A
// person can therefore add a node by docker run, with the USERDATA of another one, and remove one by docker rm: what the daemon
// has is what there is. A further label of ours, talos.cluster.state, has the path of the cluster's folder: two people
// can have clusters of one name, in different daemons, and one's destroy does not touch what the other has made in the same.
//
// The API of a control-plane node, and the Kubernetes API that runs on it, are published on this computer's loopback, at ports
// that were free when the node was made and stay the same. So all of this works where nodes run in a virtual machine, as with
// Docker on macOS and Windows.
//
// Nodes are privileged. Where root lacks capabilities, which is seen by those of this process if the daemon is on the same
// computer, they get all others instead, and by name what else a privileged container has.
//
// The package may be imported by internal/cli, cmd and e2e.
package docker
