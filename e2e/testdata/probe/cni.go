package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"talos.internal/internal/sys/rtnl"
)

// settings are those of the node's container runtime: a bridge for the pods of this node.
var settings = template.Must(template.New("cni").Parse(`{
  "cniVersion": "1.0.0", "name": "probe",
  "plugins": [
    {"type": "bridge", "bridge": "probe0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`))

// node is what is wanted of a Node of Kubernetes.
type node struct {
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec   struct{ PodCIDR string }
	Status struct {
		Addresses []struct{ Type, Address string }
	}
}

// address is the node's own; the zero value if it has none yet.
func (n node) address() netip.Addr {
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			addr, _ := netip.ParseAddr(a.Address)
			return addr
		}
	}
	return netip.Addr{}
}

// network is the network plugin of the tests: every second it writes the settings of this node, and routes to the pods of the
// others, and leads what pods send to the service of the Kubernetes API to one that has it. All nodes are on one link. It ends with
// its context, and says what goes wrong when that changes.
func network(ctx context.Context) error {
	last := "nothing"
	for tick := time.NewTicker(time.Second); ; {
		said := "the network is there"
		if err := pass(ctx, os.Getenv("NODE_NAME"), os.Getenv("CNI_DIR")); err != nil {
			said = err.Error()
		}
		if said != last {
			fmt.Println(said)
			last = said
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func pass(ctx context.Context, name, dir string) error {
	nodes, err := list(ctx)
	if err != nil {
		return err
	}
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	service, err := netip.ParseAddrPort(os.Getenv("API_SERVICE"))
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, control := n.Metadata.Labels["node-role.kubernetes.io/control-plane"]; control && n.address().IsValid() {
			if err := redirect(service, netip.AddrPortFrom(n.address(), 6443)); err != nil {
				return err
			}
		}
		pods, err := netip.ParsePrefix(n.Spec.PodCIDR)
		if err != nil {
			return fmt.Errorf("node %s has no addresses for pods yet", n.Metadata.Name)
		}
		if n.Metadata.Name == name {
			err = configure(dir, pods)
		} else if via := n.address(); via.IsValid() {
			err = reach(c, pods, via)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list asks for the nodes.
func list(ctx context.Context) ([]node, error) {
	var all struct{ Items []node }
	return all.Items, call(ctx, http.MethodGet, "/api/v1/nodes", nil, &all)
}

// configure writes the settings if they are not there. The container runtime reads them as soon as they have their name.
func configure(dir string, pods netip.Prefix) error {
	var text bytes.Buffer
	if err := settings.Execute(&text, pods); err != nil {
		return err
	}
	file := filepath.Join(dir, "10-probe.conflist")
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, text.Bytes()) {
		return nil
	}
	if err := os.WriteFile(file+".tmp", text.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".tmp", file)
}

// reach makes a route to the pods of another node.
func reach(c *rtnl.Conn, pods netip.Prefix, via netip.Addr) error {
	routes, err := c.Routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Destination == pods && r.Gateway == via {
			return nil
		}
	}
	return c.ReplaceRoute(rtnl.Route{Destination: pods, Gateway: via})
}

// redirect makes a rule for what pods send to a service over TCP. There are no others here: that is kube-proxy's work.
func redirect(service, server netip.AddrPort) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	const ip, tcp = 2, 6 // NFPROTO_IPV4, IPPROTO_TCP
	t := &nftables.Table{Name: "probe", Family: nftables.TableFamilyIPv4}
	c.AddTable(t) // a delete of what is not there fails
	c.DelTable(t)
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: service.Addr().AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{tcp}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(service.Port())},
		&expr.Immediate{Register: 1, Data: server.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(server.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: ip, RegAddrMin: 1, RegProtoMin: 2},
	}})
	return c.Flush()
}
