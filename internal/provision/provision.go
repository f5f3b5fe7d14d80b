package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"
)

// The kinds of errors that callers tell apart. Those of package fs say the rest: fs.ErrExist for a cluster or node that is
// there already, fs.ErrNotExist for one that is not.
var (
	ErrInvalid      = errors.New("invalid request")
	ErrNotSupported = errors.New("not supported")
	// ErrInUse says that something else on this computer has what was asked for: the network, or the cluster's folder.
	ErrInUse = errors.New("in use")
)

// Provisioner is a way to get machines. Its methods are safe to call from several processes: what changes a cluster waits for
// another that does, until the context ends.
//
// All of them stop at the end of the context, with what was made so far left as it is; Destroy removes that.
type Provisioner interface {
	// Name is its name in states and flags: "native".
	Name() string
	// Create makes a cluster: its network, then its nodes in the order of the request, all of them started. It does not wait
	// for what runs on them. The error is fs.ErrExist if there is a cluster of that name, whatever state it is in, ErrInvalid
	// for a request that is wrong in itself, ErrInUse if the network is taken; nothing was made then. After any other error
	// what was made is left for a look.
	Create(ctx context.Context, r ClusterRequest, p Progress) (*Cluster, error)
	// Reflect finds out what there is of a cluster. It asks no node. The error is fs.ErrNotExist if there is none.
	Reflect(ctx context.Context, name string) (*Cluster, error)
	// Destroy ends all nodes at once and removes all that there is of a cluster, whatever state it is in. It goes on after an
	// error, and returns all; it can then be called again. The error is fs.ErrNotExist if there is no such cluster.
	Destroy(ctx context.Context, name string, p Progress) error
	// AddNode makes one more node, and starts it. The error is fs.ErrExist if the name or the address is taken.
	AddNode(ctx context.Context, cluster string, r NodeRequest, p Progress) error
	// RemoveNode ends a node at once and removes all that there is of it. The members of the cluster are not told.
	RemoveNode(ctx context.Context, cluster, node string, p Progress) error
	// StartNode starts a node that is stopped, with the data that it had. It is no error if it runs.
	StartNode(ctx context.Context, cluster, node string) error
	// StopNode asks a node to shut down, and ends it at once if it has not after StopTimeout. It is no error if it is stopped.
	StopNode(ctx context.Context, cluster, node string) error
	// KillNode ends a node at once, as a power failure does. It is no error if it is stopped.
	KillNode(ctx context.Context, cluster, node string) error
	// Config returns the machine config that a node was made with.
	Config(ctx context.Context, cluster, node string) ([]byte, error)
	// Logs copies what a node has written to its console to w: all of it, or its end.
	Logs(ctx context.Context, cluster, node string, o LogOptions, w io.Writer) error
}

// StopTimeout is the time that a node has to shut down.
const StopTimeout = 30 * time.Second

// LogOptions say which part of a log is wanted.
type LogOptions struct {
	Tail   int  // the last lines, so many; 0 for all
	Follow bool // go on with what is written, until the context ends; that is no error then
}

// The types of nodes.
const (
	ControlPlane = "controlplane"
	Worker       = "worker"
)

// ClusterRequest is a cluster to be made.
type ClusterRequest struct {
	Name    string // see CheckName
	Network NetworkRequest
	// Image is the reference of the node image.
	Image string
	// KubernetesEndpoint is the URL of the Kubernetes API, as the configs have it. It is only kept.
	KubernetesEndpoint string
	Nodes              []NodeRequest // at least one
	Ports              []Port        // of the first node, to be published on this computer: not every provisioner can
}

// NetworkRequest is the network of a cluster. The first address belongs to this computer and is the nodes' gateway.
type NetworkRequest struct {
	CIDR        netip.Prefix
	MTU         int          // bytes
	Nameservers []netip.Addr // that the nodes start with; those of this computer if empty
	NoIPv6      bool         // nodes have no IPv6; only docker can
}

// Gateway is the address of this computer in the network.
func (n NetworkRequest) Gateway() netip.Addr { return n.CIDR.Masked().Addr().Next() }

