package vitals

import (
	"net/netip"
	"slices"

	"talos.internal/resource/runtime"
)

// Node is a machine that belongs to the cluster.
type Node struct {
	// Target is what the machine is called by: an address, or a name that the endpoint knows.
	Target string
	// Name is its host name; "" if it is not known.
	Name         string
	Addresses    []netip.Addr
	ControlPlane bool
}

// NewNode returns a machine that is known by its target only.
func NewNode(target string, controlPlane bool) Node {
	n := Node{Target: target, ControlPlane: controlPlane}
	if a, err := netip.ParseAddr(target); err == nil {
		n.Addresses = []netip.Addr{a}
	} else {
		n.Name = target
	}
	return n
}

// String is the target, and the name where that is another.
func (n Node) String() string {
	if n.Name == "" || n.Name == n.Target {
		return n.Target
	}
	return n.Name + " (" + n.Target + ")"
}

// name is what a person calls it by: its name, or the target if it is not known.
func (n Node) name() string {
	if n.Name == "" {
		return n.Target
	}
	return n.Name
}

// is reports whether a name or one of some addresses is the machine's.
func (n Node) is(name string, addresses []netip.Addr) bool {
	return n.Name != "" && n.Name == name || slices.ContainsFunc(addresses, func(a netip.Addr) bool { return slices.Contains(n.Addresses, a) })
}

// Question is a set of things to be asked.
type Question uint

// The questions to a machine, then those to Kubernetes. The status of a machine is asked every time: by it is known whether it answers.
const (
	AskServices Question = 1 << iota
	AskEtcd
	AskMemory
	AskDisk
	AskDiagnostics
	AskParts
	AskNodes
	AskPods
	AskProxy
	AskDNS

	askKubernetes = AskNodes | AskPods | AskProxy | AskDNS
)

// Answer is what was last answered to a question. Without Err and Known there was no answer yet.
type Answer[T any] struct {
	Value T
	Err   error
	Known bool // Value is an answer
}

// NewAnswer returns the answer that a call gave.
func NewAnswer[T any](value T, err error) Answer[T] {
	return Answer[T]{Value: value, Err: err, Known: err == nil}
}

// Observation is what a machine has answered.
type Observation struct {
	Status      Answer[runtime.MachineStatus]
	Services    Answer[[]Service]
	Members     Answer[[]Member] // of etcd, as the machine's own member has it
	Memory      Answer[uint64]   // bytes
	Disk        Answer[uint64]   // bytes of the file system at /var; 0 if it has none of its own
	Diagnostics Answer[[]string] // a line each
	Parts       Answer[Parts]
}

// Service is a service of a machine.
type Service struct {
	ID, State string
	Healthy   bool
	Message   string // of the last check
}

// Member is a member of etcd.
type Member struct {
	ID        uint64
	Name      string
	Addresses []netip.Addr
	Learner   bool
}

// Parts are the parts of Kubernetes that a machine's config switches off.
type Parts struct {
	NoControllerManager, NoScheduler, NoProxy, NoDNS bool
	NoNode                                           bool // its kubelet does not make a Node
}

// KubeObservation is what Kubernetes has answered.
type KubeObservation struct {
	Nodes      Answer[[]KubeNode]
	Pods       Answer[[]Pod]    // of the namespace kube-system
	Proxy, DNS Answer[Workload] // the DaemonSet kube-proxy, the Deployment coredns
}

// KubeNode is a Node object.
type KubeNode struct {
	Name          string
	Addresses     []netip.Addr // internal ones
	Ready         bool
	Reason        string // why it is not ready
	Unschedulable bool
}

// Pod is a Pod object.
type Pod struct {
	Name, Node, Phase string
	Ready             bool
	Reason            string // why it is not ready
}

// Workload is a DaemonSet or a Deployment.
type Workload struct {
	Missing        bool
	Desired, Ready int
	Current        bool // the numbers are of the present generation
}

// Facts are all last answers.
type Facts struct {
	Nodes      []Node
	Machines   map[string]Observation // by target
	Kubernetes KubeObservation
}

func (f *Facts) controlPlane() []Node {
	var out []Node
	for _, n := range f.Nodes {
		if n.ControlPlane {
			out = append(out, n)
		}
	}
	return out
}
