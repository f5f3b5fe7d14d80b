package vitals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/client"
	"talos.internal/resource/runtime"
)

// The names of the checks, as published, in their order.
const (
	EtcdHealthy       = "etcd to be healthy"
	EtcdConsistent    = "etcd members to be consistent across nodes"
	EtcdControlPlane  = "etcd members to be control plane nodes"
	APIReady          = "apid to be ready"
	MemorySizes       = "all nodes memory sizes"
	DiskSizes         = "all nodes disk sizes"
	NoDiagnostics     = "no diagnostics"
	KubeletHealthy    = "kubelet to be healthy"
	BootFinished      = "all nodes to finish boot sequence"
	NodesReport       = "all k8s nodes to report"
	StaticPodsRunning = "all control plane static pods to be running"
	ComponentsReady   = "all control plane components to be ready"
	NodesReady        = "all k8s nodes to report ready"
	ProxyReady        = "kube-proxy to report ready"
	DNSReady          = "coredns to report ready"
	NodesSchedulable  = "all k8s nodes to report schedulable"
)

// The least that a machine needs. A little less passes, as firmware and file systems take their share.
const (
	minControlPlaneMemory = 2<<30 - 256<<20
	minWorkerMemory       = 1<<30 - 128<<20
	minDisk               = 6<<30 - 512<<20
)

// skipped is the result of a check that does not apply: the reason.
type skipped string

func (s skipped) Error() string { return string(s) }

// check is a check: what it needs to know, and its decision, which is nil, skipped, or the reason for not passing.
type check struct {
	name  string
	needs Question
	judge func(*Facts) error
}

// checks are all checks. Those before the first that asks Kubernetes are the ones of a machine's boot.
var checks = []check{
	{EtcdHealthy, AskServices, func(f *Facts) error { return serviceHealthy(f, "etcd", f.controlPlane()) }},
	{EtcdConsistent, AskEtcd, etcdConsistent},
	{EtcdControlPlane, AskEtcd, etcdControlPlane},
	{APIReady, AskServices, func(f *Facts) error { return serviceHealthy(f, "apid", f.Nodes) }},
	{MemorySizes, AskMemory, memorySizes},
	{DiskSizes, AskDisk, diskSizes},
	{NoDiagnostics, AskDiagnostics, noDiagnostics},
	{KubeletHealthy, AskServices, func(f *Facts) error { return serviceHealthy(f, "kubelet", f.Nodes) }},
	{BootFinished, 0, bootFinished},
	{NodesReport, AskNodes | AskParts, nodesReport},
	{StaticPodsRunning, AskNodes | AskPods | AskParts, func(f *Facts) error { return controlPlanePods(f, Pod.running) }},
	{ComponentsReady, AskNodes | AskPods | AskParts, func(f *Facts) error { return controlPlanePods(f, Pod.ready) }},
	{NodesReady, AskNodes | AskParts, func(f *Facts) error { return kubeNodes(f, KubeNode.ready) }},
	{ProxyReady, AskProxy | AskParts, func(f *Facts) error {
		return workload(f, "DaemonSet kube-proxy", f.Kubernetes.Proxy, func(p Parts) bool { return p.NoProxy })
	}},
	{DNSReady, AskDNS | AskParts, func(f *Facts) error {
		return workload(f, "Deployment coredns", f.Kubernetes.DNS, func(p Parts) bool { return p.NoDNS })
	}},
	{NodesSchedulable, AskNodes | AskParts, func(f *Facts) error { return kubeNodes(f, KubeNode.schedulable) }},
}

// Names returns the names of all checks, in their order.
func Names() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// most is how many machines a reason names.
const most = 4

// each returns what is wrong with some of the nodes: what of says, which is "" if it is well.
func each(nodes []Node, of func(Node) string) error {
	var bad []string
	for _, n := range nodes {
		if why := of(n); why != "" {
			bad = append(bad, n.String()+": "+why)
		}
	}
	return join(bad)
}

