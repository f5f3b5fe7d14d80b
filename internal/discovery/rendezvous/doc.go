// Package rendezvous is a discovery service: machines of one cluster leave sealed data there, with a time to live, and see
// what the others left. It implements sidero.discovery.server.Cluster, for published clients and for package discovery.
//
// # Model
//
// A cluster has affiliates; an affiliate has data and endpoints, which are bytes to the service. Data lives as long as the
// last update with data said; each endpoint as long as the last update that named it said. An affiliate whose data is over
// is gone with its endpoints, however often somebody else reports endpoints of it; before it has data, it lives as long as
// its endpoints. An update with neither data nor endpoints renews all that is there. Clusters appear with their first
// affiliate or watcher and go with their last.
//
// A watcher gets everything at once in its first message, then changes in order. An update that changes nothing but
// times is not a change: renewing leases costs watchers nothing. A watcher is a position in the cluster's list of recent
// changes. It has no queue, and nobody who writes waits for it; one that does not take a message within
// [SendTimeout], or that the list has overtaken, ends with ResourceExhausted and may watch again.
//
// # What it does not do
//
// It keeps nothing on disk: who uses it registers again after a restart. It knows no secret and opens no seal. It decides
// about access only by [Config.Authorize]. It does not listen: the caller registers a [Server] with a grpc.Server, which
// should have the [ServerOptions].
//
// internal/daemon imports it (trustd's port), and whoever wants to run a service of their own.
package rendezvous
