package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/client"

	"talos.internal/internal/provision"
)

// Provisioner implements provision.Provisioner. It has no state but that of its store and of the daemon.
type Provisioner struct {
	store  provision.Own
	images string
	c      *client.Client
	host   host
	grace  time.Duration // that a node has to shut down
	// trace, which is never nil, is called before each thing that is made. A test stops there.
	trace func(what string)
}

var _ provision.Provisioner = (*Provisioner)(nil)

// New returns a provisioner whose daemon has answered. It fails with provision.ErrNotSupported if that is of a kind that cannot
// have nodes.
func New(ctx context.Context, o Options) (provision.Provisioner, error) { return open(ctx, o) }

func open(ctx context.Context, o Options) (*Provisioner, error) {
	var err error
	for _, p := range []*string{&o.Dir, &o.Images} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, fmt.Errorf("provisioner %s: %w", Name, err)
		}
	}
	c, err := dial(ctx, o.Host)
	if err != nil {
		return nil, fmt.Errorf("provisioner %s: %w", Name, err)
	}
	h, err := hostOf(c.DaemonHost())
	if err != nil {
		return nil, fmt.Errorf("provisioner %s: %w", Name, err)
	}
	h.api = c.ClientVersion()
	return &Provisioner{
		store: provision.Own{Store: provision.Store{Dir: o.Dir}, Provisioner: Name}, images: o.Images, c: c, host: h, grace: provision.StopTimeout, trace: func(string) {},
	}, nil
}

// Name implements provision.Provisioner.
func (p *Provisioner) Name() string { return Name }

// The limits bound what the daemon is asked for. A computer that is not busy needs a fraction of them.
const (
	askLimit  = 30 * time.Second
	makeLimit = time.Minute
	loadLimit = 10 * time.Minute
)

func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("the Docker daemon has not done it within %v", limit))
}

// Create implements provision.Provisioner.
func (p *Provisioner) Create(ctx context.Context, r provision.ClusterRequest, progress provision.Progress) (*provision.Cluster, error) {
	if err := check(r); err != nil {
		return nil, fmt.Errorf("create cluster %s: %w", r.Name, err)
	}
	if err := os.MkdirAll(p.store.Dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := p.store.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.create(ctx, r, progress); err != nil {
		return nil, fmt.Errorf("create cluster %s: %w", r.Name, err)
	}
	return p.Reflect(ctx, r.Name)
}

// check is what a request must be here, beyond what every provisioner wants.
func check(r provision.ClusterRequest) error {
	if err := r.Check(); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if _, err := provision.Environment(stateNode(n), n.Config); err != nil {
			return err
		}
	}
	return checkPorts(r.Ports)
}

func stateNode(n provision.NodeRequest) provision.StateNode {
	return provision.StateNode{Name: n.Name, Type: n.Type, Address: n.Address, CPUs: n.CPUs, Memory: n.Memory, Mounts: n.Mounts}
}

func (p *Provisioner) create(ctx context.Context, r provision.ClusterRequest, progress provision.Progress) error {
	dir := p.store.Path(r.Name)
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s: %w: remove it with: talosctl cluster destroy --name %s", dir, fs.ErrExist, r.Name)
	}
	if err := p.checkFree(ctx, r); err != nil {
		return err
	}
	state := &provision.State{
		Provisioner: Name, Name: r.Name, Phase: provision.Creating, Created: time.Now().UTC().Truncate(time.Second),
		Network: provision.StateNetwork{
			Name: r.Name, CIDR: r.Network.CIDR.Masked(), Gateway: r.Network.Gateway(), MTU: r.Network.MTU, Nameservers: r.Network.Nameservers,
			NoIPv6: r.Network.NoIPv6,
		},
		Image: r.Image, KubernetesEndpoint: r.KubernetesEndpoint,
	}
	if p.images != "" {
		state.Data = map[string]string{keyImages: filepath.ToSlash(p.images)}
	}
	for _, n := range r.Nodes {
		state.Nodes = append(state.Nodes, stateNode(n))
	}
	// Before anything of the cluster is made: it is nothing of it.
	if err := p.ensureImage(ctx, r.Image, progress); err != nil {
		return err
	}
	p.trace("folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p.trace("state")
	if err := p.store.Save(state); err != nil {
		return err
	}
	err := progress.Do(fmt.Sprintf("make network %s", state.Network.CIDR), func() error {
		p.trace("network")
		return p.makeNetwork(ctx, state)
	})
	if err != nil {
		return err
	}
	for i, n := range r.Nodes {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var ports []provision.Port
		if i == 0 {
			ports = r.Ports
		}
		err := progress.Do(fmt.Sprintf("start node %s (%s)", n.Name, n.Address), func() error {
			return p.makeNode(ctx, state, n, ports)
		})
		if err != nil {
			return err
		}
	}
	p.trace("state, created")
	state.Phase = provision.Created
	return p.store.Save(state)
}

