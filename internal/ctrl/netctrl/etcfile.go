package netctrl

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/files"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// Names of files in /etc.
const (
	etcHosts      = "hosts"
	etcResolvConf = "resolv.conf"
	etcHostname   = "hostname"
)

func etcFile() controller.Controller {
	return effective.Pass("network.EtcFileController", []controller.Output{controller.Shared[files.EtcFileSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			host, named, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
			if err != nil {
				return err
			}
			resolvers, resolves, err := state.Find[network.ResolverStatus](ctx, rt, network.ResolverStatusID)
			if err != nil {
				return err
			}
			dns, _, err := state.Find[network.HostDNSConfig](ctx, rt, network.HostDNSConfigID)
			if err != nil {
				return err
			}
			node, _, err := state.Find[network.NodeAddress](ctx, rt, network.NodeAddressDefault)
			if err != nil {
				return err
			}
			contents := map[string][]byte{}
			if resolves {
				contents[etcResolvConf] = resolvConf(resolvers, dns)
			}
			if named {
				contents[etcHosts] = hosts(host, node.Addresses, staticHosts(c))
				contents[etcHostname] = []byte(host.Hostname + "\n")
			}
			for name, b := range contents {
				if err := controller.Put(ctx, rt, name, files.EtcFileSpec{Contents: b, Mode: 0o644}); err != nil {
					return err
				}
			}
			return nil
		},
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID), controller.Weak[network.ResolverStatus]().Named(network.ResolverStatusID),
		controller.Weak[network.HostDNSConfig](), controller.Weak[network.NodeAddress]().Named(network.NodeAddressDefault))
}

// maxServers is how many servers a resolver library looks at (MAXNS of resolv.conf(5)).
const maxServers = 3

// resolvConf returns /etc/resolv.conf. With the node's own resolver it names that alone, which asks all servers in every
// protocol; without, those of plain DNS.
func resolvConf(r network.ResolverStatus, dns network.HostDNSConfig) []byte {
	var servers []netip.Addr
	if dns.Enabled {
		for _, a := range dns.ListenAddresses {
			servers = append(servers, a.Addr())
		}
	} else {
		for _, n := range r.NameServers {
			if n.Protocol == network.DNSDo53 {
				servers = append(servers, n.Addr)
			}
		}
	}
	var b bytes.Buffer
	if servers = union(servers, nil); len(servers) > maxServers {
		servers = servers[:maxServers]
	}
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(r.SearchDomains) > 0 {
		fmt.Fprintf(&b, "\nsearch %s\n", strings.Join(r.SearchDomains, " "))
	}
	return b.Bytes()
}

// hostEntry is an address with its names.
type hostEntry struct {
	addr  netip.Addr
	names []string
}

// staticHosts returns what the config says, by address.
func staticHosts(c *effective.Config) []hostEntry {
	if c == nil {
		return nil
	}
	var out []hostEntry
	for _, doc := range schema.All[*netdoc.StaticHostConfig](c.Set) {
		out = append(out, hostEntry{doc.Addr(), doc.Hostnames})
	}
	slices.SortStableFunc(out, func(a, b hostEntry) int { return a.addr.Compare(b.addr) })
	return out
}

// hosts returns /etc/hosts.
func hosts(h network.HostnameStatus, node []netip.Prefix, static []hostEntry) []byte {
	entries := []hostEntry{{netip.MustParseAddr("127.0.0.1"), []string{"localhost"}}}
	for _, p := range node {
		entries = append(entries, hostEntry{p.Addr(), union([]string{h.FQDN(), h.Hostname}, nil)})
	}
	entries = append(entries,
		hostEntry{netip.MustParseAddr("::1"), []string{"localhost", "ip6-localhost", "ip6-loopback"}},
		hostEntry{netip.MustParseAddr("ff02::1"), []string{"ip6-allnodes"}},
		hostEntry{netip.MustParseAddr("ff02::2"), []string{"ip6-allrouters"}})
	var b bytes.Buffer
	for _, e := range append(entries, static...) {
		if len(e.names) > 0 {
			fmt.Fprintf(&b, "%s %s\n", e.addr, strings.Join(e.names, " "))
		}
	}
	return b.Bytes()
}

func staticHost() controller.Controller {
	return effective.Pass("network.StaticHostController", []controller.Output{controller.Exclusive[network.StaticHost]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			host, _, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
			if err != nil {
				return err
			}
			node, _, err := state.Find[network.NodeAddress](ctx, rt, network.NodeAddressDefault)
			if err != nil {
				return err
			}
			for name, addresses := range addressesByName(host, node.Addresses, staticHosts(c)) {
				if err := controller.Put(ctx, rt, name, network.StaticHost{Addresses: addresses}); err != nil {
					return err
				}
			}
			return nil
		},
		controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID), controller.Weak[network.NodeAddress]().Named(network.NodeAddressDefault))
}

// addressesByName returns the addresses of each name that needs no server: those of the config, and the node's own. Names are lower case.
func addressesByName(h network.HostnameStatus, node []netip.Prefix, static []hostEntry) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	add := func(name string, a netip.Addr) {
		if name = strings.ToLower(name); name != "" && !slices.Contains(out[name], a) {
			out[name] = append(out[name], a)
		}
	}
	for _, p := range node {
		add(h.Hostname, p.Addr())
		add(h.FQDN(), p.Addr())
	}
	for _, e := range static {
		for _, name := range e.names {
			add(name, e.addr)
		}
	}
	return out
}
