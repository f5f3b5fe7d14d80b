package vitals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
)

// NewMachines returns the machines that a client reaches.
func NewMachines(c *client.Client) Machines { return machines{c} }

type machines struct{ c *client.Client }

// Observe implements [Machines]. All questions are asked at once.
func (m machines) Observe(ctx context.Context, n Node, q Question) Observation {
	ctx = client.WithNode(ctx, n.Target)
	var o Observation
	var asking sync.WaitGroup
	ask := func(what Question, f func()) {
		if q&what == what {
			asking.Go(f)
		}
	}
	asking.Go(func() {
		s, err := get[runtime.MachineStatus](ctx, m.c, runtime.MachineStatusID)
		o.Status = NewAnswer(s, err)
	})
	ask(AskServices, func() { o.Services = NewAnswer(m.services(ctx)) })
	ask(AskEtcd, func() { o.Members = NewAnswer(m.members(ctx)) })
	ask(AskMemory, func() {
		r, err := client.Only(m.c.Machine().Memory(ctx, &emptypb.Empty{}))
		o.Memory = NewAnswer(r.GetMeminfo().GetMemtotal()<<10, err)
	})
	ask(AskDisk, func() { o.Disk = NewAnswer(m.disk(ctx)) })
	ask(AskDiagnostics, func() {
		all, err := list[runtime.Diagnostic](ctx, m.c)
		var lines []string
		for _, d := range all {
			lines = append(lines, d.Message)
		}
		o.Diagnostics = NewAnswer(lines, err)
	})
	ask(AskParts, func() { o.Parts = NewAnswer(m.parts(ctx, n.ControlPlane)) })
	asking.Wait()
	return o
}

func (m machines) services(ctx context.Context) ([]Service, error) {
	r, err := client.Only(m.c.Machine().ServiceList(ctx, &emptypb.Empty{}))
	if err != nil {
		return nil, err
	}
	var all []Service
	for _, s := range r.GetServices() {
		h := s.GetHealth()
		message := h.GetLastMessage()
		if e := s.GetEvents().GetEvents(); message == "" && len(e) > 0 {
			message = e[len(e)-1].GetMsg()
		}
		all = append(all, Service{ID: s.GetId(), State: s.GetState(), Healthy: !h.GetUnknown() && h.GetHealthy(), Message: message})
	}
	return all, nil
}

func (m machines) members(ctx context.Context) ([]Member, error) {
	r, err := client.Only(m.c.Machine().EtcdMemberList(ctx, &machinepb.EtcdMemberListRequest{QueryLocal: true}))
	if err != nil {
		return nil, err
	}
	var all []Member
	for _, e := range r.GetMembers() {
		all = append(all, Member{ID: e.GetId(), Name: e.GetHostname(), Addresses: peerAddresses(e.GetPeerUrls()), Learner: e.GetIsLearner()})
	}
	return all, nil
}

// peerAddresses returns the addresses in URLs; names and what is no URL are left out.
func peerAddresses(urls []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func (m machines) disk(ctx context.Context) (uint64, error) {
	r, err := client.Only(m.c.Machine().Mounts(ctx, &emptypb.Empty{}))
	if err != nil {
		return 0, err
	}
	for _, s := range r.GetStats() {
		if s.GetMountedOn() == "/var" {
			return s.GetSize(), nil
		}
	}
	return 0, nil
}

// parts reads what the config switches off. What the machine does not have, or does not let the caller see, is on.
func (m machines) parts(ctx context.Context, controlPlane bool) (Parts, error) {
	var p Parts
	kubelet, err := optional[kube.KubeletConfig](ctx, m.c, kube.KubeletID)
	if err != nil {
		return p, err
	}
	p.NoNode = kubelet != nil && kubelet.SkipNodeRegistration
	if !controlPlane {
		return p, nil
	}
	manager, err := optional[kube.ControllerManagerConfig](ctx, m.c, kube.ControllerManagerConfigID)
	if err != nil {
		return p, err
	}
	scheduler, err := optional[kube.SchedulerConfig](ctx, m.c, kube.SchedulerConfigID)
	if err != nil {
		return p, err
	}
	manifests, err := optional[kube.BootstrapManifestsConfig](ctx, m.c, kube.BootstrapManifestsConfigID)
	if err != nil {
		return p, err
	}
	p.NoControllerManager = manager != nil && !manager.Enabled
	p.NoScheduler = scheduler != nil && !scheduler.Enabled
	p.NoProxy = manifests != nil && !manifests.ProxyEnabled
	p.NoDNS = manifests != nil && !manifests.CoreDNSEnabled
	return p, nil
}

// get reads one resource.
func get[S resource.Spec](ctx context.Context, c *client.Client, id string) (S, error) {
	var out S
	kind := resource.KindOf[S]()
	r, err := c.State().Get(ctx, &statepb.GetRequest{Namespace: kind.Namespace, Type: kind.Type, Id: id})
	if err != nil {
		return out, err
	}
	if err := yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &out); err != nil {
		return out, fmt.Errorf("read %s %s: %w", kind.Type, id, err)
	}
	return out, nil
}

// optional is get for a resource that may be missing, or not be shown to the caller: nil then.
func optional[S resource.Spec](ctx context.Context, c *client.Client, id string) (*S, error) {
	s, err := get[S](ctx, c, id)
	switch status.Code(err) {
	case codes.OK:
		return &s, err
	case codes.NotFound, codes.PermissionDenied:
		return nil, nil
	}
	return nil, err
}

// list reads all resources of a type, in the order of their ids.
func list[S resource.Spec](ctx context.Context, c *client.Client) ([]S, error) {
	kind := resource.KindOf[S]()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.State().List(ctx, &statepb.ListRequest{Namespace: kind.Namespace, Type: kind.Type})
	if err != nil {
		return nil, err
	}
	var all []S
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var s S
		if err := yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &s); err != nil {
			return nil, fmt.Errorf("read %s: %w", kind.Type, err)
		}
		all = append(all, s)
	}
}

// Members returns the machines of the cluster as a node knows them, by discovery, in the order of their names.
func Members(ctx context.Context, c *client.Client, node string) ([]Node, error) {
	all, err := list[cluster.Member](client.WithNode(ctx, node), c)
	if err != nil {
		return nil, fmt.Errorf("ask %s for the members of the cluster: %w", node, err)
	}
	var out []Node
	for _, m := range all {
		if len(m.Addresses) == 0 {
			continue
		}
		out = append(out, Node{
			Target: target(m.Addresses), Name: m.Hostname, Addresses: m.Addresses,
			ControlPlane: m.MachineType == machineconfig.TypeControlPlane || m.MachineType == machineconfig.TypeInit,
		})
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// target is the address that a machine is called by: one of IPv4 before others.
func target(addresses []netip.Addr) string {
	if i := slices.IndexFunc(addresses, netip.Addr.Is4); i >= 0 {
		return addresses[i].String()
	}
	return addresses[0].String()
}

// hostOf is the host of an address with or without a port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
