// Package cluster has the resources of membership: who this node is, whom it hears of, and who belongs
// to the cluster.
//
// An [Affiliate] is a machine that claims to belong. Each source writes what it hears into
// [RawNamespace], with an id that names the source; the merge leaves one for each machine in
// [Namespace]. A [Member] is an affiliate that is one indeed.
//
// The package only declares. Everyone above resource may import it.
package cluster

import "talos.internal/resource"

// Namespaces of the resources of this package.
const (
	Namespace       = "cluster"
	ConfigNamespace = "config"
	RawNamespace    = "cluster-raw" // affiliates that are not merged yet
)

// Types returns the types of this package.
func Types() []*resource.Type {
	return []*resource.Type{
		resource.TypeOf[Identity](),
		resource.TypeOf[Info](),
		resource.TypeOf[DiscoveryConfig](),
		resource.TypeOf[Affiliate](),
		resource.TypeOf[Member](),
	}
}
