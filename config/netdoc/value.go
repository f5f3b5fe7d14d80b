package netdoc

import (
	"net/netip"
	"strings"
	"time"
	"unicode"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

const (
	maxLinkName = 15  // IFNAMSIZ of the kernel, less the final zero byte
	maxAltName  = 127 // ALTIFNAMSIZ, likewise
	minMTU      = 68  // RFC 791 §3.2
	maxMTU      = 65535
	minMTUv6    = 1280 // RFC 8200 §5
)

// ownLinks are the links that the system makes itself, or that always exist.
var ownLinks = map[string]bool{"lo": true, "kubespan": true, "siderolink": true}

// linkNameFault says why the kernel refuses s as a link's name (dev_valid_name in net/core/dev.c) of at most most
// bytes, or returns "".
func linkNameFault(s string, most int) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > most && most == maxLinkName:
		return "it is longer than 15 bytes"
	case len(s) > most:
		return "it is longer than 127 bytes"
	case s == "." || s == "..":
		return "the kernel reserves it"
	case strings.ContainsAny(s, "/:%"):
		return "the characters /, : and % are not allowed"
	case strings.ContainsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }):
		return "spaces and control characters are not allowed"
	}
	return ""
}

// checkNewLink checks the name of a link that the document makes.
func checkNewLink(r *schema.Reporter, name string) {
	if fault := linkNameFault(name, maxLinkName); fault != "" {
		r.Errorf("expected a link name, got %q: %s", name, fault)
	} else if ownLinks[name] {
		r.Hintf("choose another name", "the link %s belongs to the system", name)
	}
}

// checkLink checks a name that stands for a link: its own, an alternative one or an alias.
func checkLink(r *schema.Reporter, name string) {
	if fault := linkNameFault(name, maxAltName); fault != "" {
		r.Errorf("expected the name of a link, got %q: %s", name, fault)
	}
}

// checkLinks checks the names of links that owner takes.
func checkLinks(r *schema.Reporter, owner string, links []string) {
	first := firsts[string, int]{}
	for i, name := range links {
		at := r.Item(i)
		checkLink(at, name)
		if name == owner {
			at.Errorf("the link %s cannot be a member of itself", name)
		}
		if j, twice := first.seen(name, i); twice {
			at.Errorf("the link %s is there twice; it is also item %d", name, j)
		}
	}
}

// checkName checks the free name of a document. It becomes part of identifiers, in which "/" separates.
func checkName(r *schema.Reporter, name string) {
	switch {
	case name == "":
		r.Errorf("expected a name, got an empty string")
	case strings.Contains(name, "/") || strings.ContainsFunc(name, unicode.IsControl):
		r.Errorf("expected a name without / and control characters, got %q", name)
	}
}

// checkUnicast checks that a is one host's address, and reports whether it is.
func checkUnicast(r *schema.Reporter, a netip.Addr) bool {
	switch {
	case a.Is4In6():
		r.Hintf("write "+a.Unmap().String(), "expected an IPv4 or IPv6 address, got the IPv4-mapped %s", a)
	case a.IsUnspecified():
		r.Errorf("expected the address of a host, got the unspecified %s", a)
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		r.Errorf("expected the address of a host, got the group address %s", a)
	default:
		return true
	}
	return false
}

// parseAddrName reads a document name that is an address, and reports whether it is a host's.
func parseAddrName(r *schema.Reporter, name string) (netip.Addr, bool) {
	var a scalar.Addr
	if err := a.UnmarshalText([]byte(name)); err != nil {
		r.Errorf("expected %s, got %q: %v", a.Expects(), name, err)
		return netip.Addr{}, false
	}
	return a.Addr, checkUnicast(r, a.Addr)
}

// checkNetwork warns of bits beyond the length of a prefix that stands for a network.
func checkNetwork(r *schema.Reporter, p netip.Prefix) {
	if p.IsValid() && p != p.Masked() {
		r.Warnf("write "+p.Masked().String(), "the bits of %s beyond the prefix length are ignored", p)
	}
}

// sameFamily reports whether both addresses are IPv4 or both are IPv6.
func sameFamily(a, b netip.Addr) bool { return a.Is4() == b.Is4() }

// checkMTU checks an MTU that is set.
func checkMTU(r *schema.Reporter, mtu uint32) {
	if mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		r.Errorf("expected an MTU from %d to %d, got %d", minMTU, maxMTU, mtu)
	}
}

// checkEthernetAddr checks the hardware address of an Ethernet link; empty is allowed.
func checkEthernetAddr(r *schema.Reporter, h scalar.HardwareAddr) {
	const length = len("2e:3c:4d:5e:6f:70")
	switch {
	case h == "":
	case len(h) != length:
		r.Errorf("expected a hardware address of 6 bytes, got %s", h)
	case h == "00:00:00:00:00:00" || strings.ContainsRune("13579bdf", rune(h[1])):
		r.Hintf("the first byte must be even, and 02 is right for an address of your own",
			"expected the hardware address of one host, got %s", h)
	}
}

// checkWholeSeconds checks a duration of the range that a 16-bit field of seconds has.
func checkWholeSeconds(r *schema.Reporter, d time.Duration, least time.Duration) {
	if d < least || d > 65535*time.Second || d%time.Second != 0 {
		r.Errorf("expected whole seconds from %v to 65535s, got %v", least, d)
	}
}

// validServer reports whether s is a host name or an address.
func validServer(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return scalar.ValidHostname(s)
}
