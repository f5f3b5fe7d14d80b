package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/provision"
	"talos.internal/internal/sys/netfault"
	"talos.internal/secret"
)

// How long faults last, and how soon all is well after them.
const (
	lossLasts   = 20 * time.Second
	delayLasts  = 20 * time.Second
	cutLasts    = 60 * time.Second
	healsWithin = 30 * time.Second
)

// faults makes the network between the machines worse, in three ways one after the other. Nobody is forgotten by it: afterwards the
// members, those of etcd and the Nodes are the same as before, and all heals by itself. The first machines, so many, are on one side of a
// partition, and have a quorum of etcd; the others are on the other.
func (c *kubeLab) faults(first int) {
	c.lab.reflect()
	api := c.api(c.control())
	before := c.roll(api)
	c.t.Logf("before: %q", before)
	nets := map[string]*netfault.Net{}
	for _, n := range c.nodes {
		net, err := netfault.OpenProcess(n.PID)
		if err != nil {
			c.t.Fatal(err)
		}
		nets[n.Name] = net
		c.t.Cleanup(func() { _ = net.Close() })
	}
	must := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	mend := func() {
		c.t.Helper()
		for _, net := range nets {
			must(net.Mend())
			must(net.Delay("eth0", 0))
		}
	}
	defer mend()
	healed := func(fault string) {
		c.t.Helper()
		began := time.Now()
		out, errs, code := c.talosctl("-n", c.control().Endpoint, "health", "--wait-timeout", healsWithin.String())
		if code != 0 {
			c.t.Errorf("%v after %s: health: %d\n%s%s", healsWithin, fault, code, out, errs)
		}
		for states := map[string]string(nil); ; time.Sleep(time.Second) {
			states = c.states()
			if !slices.ContainsFunc(slices.Collect(maps.Values(states)), func(s string) bool { return s != "alive" }) {
				break
			}
			if time.Since(began) > healsWithin {
				c.t.Errorf("%v after %s the members are %v; want them alive", healsWithin, fault, states)
				break
			}
		}
		c.t.Logf("all is well %.1f s after %s", time.Since(began).Seconds(), fault)
		if diff := cmp.Diff(before, c.roll(api)); diff != "" {
			c.t.Errorf("after %s (-before +after):\n%s", fault, diff)
		}
	}
	// neverGone watches for a while that nobody is taken for gone who is there.
	neverGone := func(fault string, lasts time.Duration) {
		c.t.Helper()
		for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(time.Second) {
			for name, state := range c.states() {
				if state == "gone" {
					c.t.Errorf("with %s %s is taken for gone", fault, name)
				}
			}
		}
	}

	for _, net := range nets {
		must(net.Set(netfault.Faults{Link: "eth0", Loss: 50}))
	}
	neverGone("5 % loss", lossLasts)
	for name, net := range nets {
		lost, err := net.Dropped()
		must(err)
		if c.t.Logf("%s: %d packets were lost", name, lost); lost == 0 {
			c.t.Errorf("no packet to %s was lost", name)
		}
	}
	mend()
	healed("5 % loss")

	delayed := error(nil)
	for _, net := range nets {
		delayed = errors.Join(delayed, net.Delay("eth0", 200*time.Millisecond))
	}
	switch {
	case errors.Is(delayed, errors.ErrUnsupported):
		c.t.Logf("no delay: %v", delayed)
	case delayed != nil:
		c.t.Fatal(delayed)
	default:
		neverGone("200 ms delay", delayLasts)
		mend()
		healed("200 ms delay")
	}

	c.cut(nets, api, c.nodes[:first], c.nodes[first:])
	mend()
	healed(fmt.Sprintf("a partition of %v", cutLasts))
}

// cut parts some machines from the others for a while. The first have a quorum of etcd: they go on, and mark the others as gone.
func (c *kubeLab) cut(nets map[string]*netfault.Net, api kubeAPI, these, others []provision.Node) {
	c.t.Helper()
	addresses := func(nodes []provision.Node) (all []netip.Addr) {
		for _, n := range nodes {
			all = append(all, n.Address)
		}
		return all
	}
	began := time.Now()
	for _, n := range these {
		if err := nets[n.Name].Set(netfault.Faults{Cut: addresses(others)}); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, n := range others {
		if err := nets[n.Name].Set(netfault.Faults{Cut: addresses(these)}); err != nil {
			c.t.Fatal(err)
		}
	}
	written, marked := time.Duration(0), time.Duration(0)
	last := ""
	for i := 0; time.Since(began) < cutLasts; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := api.call(ctx, http.MethodPost, "/api/v1/namespaces/default/configmaps", map[string]any{"metadata": map[string]any{"name": fmt.Sprintf("cut-%d", i)}}, nil)
		cancel()
		if err == nil && written == 0 {
			written = time.Since(began)
		}
		states := c.states()
		for _, n := range these {
			if states[n.Name] == "gone" {
				c.t.Errorf("%s, which is on this side, is taken for gone", n.Name)
			}
		}
		gone := 0
		for _, n := range others {
			if states[n.Name] == "gone" {
				gone++
			}
		}
		if gone == len(others) && marked == 0 {
			marked = time.Since(began)
		}
		last = fmt.Sprintf("the write: %v; the members: %v", err, states)
		time.Sleep(time.Second)
	}
	c.t.Logf("parted: the first write after %.1f s, the others are marked as gone after %.1f s", written.Seconds(), marked.Seconds())
	if written == 0 || marked == 0 || marked > 3*markedWithin {
		c.t.Errorf("the side with the quorum did not go on, or did not mark the others; last seen: %s", last)
	}
}

// states are the states of the members by their names, as the first machine has them; empty if it does not answer.
func (c *kubeLab) states() map[string]string {
	c.t.Helper()
	out, errs, code := c.talosctl("-n", c.control().Endpoint, "get", "members")
	if code != 0 {
		c.t.Logf("talosctl get members: %s", errs)
	}
	all := map[string]string{}
	for name, row := range rows(out, "ID") {
		all[name] = row["STATE"]
	}
	return all
}

// roll is who belongs to the cluster: the members, those of etcd and the Nodes, by what tells them from others of their names.
func (c *kubeLab) roll(api kubeAPI) []string {
	c.t.Helper()
	all := []string{}
	c.wait("everybody to be listed", func(ctx context.Context) error {
		all = nil
		out, errs, code := c.talosctl("-n", c.control().Endpoint, "get", "members", "-o", "json")
		if code != 0 {
			return errors.New(errs)
		}
		for line := range strings.Lines(out) {
			if name, id, ok := strings.Cut(strings.TrimSpace(line), `"nodeId": `); ok && name == "" {
				all = append(all, "member "+strings.Trim(id, `",`))
			}
		}
		list, err := client.Only(c.as(c.control(), secret.RoleAdmin).Machine().EtcdMemberList(ctx, &machinepb.EtcdMemberListRequest{}))
		if err != nil {
			return err
		}
		for _, m := range list.GetMembers() {
			all = append(all, fmt.Sprintf("etcd %s %x", m.GetHostname(), m.GetId()))
		}
		var nodes struct{ Items []object }
		if err := api.call(ctx, http.MethodGet, "/api/v1/nodes", nil, &nodes); err != nil {
			return err
		}
		for _, n := range nodes.Items {
			all = append(all, "Node "+n.Metadata.Name+" "+n.Metadata.UID)
		}
		return nil
	})
	slices.Sort(all)
	return all
}
