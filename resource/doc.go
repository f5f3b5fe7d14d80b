// Package resource says what a resource is: a small typed document with an identity, which the state
// keeps, controllers read and write, and the API shows.
//
// A [Resource] is [Metadata] and a spec. Its identity is a [Ref]: namespace, type and id; namespace
// and type together are a [Kind]. The store counts [Version] with every write and moves [Phase] from
// running to tearing down; finalizers say who still needs a resource that is being torn down.
//
// A resource type is declared by its spec: a plain struct with yaml tags, proto tags when the
// published contract has a protobuf message for it, and one method.
//
//	// MemberSpec is a machine that belongs to the cluster.
//	type MemberSpec struct {
//		NodeID   string `yaml:"nodeId" proto:"1"`
//		Hostname string `yaml:"hostname" proto:"3"`
//	}
//
//	func (MemberSpec) ResourceDefinition() resource.Definition {
//		return resource.Definition{
//			Type:      "Members.cluster.talos.dev",
//			Namespace: "cluster",
//			Columns:   []resource.Column{{Name: "Hostname", JSONPath: "{.hostname}"}},
//		}
//	}
//
// Everything else follows from that: resource.New[MemberSpec] makes one, [TypeOf] compiles how it is
// copied, compared and encoded, a [Registry] finds the type by its name to decode what comes from a wire.
//
// Every Resource is immutable, so one value is shared by the store, its history and all readers
// without locks or copies. A spec that holds slices, maps or pointers is copied on its way in ([New])
// and on its way out (Typed.Spec): no caller can hold memory of the store, and a watcher that does not
// look at a spec pays nothing for it.
//
// The package keeps no state, starts no goroutine and knows nothing of stores. Everyone may import it.
package resource
