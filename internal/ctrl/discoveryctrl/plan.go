package discoveryctrl

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"talos.internal/internal/discovery"
	"talos.internal/internal/discovery/affiliate"
	"talos.internal/internal/trust"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
)

// maxServers bounds how many servers a machine registers with, each of which is a connection.
const maxServers = 32

// server is where to register.
type server struct {
	address  string // "host:port"
	host     string // as the server's certificate has it
	nodeID   string // of the machine that it runs on; empty if it is not known
	external bool
	insecure bool // without TLS
}

// serversOf returns where to register, in a settled order: with each control-plane machine among the members, then with what else is
// known of the control plane, then with the services of the config.
//
// A machine that has just started knows the control plane by its config alone; the members that it finds there lead it to the others.
// An address of a member is not taken twice. What is left over may be a name, or an address that leads to some of the machines.
func serversOf(c cluster.DiscoveryConfig, members []cluster.Member, endpoints map[string]kube.Endpoint) []server {
	var out []server
	add := func(s server) {
		if len(out) < maxServers && !slices.ContainsFunc(out, func(o server) bool { return o.address == s.address }) {
			out = append(out, s)
		}
	}
	var taken []netip.Addr
	members = slices.SortedFunc(slices.Values(members), func(a, b cluster.Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	for _, m := range members {
		if (m.MachineType == machineconfig.TypeControlPlane || m.MachineType == machineconfig.TypeInit) && len(m.Addresses) > 0 {
			host := m.Addresses[0].String()
			add(server{address: builtin(host), host: host, nodeID: m.NodeID})
			taken = append(taken, m.Addresses...)
		}
	}
	for _, source := range []string{kube.EndpointControlPlane, kube.EndpointAPIServer, kube.EndpointDiscovery} {
		e := endpoints[source]
		hosts := slices.Clone(e.Hosts)
		for _, a := range e.Addresses {
			hosts = append(hosts, a.Unmap().WithZone("").String())
		}
		for _, host := range hosts {
			if a, err := netip.ParseAddr(host); err != nil || !slices.Contains(taken, a) {
				add(server{address: builtin(host), host: host})
			}
		}
	}
	for _, e := range c.ServiceEndpoints {
		host, _, err := net.SplitHostPort(e.Endpoint)
		if err == nil {
			add(server{address: e.Endpoint, host: host, external: true, insecure: e.Insecure})
		}
	}
	return out
}

func builtin(host string) string { return net.JoinHostPort(host, strconv.Itoa(trust.Port)) }

// nodeOf returns an affiliate as discovery has it.
func nodeOf(a cluster.Affiliate) affiliate.Node {
	n := affiliate.Node{
		ID: a.NodeID, Addresses: a.Addresses, Hostname: a.Hostname, Nodename: a.Nodename,
		MachineType: a.MachineType.String(), OperatingSystem: a.OperatingSystem,
	}
	if k := a.KubeSpan; k.PublicKey != "" {
		n.KubeSpan = &affiliate.KubeSpan{PublicKey: k.PublicKey, Address: k.Address, AdditionalAddresses: k.AdditionalAddresses}
		n.Endpoints = k.Endpoints
	}
	if a.ControlPlane != nil {
		n.ControlPlane = &affiliate.ControlPlane{APIServerPort: uint16(a.ControlPlane.APIServerPort)}
	}
	return n
}

// affiliateOf is the other direction of nodeOf, with the state of the machine. A type that is not known is none.
func affiliateOf(m discovery.Member) cluster.Affiliate {
	a := cluster.Affiliate{
		NodeID: m.ID, Addresses: m.Addresses, Hostname: m.Hostname, Nodename: m.Nodename, OperatingSystem: m.OperatingSystem,
		State: stateOf(m.State),
	}
	if err := a.MachineType.UnmarshalText([]byte(m.MachineType)); err != nil {
		a.MachineType = machineconfig.TypeUnknown
	}
	if m.KubeSpan != nil {
		a.KubeSpan = cluster.KubeSpanAffiliate{
			PublicKey: m.KubeSpan.PublicKey, Address: m.KubeSpan.Address, AdditionalAddresses: m.KubeSpan.AdditionalAddresses,
			Endpoints: m.Endpoints,
		}
	}
	if m.ControlPlane != nil {
		a.ControlPlane = &cluster.ControlPlane{APIServerPort: int64(m.ControlPlane.APIServerPort)}
	}
	return a
}

func stateOf(s discovery.State) cluster.MemberState {
	switch s {
	case discovery.Alive:
		return cluster.MemberAlive
	case discovery.Suspect:
		return cluster.MemberSuspect
	case discovery.Gone:
		return cluster.MemberGone
	case discovery.Unknown:
	}
	return ""
}
