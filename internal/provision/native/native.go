//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"talos.internal/internal/provision"
	"talos.internal/internal/sys/cgroup"
)

// Provisioner implements provision.Provisioner. It has no state but that of its store.
type Provisioner struct {
	store  provision.Own
	cache  string
	images string
	runc   string
	tree   *cgroup.Tree
	grace  time.Duration // that a node has to shut down
	// trace, which is never nil, is called before each thing that is made. A test stops there.
	trace func(what string)
}

var _ provision.Provisioner = (*Provisioner)(nil)

// New returns a provisioner. It fails with provision.ErrNotSupported if this computer, or this user, cannot have nodes.
func New(o Options) (provision.Provisioner, error) { return open(o) }

func open(o Options) (*Provisioner, error) {
	no := func(format string, args ...any) (*Provisioner, error) {
		return nil, fmt.Errorf("provisioner %s: %w: %s", Name, provision.ErrNotSupported, fmt.Sprintf(format, args...))
	}
	if os.Getuid() != 0 {
		return no("only root can make containers and networks; use sudo, or --provisioner docker")
	}
	if o.Runc == "" {
		o.Runc = "runc"
	}
	runc, err := exec.LookPath(o.Runc)
	if err != nil {
		return no("%v; build it with make components, or install Debian's runc", err)
	}
	tree, err := cgroup.Detect("")
	if err != nil {
		return no("%v", err)
	}
	if o.Cache == "" {
		o.Cache = filepath.Join(filepath.Dir(o.Dir), "cache")
	}
	for _, p := range []*string{&o.Dir, &o.Cache, &o.Images, &runc} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return nil, fmt.Errorf("provisioner %s: %w", Name, err)
		}
	}
	return &Provisioner{
		store: provision.Own{Store: provision.Store{Dir: o.Dir}, Provisioner: Name}, cache: filepath.Join(o.Cache, "roots"), images: o.Images, runc: runc, tree: tree,
		grace: provision.StopTimeout, trace: func(string) {},
	}, nil
}

// Name implements provision.Provisioner.
func (p *Provisioner) Name() string { return Name }

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
	if len(r.Ports) > 0 {
		return fmt.Errorf("publish ports: %w: nodes are reached at their addresses; leave the ports out", provision.ErrNotSupported)
	}
	for _, n := range r.Nodes {
		if err := checkNode(n, r.Network); err != nil {
			return err
		}
	}
	return nil
}

func checkNode(n provision.NodeRequest, network provision.NetworkRequest) error {
	if offset(network.CIDR, n.Address) > maxOffset {
		return fmt.Errorf("node %s: %w: address %s is too far from the start of %s: at most %d", n.Name, provision.ErrInvalid,
			n.Address, network.CIDR, maxOffset)
	}
	_, err := container{node: stateNode(n), config: n.Config}.spec(host{})
	return err
}

func stateNode(n provision.NodeRequest) provision.StateNode {
	return provision.StateNode{Name: n.Name, Type: n.Type, Address: n.Address, CPUs: n.CPUs, Memory: n.Memory, Mounts: n.Mounts}
}

func (p *Provisioner) create(ctx context.Context, r provision.ClusterRequest, progress provision.Progress) error {
	dir := p.store.Path(r.Name)
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s: %w: remove it with: talosctl cluster destroy --name %s", dir, fs.ErrExist, r.Name)
	}
	if err := p.checkFree(r.Network.CIDR); err != nil {
		return err
	}
	img, root, err := p.find(r.Image)
	if err != nil {
		return err
	}
	names := namesOf(r.Name, dir)
	state := &provision.State{
		Provisioner: Name, Name: r.Name, Phase: provision.Creating, Created: time.Now().UTC().Truncate(time.Second),
		Network: provision.StateNetwork{
			Name: names.bridge, CIDR: r.Network.CIDR.Masked(), Gateway: r.Network.Gateway(), MTU: r.Network.MTU,
			Nameservers: r.Network.Nameservers,
		},
		Image: r.Image, KubernetesEndpoint: r.KubernetesEndpoint, Data: names.data(root),
	}
	if p.images != "" {
		state.Data[keyImages] = p.images
	}
	for _, n := range r.Nodes {
		state.Nodes = append(state.Nodes, stateNode(n))
	}
	p.trace("folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p.trace("state")
	if err := p.store.Save(state); err != nil {
		return err
	}
	if err := progress.Do("unpack image "+r.Image, func() error { return p.unpack(img, root) }); err != nil {
		return err
	}
	err = progress.Do(fmt.Sprintf("make network %s", state.Network.CIDR), func() error { return p.ensureNetwork(state) })
	if err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		err := progress.Do(fmt.Sprintf("start node %s (%s)", n.Name, n.Address), func() error {
			return p.makeNode(ctx, state, stateNode(n), n.Config)
		})
		if err != nil {
			return err
		}
	}
	p.trace("state, created")
	state.Phase = provision.Created
	return p.store.Save(state)
}

