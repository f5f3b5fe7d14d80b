package native

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"

	"talos.internal/internal/provision"
)

// The keys of a state's data.
const (
	keyBridge  = "bridge"
	keyTable   = "table"
	keyGroup   = "cgroup"
	keyRoot    = "root"       // name of the unpacked image in the cache
	keyImages  = "images"     // path of the image cache; later nodes get it, too, wherever they are added from
	keyForward = "forwarding" // what net.ipv4.ip_forward was, if this cluster has to put it back
)

// names are what the things of a cluster are called outside of its folder. Links have at most 15 bytes (IFNAMSIZ).
type names struct {
	bridge string
	table  string // nft(8) takes letters, digits and underscores
	group  string // path of the cgroup
}

// namesOf returns the names for a cluster with that folder. Clusters of one name in the folders of two users differ.
func namesOf(cluster, dir string) names {
	sum := sha256.Sum256([]byte(dir))
	id := hex.EncodeToString(sum[:4])
	return names{bridge: "talos" + id, table: "talos_" + id, group: "/talos-" + cluster + "-" + id}
}

func (n names) data(root string) map[string]string {
	return map[string]string{keyBridge: n.bridge, keyTable: n.table, keyGroup: n.group, keyRoot: root}
}

// portOf is the name of the link that is the bridge's end of a node's veth pair: the bridge's, shortened, and the place of
// the node's address in the network.
func portOf(state *provision.State, node provision.StateNode) string {
	id := state.Data[keyBridge]
	return fmt.Sprintf("t%s.%x", id[max(0, len(id)-8):], offset(state.Network.CIDR, node.Address))
}

// offset is the place of an address in a network.
func offset(network netip.Prefix, a netip.Addr) uint32 {
	x, y := network.Masked().Addr().As4(), a.As4()
	return binary.BigEndian.Uint32(y[:]) - binary.BigEndian.Uint32(x[:])
}

// maxOffset is the largest place that still fits into the name of a link.
const maxOffset = 0xfffff

// groupOf is the path of a node's cgroup.
func groupOf(state *provision.State, node string) string { return state.Data[keyGroup] + "/" + node }