// Address returns the address of node i, from 0: the second of the network and upwards. It is not valid if the network is
// full.
func (n NetworkRequest) Address(i int) netip.Addr {
	a := n.Gateway()
	for range i + 1 {
		a = a.Next()
	}
	if !n.CIDR.Contains(a) || !n.CIDR.Contains(a.Next()) { // the last is for broadcast
		return netip.Addr{}
	}
	return a
}

// NodeRequest is a node to be made.
type NodeRequest struct {
	Name    string // its host name; see CheckName
	Type    string // ControlPlane or Worker
	Address netip.Addr
	CPUs    float64 // cores, such as 2 or 1.5; 0 for no limit
	Memory  int64   // bytes; 0 for no limit
	Config  []byte  // machine config; without one the node starts in maintenance mode
	Mounts  []Mount
}

// Mount is a folder or file of this computer that a node has, too.
type Mount struct {
	Source   string `yaml:"source"` // absolute
	Target   string `yaml:"target"` // absolute
	ReadOnly bool   `yaml:"readOnly,omitempty"`
}

// Port is a port of a node that is published on this computer.
type Port struct {
	Host     netip.Addr // of this computer; not valid for all
	HostPort uint16
	NodePort uint16
	Protocol string // "tcp" or "udp"
}

// Phase is how far a cluster is.
type Phase string

// The phases.
const (
	Creating   Phase = "creating" // and interrupted, if nobody is at it
	Created    Phase = "created"
	Destroying Phase = "destroying"
)

// Status is whether a node runs.
type Status string

// The statuses.
const (
	Missing Status = "missing" // it was to be made, and was not
	Running Status = "running"
	Stopped Status = "stopped"
)

// Cluster is what there is of a cluster.
type Cluster struct {
	Provisioner        string
	Name               string
	Phase              Phase
	Created            time.Time
	Network            Network
	Image              string
	KubernetesEndpoint string
	Nodes              []Node // in the order in which they were asked for
	Dir                string // folder with the cluster's state
}

// Network is the network of a cluster.
type Network struct {
	Name    string // as the system that has it calls it
	CIDR    netip.Prefix
	Gateway netip.Addr
	MTU     int
}

// Node is a node of a cluster.
type Node struct {
	Name    string
	Type    string
	Address netip.Addr
	// Endpoint is the host, or host and port, at which this computer reaches the node's API.
	Endpoint string
	// Published has the host and port at which this computer reaches a port of the node, by that port. A port that is not in it
	// is reached at the node's address, if the provisioner gives this computer a way to it.
	Published map[uint16]string
	CPUs      float64 // 0 for no limit
	Memory    int64   // bytes; 0 for no limit
	Disk      int64   // bytes of its disk; 0 if it has none of its own
	Status    Status
	PID       int // of the node's PID 1 on this computer; 0 if it does not run, or is not known
}

// Endpoints are the endpoints of the control plane's nodes, running or not.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, n := range c.Nodes {
		if n.Type == ControlPlane && n.Endpoint != "" {
			all = append(all, n.Endpoint)
		}
	}
	return all
}

// Node returns the node of a name; false if there is none.
func (c *Cluster) Node(name string) (Node, bool) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return c.Nodes[i], true
}

// FreeAddress returns the first address of the network that no node has. It is not valid if the network is full.
func (c *Cluster) FreeAddress() netip.Addr {
	n := NetworkRequest{CIDR: c.Network.CIDR}
	for i := 0; ; i++ {
		a := n.Address(i)
		if !a.IsValid() || !slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Address == a }) {
			return a
		}
	}
}

// FreeName returns the first name of the form CLUSTER-TYPE-N, from 1, that no node has.
func (c *Cluster) FreeName(kind string) string {
	for i := 1; ; i++ {
		name := NodeName(c.Name, kind, i)
		if _, ok := c.Node(name); !ok {
			return name
		}
	}
}

// Progress hears of each step before it is taken. What it returns is called with the step's result. Nil hears nothing.
// Steps come one after the other, never two at once.
type Progress func(step string) (done func(error))

// Do takes a step.
func (p Progress) Do(step string, f func() error) error {
	if p == nil {
		return f()
	}
	done := p(step)
	err := f()
	done(err)
	return err
}

// Poll calls ended until it says true or fails. When the context ends, the error says what for it waited.
func Poll(ctx context.Context, what string, ended func() (bool, error)) error {
	for {
		ok, err := ended()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