// others returns the states of this provisioner's other clusters. One that cannot be read is an error: its network may be
// the one that is asked for.
func (p *Provisioner) others(name string) ([]*provision.State, error) {
	all, err := p.store.Names()
	if err != nil {
		return nil, err
	}
	var states []*provision.State
	for _, other := range all {
		if other == name {
			continue
		}
		s, err := p.store.Store.Load(other)
		if err != nil {
			return nil, err
		}
		if s != nil && s.Provisioner == Name {
			states = append(states, s)
		}
	}
	return states, nil
}

// Reflect implements provision.Provisioner.
func (p *Provisioner) Reflect(ctx context.Context, name string) (*provision.Cluster, error) {
	state, err := p.store.Load(name)
	if err != nil {
		return nil, err
	}
	running, err := p.containers(name).list(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at cluster %s: %w", name, err)
	}
	c := p.store.Cluster(state)
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Endpoint = n.Address.String()
		if _, err := os.Stat(p.store.Path(name, "nodes", n.Name, configFile)); err == nil {
			n.Status = provision.Stopped
		}
		if r, ok := running[n.Name]; ok && r.Status == "running" {
			n.Status, n.PID = provision.Running, r.PID
		}
	}
	return c, nil
}

// containers is runc for a cluster.
func (p *Provisioner) containers(cluster string) runc {
	return runc{path: p.runc, root: p.store.Path(cluster, "runc")}
}

// destroyLimit bounds the end of processes that were killed, and of their groups.
const destroyLimit = time.Minute

// Destroy implements provision.Provisioner.
func (p *Provisioner) Destroy(ctx context.Context, name string, progress provision.Progress) error {
	return p.store.Destroy(ctx, name, func(state *provision.State) error { return p.destroy(ctx, state, progress) })
}

func (p *Provisioner) destroy(ctx context.Context, state *provision.State, progress provision.Progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, destroyLimit, fmt.Errorf("not done after %v", destroyLimit))
	defer cancel()
	var errs []error
	step := func(what string, f func() error) {
		if err := progress.Do(what, f); err != nil {
			errs = append(errs, err)
		}
	}
	step(fmt.Sprintf("end %d nodes", len(state.Nodes)), func() error {
		var errs []error
		// All at once, so that they do not mourn each other.
		errs = append(errs, p.tree.Group(state.Data[keyGroup]).Kill(ctx))
		for _, n := range state.Nodes {
			errs = append(errs, p.removeContainer(ctx, state, n.Name))
		}
		return errors.Join(append(errs, p.sweep(ctx, state.Data[keyGroup]))...)
	})
	step("remove network "+state.Network.CIDR.String(), func() error { return p.removeNetwork(state) })
	step("remove files", func() error {
		if len(errs) > 0 {
			return nil // they say what there is to be removed
		}
		return errors.Join(os.RemoveAll(p.store.Path(state.Name)), p.removeRoot(state.Data[keyRoot]))
	})
	return errors.Join(errs...)
}

// sweep removes a group from all hierarchies. A group is busy for a moment after its last process ended.
func (p *Provisioner) sweep(ctx context.Context, group string) error {
	var last error
	err := provision.Poll(ctx, "cgroup "+group+" to become empty", func() (bool, error) {
		last = cgroup.Sweep("", group)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// Config implements provision.Provisioner.
func (p *Provisioner) Config(_ context.Context, cluster, node string) ([]byte, error) {
	state, err := p.store.Load(cluster)
	if err != nil {
		return nil, err
	}
	if _, err := state.Node(node); err != nil {
		return nil, err
	}
	return os.ReadFile(p.store.Path(cluster, "nodes", node, configFile))
}