// Reflect implements provision.Provisioner. Nodes that a person has added come last.
func (p *Provisioner) Reflect(ctx context.Context, name string) (*provision.Cluster, error) {
	state, err := p.store.Load(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx, askLimit)
	defer cancel()
	all, err := p.nodes(ctx, state)
	if err != nil {
		return nil, fmt.Errorf("look at cluster %s: %w", name, err)
	}
	c := p.store.Cluster(state)
	for i := range c.Nodes {
		j := slices.IndexFunc(all, func(n instance) bool { return n.name == c.Nodes[i].Name })
		if j >= 0 {
			p.reflect(&c.Nodes[i], all[j])
			all = slices.Delete(all, j, j+1)
		}
	}
	for _, a := range all {
		n := provision.Node{Name: a.name, Type: a.kind, Address: a.address, CPUs: a.cpus, Memory: a.memory}
		p.reflect(&n, a)
		c.Nodes = append(c.Nodes, n)
	}
	return c, nil
}

// reflect notes in a node what its container says.
func (p *Provisioner) reflect(n *provision.Node, a instance) {
	n.Status, n.Published = provision.Stopped, a.published
	if a.running {
		n.Status = provision.Running
		if p.host.local {
			n.PID = a.pid
		}
	}
	switch at := a.published[portMachine]; {
	case at != "":
		n.Endpoint = at
	case p.host.local && n.Address.IsValid():
		n.Endpoint = n.Address.String()
	}
}

// Config implements provision.Provisioner.
func (p *Provisioner) Config(ctx context.Context, cluster, node string) ([]byte, error) {
	a, err := p.find(ctx, cluster, node)
	if err != nil {
		return nil, err
	}
	if a.id == "" {
		return nil, fmt.Errorf("config of node %s: its container, which has it, is gone: %w", node, fs.ErrNotExist)
	}
	config, err := provision.ConfigOf(a.env)
	if err != nil {
		return nil, fmt.Errorf("config of node %s: %w", node, err)
	}
	return config, nil
}

// Destroy implements provision.Provisioner.
func (p *Provisioner) Destroy(ctx context.Context, name string, progress provision.Progress) error {
	return p.store.Destroy(ctx, name, func(state *provision.State) error { return p.destroy(ctx, state, progress) })
}

func (p *Provisioner) destroy(ctx context.Context, state *provision.State, progress provision.Progress) error {
	ctx, cancel := within(ctx, 2*makeLimit)
	defer cancel()
	all, err := p.nodes(ctx, state)
	if err != nil {
		return err
	}
	var errs []error
	step := func(what string, f func() error) {
		if err := progress.Do(what, f); err != nil {
			errs = append(errs, err)
		}
	}
	step(fmt.Sprintf("end %d nodes", len(all)), func() error { return p.removeAll(ctx, state) })
	step("remove network "+state.Network.CIDR.String(), func() error { return p.removeNetwork(ctx, state) })
	step("remove files", func() error {
		if len(errs) > 0 {
			return nil // they say what there is to be removed
		}
		return os.RemoveAll(p.store.Path(state.Name))
	})
	return errors.Join(errs...)
}

// checkFree returns an error if the daemon has something of the cluster's names, or the network is taken.
func (p *Provisioner) checkFree(ctx context.Context, r provision.ClusterRequest) error {
	ctx, cancel := within(ctx, askLimit)
	defer cancel()
	networks, err := p.c.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return err
	}
	for _, n := range networks.Items {
		if n.Name == r.Name {
			return fmt.Errorf("the Docker daemon has a network %s already%s: %w: choose another name by --name, or remove it with:\n  %s",
				n.Name, madeBy(n.Labels), provision.ErrInUse, removal(r.Name))
		}
		for _, c := range n.IPAM.Config {
			if c.Subnet.IsValid() && c.Subnet.Overlaps(r.Network.CIDR) {
				return fmt.Errorf("network %s: %w: Docker's network %s has %s; choose another by --cidr", r.Network.CIDR, provision.ErrInUse, n.Name, c.Subnet)
			}
		}
	}
	containers, err := p.c.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return err
	}
	for _, c := range containers.Items {
		for _, n := range r.Nodes {
			if slices.Contains(c.Names, "/"+n.Name) {
				return fmt.Errorf("the Docker daemon has a container %s already%s: %w: choose another name by --name, or remove it with:\n  docker rm -f -v %[1]s",
					n.Name, madeBy(c.Labels), provision.ErrInUse)
			}
		}
	}
	if p.host.local {
		return addressesFree(r.Network.CIDR)
	}
	return nil
}

// madeBy says whose something is.
func madeBy(labels map[string]string) string {
	if path := labels[labelState]; path != "" {
		return " (of the cluster in " + path + ")"
	}
	return ""
}

// removal is the command line that removes what is left of a cluster whose folder is not known.
func removal(cluster string) string {
	return fmt.Sprintf("docker rm -f -v $(docker ps -aq --filter label=%s=%s); docker network rm %[2]s", labelCluster, cluster)
}

// ownNetwork reports whether a cluster's network is there, and not somebody else's of that name.
func (p *Provisioner) ownNetwork(ctx context.Context, state *provision.State) (id string, cidr netip.Prefix, err error) {
	networks, err := p.c.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("name", state.Network.Name)})
	if err != nil {
		return "", netip.Prefix{}, err
	}
	for _, n := range networks.Items { // the filter takes parts of names, too
		if n.Name == state.Network.Name && n.Labels[labelState] == p.store.Path(state.Name) {
			if len(n.IPAM.Config) > 0 {
				cidr = n.IPAM.Config[0].Subnet
			}
			return n.ID, cidr, nil
		}
	}
	return "", netip.Prefix{}, nil
}
