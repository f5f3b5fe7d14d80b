package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"strings"

	"github.com/flannel-io/flannel/pkg/ip"
	"k8s.io/klog/v2"
)

// previous is what the subnet file said before this run; rules for it are removed when it differs
// from the present. A zero prefix stands for "not there".
type previous struct {
	network, subnet     ip.IP4Net
	networkV6, subnetV6 ip.IP6Net
}

// readSubnetFile reads what an earlier run wrote. A file that is missing, unreadable or damaged in
// part counts as saying nothing (in that part): at worst an old rule stays.
func readSubnetFile(path string) previous {
	file, err := os.Open(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			klog.ErrorS(err, "earlier subnet file not read")
		}
		return parseSubnetFile(strings.NewReader(""))
	}
	defer file.Close()
	return parseSubnetFile(file)
}

// parseSubnetFile reads lines KEY=PREFIX[,PREFIX...]; of several prefixes none is taken, as upstream does.
func parseSubnetFile(r io.Reader) previous {
	p := previous{
		networkV6: ip.IP6Net{IP: (*ip.IP6)(big.NewInt(0))},
		subnetV6:  ip.IP6Net{IP: (*ip.IP6)(big.NewInt(0))},
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		prefix, err := netip.ParsePrefix(strings.Trim(value, `"`))
		if err != nil {
			continue
		}
		address, bits := prefix.Masked().Addr(), uint(prefix.Bits())
		switch {
		case key == "FLANNEL_NETWORK" && address.Is4():
			p.network = ip.IP4Net{IP: ip4(address), PrefixLen: bits}
		case key == "FLANNEL_SUBNET" && address.Is4():
			p.subnet = ip.IP4Net{IP: ip4(address), PrefixLen: bits}
		case key == "FLANNEL_IPV6_NETWORK" && address.Is6():
			p.networkV6 = ip.IP6Net{IP: ip6(address), PrefixLen: bits}
		case key == "FLANNEL_IPV6_SUBNET" && address.Is6():
			p.subnetV6 = ip.IP6Net{IP: ip6(address), PrefixLen: bits}
		}
	}
	return p
}

func ip4(a netip.Addr) ip.IP4 { return ip.FromIP(a.AsSlice()) }

func ip6(a netip.Addr) *ip.IP6 { return (*ip.IP6)(new(big.Int).SetBytes(a.AsSlice())) }
