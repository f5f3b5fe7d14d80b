package affiliate

import (
	"cmp"
	"net/netip"
	"slices"
)

// Node is a machine as it describes itself. A Node that was handed over is not changed any more by either side.
type Node struct {
	ID              string       // 1 to [MaxID] bytes; in practice 32 random bytes in base62
	Addresses       []netip.Addr // where its API is reached; no zones
	Hostname        string       // with its domain, if there is one
	Nodename        string       // of its Kubernetes Node; empty if it has none
	MachineType     string       // "controlplane" or "worker"
	OperatingSystem string       // name and version
	KubeSpan        *KubeSpan    // nil if it does not take part
	ControlPlane    *ControlPlane
	// Endpoints are where its KubeSpan may be reached from outside the mesh.
	Endpoints []netip.AddrPort
}

// KubeSpan is a machine's end of the mesh.
type KubeSpan struct {
	PublicKey           string         // base64
	Address             netip.Addr     // in the mesh; the zero Addr if it is not known yet
	AdditionalAddresses []netip.Prefix // what else is behind it
}

// ControlPlane is what a machine of the control plane says; a worker has none.
type ControlPlane struct {
	APIServerPort uint16 // of the Kubernetes API
}

// Clone returns a copy that shares no memory with n.
func (n *Node) Clone() *Node {
	c := *n
	c.Addresses = slices.Clone(n.Addresses)
	c.Endpoints = slices.Clone(n.Endpoints)
	if n.KubeSpan != nil {
		k := *n.KubeSpan
		k.AdditionalAddresses = slices.Clone(k.AdditionalAddresses)
		c.KubeSpan = &k
	}
	if n.ControlPlane != nil {
		p := *n.ControlPlane
		c.ControlPlane = &p
	}
	return &c
}

// Kind says what a payload is.
type Kind uint8

const (
	// Record describes a machine. It is the only kind that published clients know.
	Record Kind = iota
	// Lease says only that the machine of this incarnation is running. It lives for seconds.
	Lease
	// Tombstone says that the machine of this incarnation was removed, by itself or by an operator.
	Tombstone
)

func (k Kind) String() string {
	switch k {
	case Record:
		return "record"
	case Lease:
		return "lease"
	case Tombstone:
		return "tombstone"
	}
	return "unknown"
}

// Version orders what was said about one machine. The zero Version is that of a published client, which has none.
type Version struct {
	// Incarnation grows each time the machine joins. It is the time of joining in nanoseconds since 1970, unless what the
	// cluster remembers of the machine is later; then it is one more than that.
	Incarnation uint64
	// Sequence grows with each record of an incarnation.
	Sequence uint64
}

// Compare returns -1, 0 or +1 as v is older than, the same as or newer than w.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Incarnation, w.Incarnation), cmp.Compare(v.Sequence, w.Sequence))
}

// IsZero reports whether v is the version of a published client.
func (v Version) IsZero() bool { return v == Version{} }

// Payload is what is sealed.
type Payload struct {
	Kind    Kind
	Version Version
	Node    Node // of a lease and a tombstone only the ID
	// Ignored is the number of endpoints from beside the seal that could not be read. Seal does not look at it.
	Ignored int
}
