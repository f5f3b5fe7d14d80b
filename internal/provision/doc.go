// Package provision makes the machines of a laboratory cluster, and takes them away again.
//
// A [Provisioner] is one way to get machines: internal/provision/native runs nodes as containers of its own on a Linux
// computer. What it is asked for is a [ClusterRequest]: a network, and nodes with their configs. Making configs, waiting
// for Kubernetes and merging contexts are not its business: whoever calls does that, before and after.
//
// A [Cluster] is what there is, found out anew each time. What has to be remembered between two runs of a program is the
// [State], a file for each cluster, kept by a [Store] in ~/.talos/clusters/NAME/state.yaml. It is written before the first
// thing of a cluster is made, and names all that will be made; so [Provisioner.Destroy] finds everything, wherever a create was
// interrupted.
//
// internal/provision/provisiontest is the suite that each provisioner passes. The package compiles on every system that
// talosctl is built for. It may be imported by internal/cli, cmd and e2e.
package provision
