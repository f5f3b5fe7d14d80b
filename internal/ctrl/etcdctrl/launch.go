package etcdctrl

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"talos.internal/internal/etcdop"
	"talos.internal/resource/etcd"
)

// way is how etcd starts.
type way int

const (
	goOn     way = iota // with the data that is there
	begin               // a cluster out of nothing
	recovery            // a cluster out of a snapshot
	join                // the cluster that was found
	wait                // not yet
)

// facts are what the way depends on.
type facts struct {
	data  bool
	order *Order
	// found is set if a member of a cluster answered.
	found bool
}

// decide says how etcd starts, and why, for the log. Data that is there always wins: an order is for a node that has none. An order
// wins over a cluster that was found: whoever gave it knows that the cluster is to begin here.
func decide(f facts) (way, string) {
	switch {
	case f.data:
		return goOn, "etcd goes on with the data that it has"
	case f.order != nil && f.order.Recover:
		return recovery, "etcd begins a cluster out of a snapshot, as ordered"
	case f.order != nil:
		return begin, "etcd begins a cluster, as ordered"
	case f.found:
		return join, "etcd joins the cluster of which a member answers"
	}
	return wait, "etcd has no data, and no member of a cluster answers: run \"talosctl bootstrap\" on one control-plane node"
}

// The programs in etcd's image. Upstream's has them at the same place.
const (
	etcdProgram    = "/usr/local/bin/etcd"
	etcdutlProgram = "/usr/local/bin/etcdutl"
)

// urls writes addresses as a value of etcd's flags.
func urls(addrs []netip.Addr, port uint16) string {
	var out []string
	for _, a := range addrs {
		out = append(out, "https://"+netip.AddrPortFrom(a, port).String())
	}
	return strings.Join(out, ",")
}

// peerURLs are where other members reach this one.
func peerURLs(s etcd.Spec) []string {
	var out []string
	for _, a := range s.AdvertisedAddresses {
		out = append(out, etcdop.PeerURL(a))
	}
	return out
}

// alone is the value of --initial-cluster with this member only.
func alone(s etcd.Spec) string {
	var out []string
	for _, u := range peerURLs(s) {
		out = append(out, s.Name+"="+u)
	}
	return strings.Join(out, ",")
}

// args returns etcd's command line (contract.md, section 6.3). cluster is the value of --initial-cluster, which counts only for a
// member without data; existing says that this cluster is there already.
func args(s etcd.Spec, data, pki, cluster string, existing bool) []string {
	file := func(name string) string { return filepath.Join(pki, name) }
	clusterState := "new"
	if existing {
		clusterState = "existing"
	}
	flags := map[string][]string{
		"name":                        {s.Name},
		"data-dir":                    {data},
		"listen-peer-urls":            {urls(s.ListenPeerAddresses, etcdop.PeerPort)},
		"listen-client-urls":          {urls(s.ListenClientAddresses, etcdop.ClientPort)},
		"listen-client-http-urls":     {urls(s.ListenClientAddresses, etcdop.HTTPPort)},
		"advertise-client-urls":       {urls(s.AdvertisedAddresses, etcdop.ClientPort)},
		"initial-advertise-peer-urls": {urls(s.AdvertisedAddresses, etcdop.PeerPort)},
		"initial-cluster":             {cluster},
		"initial-cluster-state":       {clusterState},
		"cert-file":                   {file("server.crt")},
		"key-file":                    {file("server.key")},
		"trusted-ca-file":             {file("ca.crt")},
		"client-cert-auth":            {"true"},
		"peer-cert-file":              {file("peer.crt")},
		"peer-key-file":               {file("peer.key")},
		"peer-trusted-ca-file":        {file("ca.crt")},
		"peer-client-cert-auth":       {"true"},
		"tls-min-version":             {"TLS1.3"},
		// The API server serves reads from its cache as far as it has heard from etcd; this is how often it does.
		"watch-progress-notify-interval": {"5s"},
		"feature-gates":                  {"InitialCorruptCheck=true,CompactHashCheck=true"},
	}
	// Those that the node depends on are refused when the config is read. Gates are added, and the last word on one counts.
	for name, v := range s.ExtraArgs {
		if name == "feature-gates" {
			flags[name] = []string{strings.Join(append(flags[name], v.Values...), ",")}
			continue
		}
		flags[name] = v.Values
	}
	out := []string{etcdProgram}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		for _, v := range flags[name] {
			out = append(out, fmt.Sprintf("--%s=%s", name, v))
		}
	}
	return out
}

// restoreArgs returns the command line that makes a member's data in dir of a snapshot.
func restoreArgs(s etcd.Spec, snapshot, dir string, skipHashCheck bool) []string {
	out := []string{etcdutlProgram, "snapshot", "restore", snapshot, "--data-dir=" + dir, "--name=" + s.Name, "--initial-cluster=" + alone(s),
		"--initial-advertise-peer-urls=" + urls(s.AdvertisedAddresses, etcdop.PeerPort)}
	if skipHashCheck {
		out = append(out, "--skip-hash-check")
	}
	return out
}