func join(bad []string) error {
	switch n := len(bad); {
	case n == 0:
		return nil
	case n > most:
		bad = append(bad[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return errors.New(strings.Join(bad, "; "))
}

// known returns why an answer cannot be used; "" if it can.
func known[T any](a Answer[T]) string {
	switch {
	case a.Err != nil:
		return explain(a.Err)
	case !a.Known:
		return "no answer yet"
	}
	return ""
}

// explain is the text of an error in one line.
func explain(err error) string {
	// All calls of a run have the same time. That it was over is all that is known, unless there was no connection.
	_, connection := errors.AsType[*client.ConnectionError](err)
	if !connection && (status.Code(err) == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded)) {
		return fmt.Sprintf("no answer in %v", Limit)
	}
	return strings.Join(strings.Fields(client.Explain(err)), " ")
}

// answered asks an answer of each node.
func answered[T any](f *Facts, nodes []Node, part func(Observation) Answer[T], judge func(Node, T) string) error {
	return each(nodes, func(n Node) string {
		a := part(f.Machines[n.Target])
		if why := known(a); why != "" {
			return why
		}
		return judge(n, a.Value)
	})
}

func serviceHealthy(f *Facts, id string, nodes []Node) error {
	return answered(f, nodes, func(o Observation) Answer[[]Service] { return o.Services }, func(_ Node, all []Service) string {
		i := slices.IndexFunc(all, func(s Service) bool { return s.ID == id })
		switch {
		case i < 0:
			return "there is no service " + id + " yet"
		case all[i].State != "Running":
			return "service " + id + " is in state " + all[i].State + colon(all[i].Message)
		case !all[i].Healthy:
			return "service " + id + " is not healthy" + colon(all[i].Message)
		}
		return ""
	})
}

func colon(text string) string {
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	return ": " + text
}

func membersOf(o Observation) Answer[[]Member] { return o.Members }

func etcdConsistent(f *Facts) error {
	if err := answered(f, f.controlPlane(), membersOf, func(Node, []Member) string { return "" }); err != nil {
		return err
	}
	list := func(n Node) string {
		var names []string
		for _, m := range f.Machines[n.Target].Members.Value {
			names = append(names, fmt.Sprintf("%s (%016x)", m.Name, m.ID))
		}
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	nodes := f.controlPlane()
	for _, n := range nodes {
		if a, b := list(nodes[0]), list(n); a != b {
			return fmt.Errorf("%s knows the members %s; %s knows %s", nodes[0], a, n, b)
		}
	}
	return nil
}

func etcdControlPlane(f *Facts) error {
	nodes := f.controlPlane()
	if err := answered(f, nodes, membersOf, func(n Node, all []Member) string {
		i := slices.IndexFunc(all, func(m Member) bool { return n.is(m.Name, m.Addresses) })
		switch {
		case i < 0:
			return "it is no member of etcd yet"
		case all[i].Learner:
			return "it is still a learner in etcd"
		}
		return ""
	}); err != nil {
		return err
	}
	var bad []string
	for _, n := range nodes {
		for _, m := range f.Machines[n.Target].Members.Value {
			stranger := !slices.ContainsFunc(nodes, func(n Node) bool { return n.is(m.Name, m.Addresses) })
			text := fmt.Sprintf("etcd has the member %s (%016x), which is none of the control plane nodes", m.Name, m.ID)
			if stranger && !slices.Contains(bad, text) {
				bad = append(bad, text)
			}
		}
	}
	return join(bad)
}

func memorySizes(f *Facts) error {
	return answered(f, f.Nodes, func(o Observation) Answer[uint64] { return o.Memory }, func(n Node, size uint64) string {
		least := uint64(minWorkerMemory)
		if n.ControlPlane {
			least = minControlPlaneMemory
		}
		return small("memory", size, least)
	})
}

func diskSizes(f *Facts) error {
	return answered(f, f.Nodes, func(o Observation) Answer[uint64] { return o.Disk }, func(_ Node, size uint64) string {
		if size == 0 { // a node in a container without a file system of its own
			return ""
		}
		return small("disk space", size, minDisk)
	})
}

func small(what string, size, least uint64) string {
	if size >= least {
		return ""
	}
	return fmt.Sprintf("it has %d MiB of %s; it needs at least %d MiB", size>>20, what, least>>20)
}

func noDiagnostics(f *Facts) error {
	return answered(f, f.Nodes, func(o Observation) Answer[[]string] { return o.Diagnostics }, func(_ Node, all []string) string {
		return strings.Join(all, ", ")
	})
}

func bootFinished(f *Facts) error {
	return answered(f, f.Nodes, func(o Observation) Answer[runtime.MachineStatus] { return o.Status }, func(_ Node, s runtime.MachineStatus) string {
		if s.Stage == runtime.StageRunning {
			return ""
		}
		text := "it is " + s.Stage.String()
		for _, c := range s.Status.UnmetConditions {
			text += ", " + c.Name + ": " + c.Reason
		}
		return text
	})
}

// registered returns the nodes that make a Node object, and why that is not known of all.
func registered(f *Facts) ([]Node, error) {
	var out []Node
	err := answered(f, f.Nodes, func(o Observation) Answer[Parts] { return o.Parts }, func(n Node, p Parts) string {
		if !p.NoNode {
			out = append(out, n)
		}
		return ""
	})
	if err == nil && len(out) == 0 {
		return nil, skipped("no machine makes a Node")
	}
	return out, err
}

// kubeNodeOf returns the Node object of a node.
func kubeNodeOf(f *Facts, n Node) (KubeNode, bool) {
	all := f.Kubernetes.Nodes.Value
	i := slices.IndexFunc(all, func(k KubeNode) bool { return n.is(k.Name, k.Addresses) })
	if i < 0 {
		return KubeNode{}, false
	}
	return all[i], true
}

func nodesReport(f *Facts) error {
	err := kubeNodes(f, func(KubeNode) string { return "" })
	if err != nil {
		return err
	}
	var bad []string
	for _, k := range f.Kubernetes.Nodes.Value {
		if !slices.ContainsFunc(f.Nodes, func(n Node) bool { return n.is(k.Name, k.Addresses) }) {
			bad = append(bad, fmt.Sprintf("Kubernetes has the Node %s, which is none of the cluster's machines", k.Name))
		}
	}
	return join(bad)
}

// kubeNodes asks the Node object of each node.
func kubeNodes(f *Facts, of func(KubeNode) string) error {
	if why := known(f.Kubernetes.Nodes); why != "" {
		return errors.New(why)
	}
	nodes, err := registered(f)
	if err != nil {
		return err
	}
	return each(nodes, func(n Node) string {
		k, ok := kubeNodeOf(f, n)
		if !ok {
			return "Kubernetes has no Node of it yet"
		}
		return of(k)
	})
}

func (k KubeNode) ready() string {
	if k.Ready {
		return ""
	}
	return "its Node is not ready" + colon(k.Reason)
}

func (k KubeNode) schedulable() string {
	if k.Unschedulable {
		return "its Node takes no pods: it is cordoned"
	}
	return ""
}

// controlPlanePods asks the pods of the control plane, which have the name of a component and that of the Node.
func controlPlanePods(f *Facts, of func(Pod) string) error {
	for _, why := range []string{known(f.Kubernetes.Nodes), known(f.Kubernetes.Pods)} {
		if why != "" {
			return errors.New(why)
		}
	}
	return answered(f, f.controlPlane(), func(o Observation) Answer[Parts] { return o.Parts }, func(n Node, p Parts) string {
		if p.NoNode {
			return "" // Kubernetes knows nothing of its pods
		}
		k, ok := kubeNodeOf(f, n)
		if !ok {
			return "Kubernetes has no Node of it yet"
		}
		for _, c := range []struct {
			name string
			off  bool
		}{{"kube-apiserver", false}, {"kube-controller-manager", p.NoControllerManager}, {"kube-scheduler", p.NoScheduler}} {
			if c.off {
				continue
			}
			name := c.name + "-" + k.Name
			i := slices.IndexFunc(f.Kubernetes.Pods.Value, func(pod Pod) bool { return pod.Name == name })
			if i < 0 {
				return "there is no pod " + name + " yet"
			}
			if why := of(f.Kubernetes.Pods.Value[i]); why != "" {
				return why
			}
		}
		return ""
	})
}

func (p Pod) running() string {
	if p.Phase == "Running" {
		return ""
	}
	return "pod " + p.Name + " is " + p.Phase + colon(p.Reason)
}

func (p Pod) ready() string {
	if p.Ready {
		return ""
	}
	return "pod " + p.Name + " is not ready" + colon(p.Reason)
}

func workload(f *Facts, name string, a Answer[Workload], off func(Parts) bool) error {
	if err := answered(f, f.controlPlane(), func(o Observation) Answer[Parts] { return o.Parts }, func(Node, Parts) string { return "" }); err != nil {
		return err
	}
	nodes := f.controlPlane()
	if len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n Node) bool { return !off(f.Machines[n.Target].Parts.Value) }) {
		return skipped("the config switches it off")
	}
	if why := known(a); why != "" {
		return errors.New(why)
	}
	switch w := a.Value; {
	case w.Missing:
		return fmt.Errorf("there is no %s yet", name)
	case !w.Current:
		return fmt.Errorf("%s: Kubernetes has not looked at it yet", name)
	case w.Desired == 0:
		return fmt.Errorf("%s wants no pods", name)
	case w.Ready < w.Desired:
		return fmt.Errorf("%s: %d of %d pods are ready", name, w.Ready, w.Desired)
	}
	return nil
}
