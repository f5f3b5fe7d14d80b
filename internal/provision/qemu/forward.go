package qemu

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"talos.internal/internal/provision"
)

// forward is a port of this computer that is passed on to a port of a node.
type forward struct {
	proto string // tcp, udp
	host  netip.AddrPort
	node  string // name
	port  uint16
	fixed bool // the port of this computer was asked for
}

// Ports of nodes that are always published.
const (
	apiPort        = 50000
	kubernetesPort = 6443 // of the control plane
)

// String is a line of a state.
func (f forward) String() string {
	s := fmt.Sprintf("%s %s %s %d", f.proto, f.host, f.node, f.port)
	if f.fixed {
		s += " fixed"
	}
	return s
}

// formatForwards and parseForwards are the forwards of a cluster as a text of its state.
func formatForwards(all []forward) string {
	var lines []string
	for _, f := range all {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

func parseForwards(text string) ([]forward, error) {
	var all []forward
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 4 || len(words) > 5 {
			return nil, fmt.Errorf("published port %q: want protocol, address, node and port", line)
		}
		host, err := netip.ParseAddrPort(words[1])
		if err != nil {
			return nil, fmt.Errorf("published port %q: %w", line, err)
		}
		port, err := strconv.ParseUint(words[3], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("published port %q: %w", line, err)
		}
		all = append(all, forward{words[0], host, words[2], uint16(port), len(words) == 5})
	}
	return all, nil
}

// loopback is where ports are published that nobody asked for.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// wanted returns the forwards of a node, with a free port of this computer for each. free finds one.
func wanted(node provision.StateNode, free func() (uint16, error)) ([]forward, error) {
	ports := []uint16{apiPort}
	if node.Type == provision.ControlPlane {
		ports = append(ports, kubernetesPort)
	}
	var all []forward
	for _, port := range ports {
		p, err := free()
		if err != nil {
			return nil, err
		}
		all = append(all, forward{"tcp", netip.AddrPortFrom(loopback, p), node.Name, port, false})
	}
	return all, nil
}

// asked returns the forwards that a request names, of its first node.
func asked(ports []provision.Port, node string) []forward {
	var all []forward
	for _, p := range ports {
		host := p.Host
		if !host.IsValid() {
			host = netip.IPv4Unspecified()
		}
		all = append(all, forward{p.Protocol, netip.AddrPortFrom(host, p.HostPort), node, p.NodePort, true})
	}
	return all
}

// rule is the forward as QEMU's hostfwd_add has it.
func (f forward) rule(address netip.Addr) string {
	return fmt.Sprintf("%s:%s:%d-%s:%d", f.proto, f.host.Addr(), f.host.Port(), address, f.port)
}
