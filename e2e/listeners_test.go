package e2e

import (
	"context"
	"net/netip"
	"testing"

	"talos.internal/internal/provision"
	"talos.internal/internal/proxy"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/trust"
)

// documented are the ports on which a node may be called from outside. Who adds one says what listens there.
var documented = map[uint16]string{
	proxy.Port: "apid", trust.Port: "trustd", 2379: "etcd's clients", 2380: "etcd's members", 6443: "kube-apiserver", 10250: "kubelet",
}

// onlyPods are addresses of the loopback interface that pods use. No other machine has a way to them.
var onlyPods = map[netip.AddrPort]string{
	netip.MustParseAddrPort("169.254.116.108:53"):                       "host DNS",
	netip.MustParseAddrPort("[fd54:616c:6f73:0:204f:5320:444e:531]:53"): "host DNS",
}

func TestEveryListenerIsKnown(t *testing.T) {
	l := newLab(t, "e2e-ports", 54, options{workers: 1}).ready()
	l.until("trustd to serve", func(ctx context.Context) error { return l.greets(ctx, trust.Port) })
	for _, n := range l.nodes {
		sockets, err := proc.Reader{}.Sockets(n.PID, proc.TCP, proc.TCP6, proc.UDP, proc.UDP6, proc.Raw, proc.Raw6)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[uint16]bool{}
		for _, s := range sockets {
			udp := s.Protocol == proc.UDP || s.Protocol == proc.UDP6
			if s.State != proc.Listen && !(udp && s.State == proc.Close) || s.Local.Addr().Unmap().IsLoopback() {
				continue
			}
			if onlyPods[netip.AddrPortFrom(s.Local.Addr().Unmap(), s.Local.Port())] != "" {
				continue
			}
			seen[s.Local.Port()] = true
			if documented[s.Local.Port()] == "" {
				t.Errorf("%s: something listens on %s %s", n.Name, s.Protocol, s.Local)
			}
		}
		want := map[uint16]bool{proxy.Port: true, trust.Port: n.Type == provision.ControlPlane}
		for port, there := range want {
			if seen[port] != there {
				t.Errorf("%s: listens on %d = %t; want %t: this test would see nothing", n.Name, port, seen[port], there)
			}
		}
	}
}
