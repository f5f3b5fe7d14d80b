package netconf

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"talos.internal/resource/network"
)

// Cmdline is what the kernel's command line says about the network.
type Cmdline struct {
	network.PlatformConfig          // wishes of the layer cmdline; it has no metadata
	Ignored                []string // links that nobody may touch, by name
}

// ReadCmdline reads the arguments of a command line that are about the network:
//
//	ip=<client>:<server>:<gateway>:<netmask>:<hostname>:<device>:<autoconf>:<dns>:<dns>:<ntp>   as in the kernel's nfsroot.rst
//	ip=<autoconf>  ip=<device>:<autoconf>[:<mtu>]                                              autoconf: dhcp, on, any, dhcp6, off, none
//	bond=<name>[:<members>[:<options>[:<mtu>]]]  vlan=<name>:<parent>  nameserver=<address>    as in dracut.cmdline(7)
//	talos.hostname=<name>  talos.network.interface.ignore=<device>
//
// Addresses of IPv6 are in brackets. A device is a name or enx and a hardware address; an empty one is the first link of the hardware.
// Arguments that are wrong are left aside, and all named by the error; the others count.
func ReadCmdline(text string, links []Link) (Cmdline, error) {
	c := cmdline{builder: builder{layer: network.LayerCmdline}, links: links}
	var errs []error
	for arg := range strings.FieldsSeq(text) {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			continue
		}
		var err error
		switch key {
		case "ip":
			err = c.ip(value)
		case "bond":
			err = c.bond(value)
		case "vlan":
			err = c.vlanArg(value)
		case "nameserver":
			var a netip.Addr
			if a, err = netip.ParseAddr(strings.Trim(value, "[]")); err == nil {
				c.resolvers([]netip.Addr{a}, nil)
			}
		case "talos.hostname":
			c.hostname(value)
		case "talos.network.interface.ignore":
			if name := c.device(value); name != "" {
				c.ignored = append(c.ignored, name)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("kernel argument %s: %w", arg, err))
		}
	}
	return Cmdline{PlatformConfig: c.out, Ignored: c.ignored}, errors.Join(errs...)
}

type cmdline struct {
	builder
	links   []Link
	ignored []string
}

// device returns the name of a link, empty if there is none yet.
func (c *cmdline) device(text string) string {
	if mac, ok := strings.CutPrefix(text, "enx"); ok && len(mac) == 12 {
		b, err := hex.DecodeString(mac)
		if err == nil {
			m := match{MACAddress: network.HardwareAddr(b).String()}
			if found := m.find(c.links); len(found) > 0 {
				return found[0]
			}
		}
	}
	if text != "" {
		return text
	}
	if found := (match{}).find(c.links); len(found) > 0 {
		return found[0]
	}
	return ""
}

// split cuts a text at its colons, but not at those within brackets, and takes the brackets away.
func split(text string) []string {
	var out []string
	start, depth := 0, 0
	for i, r := range text {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ':' && depth == 0:
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	out = append(out, text[start:])
	for i := range out {
		out[i] = strings.Trim(out[i], "[]")
	}
	return out
}

// autoconf runs what an argument's word says on a link. It reports whether the word is known.
func (c *cmdline) autoconf(word, device string) bool {
	known := []string{"dhcp", "on", "any", "dhcp6", "auto6", "off", "none", "both", "static"}
	if !slices.Contains(known, word) {
		return false
	}
	name := c.device(device)
	if name == "" {
		return true
	}
	c.link(name)
	switch word {
	case "dhcp", "on", "any", "both":
		c.dhcp4(name, 0)
	case "dhcp6":
		c.dhcp6(name, 0)
	}
	return true
}

func (c *cmdline) ip(value string) error {
	f := split(value)
	if len(f) == 1 && c.autoconf(f[0], "") {
		return nil
	}
	if len(f) <= 3 && len(f) > 1 && f[0] != "" {
		if _, err := netip.ParseAddr(f[0]); err != nil && c.autoconf(f[1], f[0]) {
			if len(f) == 3 {
				return c.mtu(c.device(f[0]), f[2])
			}
			return nil
		}
	}
	f = append(f, make([]string, max(0, 10-len(f)))...)
	client, gateway, netmask, hostname, device, auto := f[0], f[2], f[3], f[4], f[5], f[6]
	name := c.device(device)
	if auto != "" && !c.autoconf(auto, device) {
		return fmt.Errorf("expected dhcp, on, any, dhcp6, off or none in the seventh place, got %q", auto)
	}
	if client != "" {
		p, err := prefix(client, netmask)
		if err != nil {
			return err
		}
		if name == "" {
			return nil // it is not there yet
		}
		c.link(name)
		c.address(name, p)
	}
	if gateway != "" {
		via, err := netip.ParseAddr(gateway)
		if err != nil {
			return fmt.Errorf("expected the address of a gateway in the third place, got %q", gateway)
		}
		c.route(name, netip.Prefix{}, via, 0)
	}
	c.hostname(hostname)
	for _, text := range f[7:9] {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("expected the address of a nameserver, got %q", text)
		}
		c.resolvers([]netip.Addr{a}, nil)
	}
	if f[9] != "" {
		c.out.TimeServers = []network.TimeServerSpec{{Servers: []string{f[9]}, Layer: c.layer}}
	}
	return nil
}

func (c *cmdline) mtu(name, text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return fmt.Errorf("expected an MTU, got %q", text)
	}
	if name != "" {
		c.link(name).MTU = uint32(n)
	}
	return nil
}

func (c *cmdline) bond(value string) error {
	f := strings.SplitN(value, ":", 4)
	f = append(f, make([]string, 4-len(f))...)
	name, members, options, mtu := f[0], f[1], f[2], f[3]
	if name == "" {
		name = "bond0"
	}
	var list []option
	for o := range strings.SplitSeq(options, ",") {
		if key, value, ok := strings.Cut(o, "="); ok {
			list = append(list, option{key, value})
		}
	}
	spec, err := bond(list)
	if err != nil {
		return err
	}
	l := c.logical(name, network.KindBond)
	l.BondMaster = &spec
	var names []string
	for m := range strings.SplitSeq(members, ",") {
		if m != "" {
			names = append(names, c.device(m))
		}
	}
	c.members(name, network.KindBond, slices.DeleteFunc(names, func(n string) bool { return n == "" }))
	if mtu != "" {
		return c.mtu(name, mtu)
	}
	return nil
}

// vlanArg reads the name and the parent of a VLAN. The number of the VLAN is what the name ends in, as in vlan5, vlan0005, eth0.5 and eth0.0005.
func (c *cmdline) vlanArg(value string) error {
	name, parent, _ := strings.Cut(value, ":")
	digits := strings.TrimLeft(name[strings.LastIndexFunc(name, func(r rune) bool { return r < '0' || r > '9' })+1:], "0")
	id, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || id < 1 || id > 4094 || parent == "" {
		return fmt.Errorf("expected a name that ends in a number from 1 to 4094, and a parent, got %q", value)
	}
	if device := c.device(parent); device != "" {
		c.builder.vlan(name, device, uint32(id))
	}
	return nil
}
