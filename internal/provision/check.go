package provision

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// label is a label of a host name (RFC 1123, section 2.1), in lower case.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// CheckName returns an error, which wraps ErrInvalid, if a name is not fit for a cluster or a node: both become parts of host
// names, so it is lower-case letters, digits and hyphens, at most 63, and starts and ends with no hyphen.
func CheckName(name string) error {
	if len(name) > 63 || !label.MatchString(name) {
		return fmt.Errorf("name %q: %w: it has to be 1 to 63 lower-case letters, digits and hyphens, with no hyphen at its ends", name, ErrInvalid)
	}
	return nil
}

// NodeName is the name of the n-th node of a type, from 1, as published: NAME-controlplane-1.
func NodeName(cluster, kind string, n int) string {
	return cluster + "-" + kind + "-" + strconv.Itoa(n)
}

// Check returns all that is wrong with a request in itself; the error wraps ErrInvalid.
func (r ClusterRequest) Check() error {
	errs := []error{CheckName(r.Name), r.Network.check()}
	if r.Image == "" {
		errs = append(errs, fmt.Errorf("image: %w: there is none", ErrInvalid))
	}
	if len(r.Nodes) == 0 {
		errs = append(errs, fmt.Errorf("nodes: %w: there are none", ErrInvalid))
	}
	for i, n := range r.Nodes {
		errs = append(errs, n.Check(r.Network))
		if slices.ContainsFunc(r.Nodes[:i], func(o NodeRequest) bool { return o.Name == n.Name }) {
			errs = append(errs, fmt.Errorf("node %s: %w: two nodes have the name", n.Name, ErrInvalid))
		}
		if slices.ContainsFunc(r.Nodes[:i], func(o NodeRequest) bool { return o.Address == n.Address }) {
			errs = append(errs, fmt.Errorf("node %s: %w: another node has the address %s", n.Name, ErrInvalid, n.Address))
		}
	}
	return errors.Join(errs...)
}

func (n NetworkRequest) check() error {
	switch {
	case !n.CIDR.IsValid() || !n.CIDR.Addr().Is4():
		return fmt.Errorf("network %s: %w: it has to be one of IPv4, such as 10.5.0.0/24", n.CIDR, ErrInvalid)
	case n.CIDR.Bits() > 29:
		return fmt.Errorf("network %s: %w: it has no room for nodes; /29 or larger has", n.CIDR, ErrInvalid)
	case n.MTU < 1280 || n.MTU > 65535: // what IPv6 needs (RFC 8200, section 5); and more is no packet
		return fmt.Errorf("MTU %d: %w: it has to be from 1280 to 65535", n.MTU, ErrInvalid)
	}
	return nil
}

// Check returns all that is wrong with a node of a network; the error wraps ErrInvalid.
func (r NodeRequest) Check(network NetworkRequest) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("node %s: %w: %s", r.Name, ErrInvalid, fmt.Sprintf(format, args...)))
	}
	if err := CheckName(r.Name); err != nil {
		errs = append(errs, fmt.Errorf("node: %w", err))
	}
	if r.Type != ControlPlane && r.Type != Worker {
		bad("type %q is neither %s nor %s", r.Type, ControlPlane, Worker)
	}
	if !inside(network.CIDR, r.Address) {
		bad("address %s is none for a node of %s", r.Address, network.CIDR)
	}
	if r.CPUs < 0 || r.CPUs > 0 && r.CPUs < 0.01 {
		bad("%v CPUs; want 0 for no limit, or at least 0.01", r.CPUs)
	}
	if r.Memory < 0 {
		bad("%d bytes of memory; want 0 for no limit, or more", r.Memory)
	}
	for _, m := range r.Mounts {
		for _, p := range []string{m.Source, m.Target} {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p || p == "/" {
				bad("mount of %q at %q: both have to be absolute and clean", m.Source, m.Target)
				break
			}
		}
	}
	return errors.Join(errs...)
}

// inside reports whether a node can have an address: not the network's own, the gateway's or the one for broadcast.
func inside(network netip.Prefix, a netip.Addr) bool {
	first := network.Masked().Addr()
	return a.IsValid() && network.Contains(a) && a != first && a != first.Next() && network.Contains(a.Next())
}
