package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"talos.internal/internal/provision"
)

// instance is a node's container as the daemon has it. One without an id is not there.
type instance struct {
	id, name, kind string
	address        netip.Addr // not valid if it is not known: the daemon gives a node that a person has added one at each start
	cpus           float64
	memory         int64
	running        bool
	pid            int
	started        string // when it was last started, as the daemon says it
	env            []string
	published      map[uint16]string
}

// nodes returns the containers of a cluster, those that were made first before others: ours, and those that a person has added to
// its network.
func (p *Provisioner) nodes(ctx context.Context, state *provision.State) ([]instance, error) {
	network, _, err := p.ownNetwork(ctx, state)
	if err != nil {
		return nil, err
	}
	list, err := p.c.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", labelOwned+"=true", labelCluster+"="+state.Name),
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b container.Summary) int { return cmp.Compare(a.Created, b.Created) })
	var all []instance
	for _, c := range list.Items {
		maker, made := c.Labels[labelState]
		if made && maker != p.store.Path(state.Name) || !made && (network == "" || c.HostConfig.NetworkMode != state.Network.Name) {
			continue
		}
		full, err := p.c.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if cerrdefs.IsNotFound(err) {
			continue // it has gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, instanceOf(full.Container, state.Network.Name))
	}
	return all, nil
}

// instanceOf reads what the daemon says of a container.
func instanceOf(c container.InspectResponse, network string) instance {
	a := instance{id: c.ID, name: strings.TrimPrefix(c.Name, "/"), kind: provision.Worker}
	if c.Config != nil {
		a.env = c.Config.Env
		if kind := c.Config.Labels[labelType]; kind == provision.ControlPlane || kind == "init" {
			a.kind = provision.ControlPlane
		}
	}
	if c.HostConfig != nil {
		a.cpus, a.memory = float64(c.HostConfig.NanoCPUs)/1e9, c.HostConfig.Memory
		a.published = published(c.HostConfig.PortBindings)
	}
	if c.State != nil {
		a.running, a.pid, a.started = c.State.Running, c.State.Pid, c.State.StartedAt
	}
	if c.NetworkSettings != nil {
		if e := c.NetworkSettings.Networks[network]; e != nil {
			a.address = e.IPAddress
			if !a.address.IsValid() && e.IPAMConfig != nil {
				a.address = e.IPAMConfig.IPv4Address
			}
		}
	}
	return a
}

// find returns a node of a cluster; one without an id if its container is gone.
func (p *Provisioner) find(ctx context.Context, cluster, node string) (instance, error) {
	state, err := p.store.Load(cluster)
	if err != nil {
		return instance{}, err
	}
	ctx, cancel := within(ctx, askLimit)
	defer cancel()
	all, err := p.nodes(ctx, state)
	if err != nil {
		return instance{}, fmt.Errorf("look at cluster %s: %w", cluster, err)
	}
	return lookup(state, all, node)
}

func lookup(state *provision.State, all []instance, node string) (instance, error) {
	i := slices.IndexFunc(all, func(a instance) bool { return a.name == node })
	if i >= 0 {
		return all[i], nil
	}
	if _, err := state.Node(node); err != nil {
		return instance{}, err
	}
	return instance{name: node}, nil
}

// makeNode makes a node's container and starts it.
func (p *Provisioner) makeNode(ctx context.Context, state *provision.State, r provision.NodeRequest, ports []provision.Port) error {
	ctx, cancel := within(ctx, makeLimit)
	defer cancel()
	ports, err := publish(r.Type, ports)
	if err != nil {
		return err
	}
	options, err := node{stateNode(r), r.Config, ports}.request(state, p.store.Path(state.Name), p.host)
	if err != nil {
		return err
	}
	p.trace("container " + r.Name)
	made, err := p.c.ContainerCreate(ctx, options)
	if err != nil {
		return fmt.Errorf("make the container of node %s: %w", r.Name, p.explain(err, state))
	}
	p.trace("start of " + r.Name)
	if _, err := p.c.ContainerStart(ctx, made.ID, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start node %s: %w", r.Name, err)
	}
	return nil
}

// explain says more about what the daemon did not want.
func (p *Provisioner) explain(err error, state *provision.State) error {
	if images := state.Data[keyImages]; images != "" && strings.Contains(err.Error(), "bind source path does not exist") {
		return fmt.Errorf("%w: the daemon at %s does not see the image cache %s: it runs on another computer, or its virtual machine does not share the folder",
			err, p.c.DaemonHost(), images)
	}
	return err
}

// AddNode implements provision.Provisioner.
func (p *Provisioner) AddNode(ctx context.Context, cluster string, r provision.NodeRequest, progress provision.Progress) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		if err := p.checkNew(ctx, state, r); err != nil {
			return fmt.Errorf("add node %s to cluster %s: %w", r.Name, cluster, err)
		}
		if err := p.ensureImage(ctx, state.Image, progress); err != nil {
			return fmt.Errorf("add node %s to cluster %s: %w", r.Name, cluster, err)
		}
		state.Nodes = append(state.Nodes, stateNode(r))
		p.trace("state with " + r.Name)
		if err := p.store.Save(state); err != nil {
			return err
		}
		return progress.Do(fmt.Sprintf("start node %s (%s)", r.Name, r.Address), func() error {
			return p.makeNode(ctx, state, r, nil)
		})
	})
}

