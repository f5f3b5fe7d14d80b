package netdoc

import (
	"net/netip"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// HostnameConfig says what the machine is called.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: HostnameConfig
//	hostname: worker-1
type HostnameConfig struct {
	// Auto is stable for a name that the machine makes itself, from its identity, which stays the same over reinstallations
	// of the same cluster; a name from DHCP or the platform goes before it. With off the machine makes none. Set this or
	// hostname; off goes with hostname.
	Auto string `yaml:"auto" enum:"stable|off"`
	// Hostname is the name: labels of letters, digits and inner hyphens with at most 63 characters each (RFC 1123). What
	// follows the first dot is the domain. It goes before a name from DHCP or the platform.
	Hostname string `yaml:"hostname"`
}

func (*HostnameConfig) DocumentKind() string { return "HostnameConfig" }

func (c *HostnameConfig) Validate(r *schema.Reporter) {
	switch {
	case c.Hostname == "" && c.Auto == "":
		r.Errorf("expected auto or hostname, got neither")
	case c.Hostname != "" && c.Auto == "stable":
		r.At("hostname").Hintf("set auto: off, or remove hostname", "auto: stable and hostname exclude each other")
	}
	if c.Hostname == "" {
		return
	}
	if _, err := netip.ParseAddr(c.Hostname); err == nil || strings.HasSuffix(c.Hostname, ".") || !scalar.ValidHostname(c.Hostname) {
		r.At("hostname").Hintf("labels have 1 to 63 letters, digits and inner hyphens", "expected a host name, got %q", c.Hostname)
	}
}

// ResolverConfig says how the machine resolves names.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ResolverConfig
//	nameservers:
//	    - address: 10.5.0.1
//	searchDomains:
//	    domains:
//	        - lab.example
//	hostDNS:
//	    enabled: true
//	    forwardKubeDNSToHost: true
type ResolverConfig struct {
	// Nameservers are the servers to ask, the first that answers counts. Left out, they are those of DHCP or the platform,
	// else 1.1.1.1 and 8.8.8.8.
	//
	// Example:
	//
	//	nameservers:
	//	    - address: 10.5.0.1
	//	    - address: 1.1.1.1
	//	      protocol: DoT
	//	      tlsServerName: one.one.one.one
	Nameservers []Nameserver `yaml:"nameservers"`
	// SearchDomains are what is tried behind a name that is not found as it is.
	//
	// Example:
	//
	//	searchDomains:
	//	    domains:
	//	        - lab.example
	SearchDomains *SearchDomains `yaml:"searchDomains"`
	// HostDNS sets the machine's own caching resolver, at 127.0.0.53.
	HostDNS *HostDNS `yaml:"hostDNS"`
}

func (*ResolverConfig) DocumentKind() string { return "ResolverConfig" }

// The protocols of nameservers.
const (
	Do53 = "Do53"
	DoT  = "DoT"
	DoH  = "DoH"
)

// Nameserver is a server to ask for names.
type Nameserver struct {
	// Address is the server's address. It must be there.
	Address scalar.Addr `yaml:"address"`
	// Protocol is how it is asked: plain DNS over port 53 (Do53), DNS over TLS (DoT) or over HTTPS (DoH). The encrypted ones
	// need hostDNS to be enabled. Default: Do53.
	Protocol string `yaml:"protocol" enum:"Do53|DoT|DoH"`
	// TLSServerName is the name that the server's certificate must have, for DoT and DoH. Left out, it must have the
	// address.
	TLSServerName string `yaml:"tlsServerName"`
}

// Encrypted reports whether the server is asked over TLS or HTTPS.
func (c *Nameserver) Encrypted() bool { return c.Protocol == DoT || c.Protocol == DoH }

func (c *Nameserver) Validate(r *schema.Reporter) {
	if !c.Address.IsValid() {
		r.At("address").Errorf("expected the address of a nameserver, got nothing")
	} else {
		checkUnicast(r.At("address"), c.Address.Addr)
	}
	if c.TLSServerName == "" {
		return
	}
	if !c.Encrypted() {
		r.At("tlsServerName").Hintf("set protocol to DoT or DoH, or remove it", "the protocol Do53 has no TLS")
	}
	if !validServer(c.TLSServerName) {
		r.At("tlsServerName").Errorf("expected a host name, got %q", c.TLSServerName)
	}
}

// SearchDomains are what is tried behind a name that is not found as it is.
type SearchDomains struct {
	// Domains are the domains to try, in their order.
	Domains []string `yaml:"domains"`
	// DisableDefault leaves the domain of the machine's own name out, which is else tried too. Default: false.
	DisableDefault bool `yaml:"disableDefault"`
}

func (c *SearchDomains) Validate(r *schema.Reporter) {
	for i, domain := range c.Domains {
		if !scalar.ValidHostname(domain) {
			r.At("domains").Item(i).Errorf("expected a domain such as lab.example, got %q", domain)
		}
	}
}

// HostDNS sets the machine's own caching resolver.
type HostDNS struct {
	// Enabled runs the resolver. Default: false.
	Enabled bool `yaml:"enabled"`
	// ForwardKubeDNSToHost makes the cluster's DNS server ask the machine's resolver for names outside the cluster. It needs
	// enabled. Default: false.
	ForwardKubeDNSToHost bool `yaml:"forwardKubeDNSToHost"`
	// ResolveMemberNames makes the resolver answer for the names of the cluster's machines. It needs enabled.
	// Default: false.
	ResolveMemberNames bool `yaml:"resolveMemberNames"`
}

func (c *HostDNS) Validate(r *schema.Reporter) {
	const hint, message = "set enabled: true", "it has no effect while the resolver is off"
	if c.ForwardKubeDNSToHost && !c.Enabled {
		r.At("forwardKubeDNSToHost").Warnf(hint, message)
	}
	if c.ResolveMemberNames && !c.Enabled {
		r.At("resolveMemberNames").Warnf(hint, message)
	}
}

func (c *ResolverConfig) Validate(r *schema.Reporter) {
	first := firsts[Nameserver, int]{}
	for i, n := range c.Nameservers {
		n.TLSServerName = ""
		if n.Protocol == "" {
			n.Protocol = Do53
		}
		if j, twice := first.seen(n, i); twice && n.Address.IsValid() {
			r.At("nameservers").Item(i).Errorf("the nameserver %s is there twice; it is also item %d", n.Address, j)
		}
	}
}

// StaticHostConfig gives an address host names on this machine, as a line of /etc/hosts does.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: StaticHostConfig
//	name: 10.5.0.1
//	hostnames:
//	    - registry.lab.example
type StaticHostConfig struct {
	// Name is the address.
	Name string `yaml:"name" required:"true"`
	// Hostnames are the names of the address; at least one.
	Hostnames []string `yaml:"hostnames"`
}

func (*StaticHostConfig) DocumentKind() string   { return "StaticHostConfig" }
func (c *StaticHostConfig) DocumentName() string { return c.Name }

// Addr returns the address; the zero address if the name is none.
func (c *StaticHostConfig) Addr() netip.Addr { return nameAddr(c.Name) }

func (c *StaticHostConfig) Validate(r *schema.Reporter) {
	var a scalar.Addr
	if err := a.UnmarshalText([]byte(c.Name)); err != nil {
		r.At("name").Errorf("expected %s, got %q: %v", a.Expects(), c.Name, err)
	}
	if len(c.Hostnames) == 0 {
		r.At("hostnames").Errorf("expected at least one host name, got none")
	}
	for i, name := range c.Hostnames {
		if !scalar.ValidHostname(name) {
			r.At("hostnames").Item(i).Errorf("expected a host name, got %q", name)
		}
	}
}
