// Package etcdop does what an operator asks of etcd: who its members are and how they do, joining and leaving, leadership, alarms,
// snapshots.
//
// An Operator talks to the members of one cluster with the node's own client certificate. Each call makes a connection of its own
// and ends it: calls are rare, and a connection that is kept would hold memory and goroutines in PID 1. A call
// takes at most thirty seconds, but for Snapshot and Defragment, which take as long as the database is large.
//
// What would break the cluster is refused before etcd is asked: see [ErrQuorum] and [ErrLastMember].
//
// How etcd is started is not decided here: that is internal/ctrl/etcdctrl. Controllers and the API server import the package.
package etcdop