func (p *Provisioner) checkNew(ctx context.Context, state *provision.State, r provision.NodeRequest) error {
	if state.Phase == provision.Destroying {
		return fmt.Errorf("%w: its destroy was interrupted; only another one helps", provision.ErrInUse)
	}
	if err := r.Check(state.Network.Request()); err != nil {
		return err
	}
	if _, err := provision.Environment(stateNode(r), r.Config); err != nil {
		return err
	}
	c, err := p.Reflect(ctx, state.Name)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if n.Name == r.Name || n.Address == r.Address {
			return fmt.Errorf("node %s has the address %s: %w", n.Name, n.Address, fs.ErrExist)
		}
	}
	return nil
}

// RemoveNode implements provision.Provisioner.
func (p *Provisioner) RemoveNode(ctx context.Context, cluster, node string, progress provision.Progress) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		ctx, cancel := within(ctx, makeLimit)
		defer cancel()
		all, err := p.nodes(ctx, state)
		if err != nil {
			return err
		}
		a, err := lookup(state, all, node)
		if err != nil {
			return err
		}
		return progress.Do("remove node "+node, func() error {
			if err := p.remove(ctx, a); err != nil {
				return err
			}
			i, err := state.Node(node)
			if err != nil {
				return nil // a person has added it
			}
			state.Nodes = slices.Delete(state.Nodes, i, i+1)
			return p.store.Save(state)
		})
	})
}

// remove ends a node at once and removes it with its volumes, unless it is gone.
func (p *Provisioner) remove(ctx context.Context, a instance) error {
	if a.id == "" {
		return nil
	}
	err := provision.Poll(ctx, "container "+a.name+" to be removed", func() (bool, error) {
		_, err := p.c.ContainerRemove(ctx, a.id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case cerrdefs.IsNotFound(err):
			return true, nil
		case cerrdefs.IsConflict(err): // somebody else is at it
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("remove container %s: %w", a.name, err)
	}
	return nil
}

// removeAll ends and removes all nodes, at once so that they do not mourn each other, and what volumes are left of earlier ones.
// A container that the daemon was still making when its create was interrupted is there at the second look.
func (p *Provisioner) removeAll(ctx context.Context, state *provision.State) error {
	for {
		all, err := p.nodes(ctx, state)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
		errs := make([]error, len(all))
		var running sync.WaitGroup
		for i, a := range all {
			running.Go(func() { errs[i] = p.remove(ctx, a) })
		}
		running.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	left, err := p.c.VolumeList(ctx, client.VolumeListOptions{
		Filters: client.Filters{}.Add("label", labelCluster+"="+state.Name, labelState+"="+p.store.Path(state.Name)),
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range left.Items {
		if _, err := p.c.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove volume %s: %w", v.Name, err))
		}
	}
	return errors.Join(errs...)
}

// StartNode implements provision.Provisioner.
func (p *Provisioner) StartNode(ctx context.Context, cluster, node string) error {
	return p.store.Change(ctx, cluster, func(*provision.State) error {
		a, err := p.find(ctx, cluster, node)
		if err != nil || a.running {
			return err
		}
		if a.id == "" {
			return fmt.Errorf("start node %s: its container is gone, and its data with it; remove the node and add it again: %w", node, fs.ErrNotExist)
		}
		ctx, cancel := within(ctx, makeLimit)
		defer cancel()
		if _, err := p.c.ContainerStart(ctx, a.id, client.ContainerStartOptions{}); err != nil {
			return fmt.Errorf("start node %s: %w", node, err)
		}
		return nil
	})
}

// StopNode implements provision.Provisioner.
func (p *Provisioner) StopNode(ctx context.Context, cluster, node string) error {
	a, err := p.find(ctx, cluster, node)
	if err != nil || !a.running {
		return err
	}
	ctx, cancel := within(ctx, p.grace+makeLimit)
	defer cancel()
	seconds := int(p.grace.Round(time.Second).Seconds())
	if _, err := p.c.ContainerStop(ctx, a.id, client.ContainerStopOptions{Timeout: &seconds}); err != nil {
		return fmt.Errorf("stop node %s: %w", node, err)
	}
	return p.ended(ctx, cluster, node)
}

// KillNode implements provision.Provisioner.
func (p *Provisioner) KillNode(ctx context.Context, cluster, node string) error {
	a, err := p.find(ctx, cluster, node)
	if err != nil || !a.running {
		return err
	}
	ctx, cancel := within(ctx, makeLimit)
	defer cancel()
	if _, err := p.c.ContainerKill(ctx, a.id, client.ContainerKillOptions{Signal: "KILL"}); err != nil && !cerrdefs.IsConflict(err) { // it has ended meanwhile
		return fmt.Errorf("kill node %s: %w", node, err)
	}
	return p.ended(ctx, cluster, node)
}

// ended waits until a node does not run: the daemon hears of the end a moment after it.
func (p *Provisioner) ended(ctx context.Context, cluster, node string) error {
	return provision.Poll(ctx, "node "+node+" to end", func() (bool, error) {
		a, err := p.find(ctx, cluster, node)
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return true, nil
		}
		return !a.running, err
	})
}
