//go:build linux

package native

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"talos.internal/internal/atomicfile"
	"talos.internal/internal/provision"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// The files of a node's folder.
const (
	configFile  = "config.yaml" // the machine config
	consoleFile = "console.log" // what the node's PID 1 writes
	runcLog     = "runc.log"
)

// startLimit bounds the start of a container: a fraction of a second on a computer that is not busy.
const startLimit = time.Minute

// makeNode makes the files of a node and starts it.
func (p *Provisioner) makeNode(ctx context.Context, state *provision.State, node provision.StateNode, config []byte) error {
	dir := p.nodeDir(state.Name, node.Name)
	p.trace("files of " + node.Name)
	for _, v := range volumes {
		if err := os.MkdirAll(filepath.Join(dir, v[0]), 0o755); err != nil {
			return err
		}
	}
	// As docker fills a new volume with what the image has at its place. It is small: the CNI plugins in /opt.
	for _, v := range volumes {
		from := filepath.Join(p.root(state.Data[keyRoot]), v[1])
		if !isDir(from) { // as /system/state, which stands on a tmpfs
			continue
		}
		if err := os.CopyFS(filepath.Join(dir, v[0]), os.DirFS(from)); err != nil {
			return fmt.Errorf("fill %s of node %s: %w", v[1], node.Name, err)
		}
	}
	// Last: a node without its config was never complete.
	if err := atomicfile.WriteFile(filepath.Join(dir, configFile), config, 0o600, atomicfile.Options{}); err != nil {
		return err
	}
	return p.run(ctx, state, node, config)
}

func (p *Provisioner) nodeDir(cluster, node string) string {
	return p.store.Path(cluster, "nodes", node)
}

// run starts a node whose files are there and whose container is not.
func (p *Provisioner) run(ctx context.Context, state *provision.State, node provision.StateNode, config []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not started after %v", startLimit))
	defer cancel()
	dir := p.nodeDir(state.Name, node.Name)
	c := container{
		node: node, config: config, root: p.root(state.Data[keyRoot]), dir: dir, images: cmp.Or(state.Data[keyImages], p.images), group: groupOf(state, node.Name),
	}
	h, err := thisHost()
	if err != nil {
		return err
	}
	if err := writeBundle(c, h, state.Network.Nameservers); err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	console, err := os.OpenFile(filepath.Join(dir, consoleFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer console.Close() // the node has it, too
	p.trace("container " + node.Name)
	r := p.containers(state.Name)
	pidFile := filepath.Join(dir, "pid")
	log := filepath.Join(dir, runcLog)
	if _, err := r.run(ctx, console, log, "create", "--bundle", dir, "--pid-file", pidFile, node.Name); err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	pid, err := readPID(pidFile)
	if err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	p.trace("interface of " + node.Name)
	if err := p.attach(state, node, pid); err != nil {
		return fmt.Errorf("connect node %s: %w", node.Name, err)
	}
	p.trace("start of " + node.Name)
	if _, err := r.run(ctx, nil, log, "start", node.Name); err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	return nil
}

func readPID(name string) (int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// writeBundle writes what runc reads: config.json, which holds the machine config, and the files of /etc. Those are written
// in place: a container that is there has them mounted.
func writeBundle(c container, h host, servers []netip.Addr) error {
	spec, err := c.spec(h)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(c.dir, "config.json"), text, 0o600, atomicfile.Options{Overwrite: true}); err != nil {
		return err
	}
	if len(servers) == 0 {
		// Without the file the computer knows no names either.
		if text, err := os.ReadFile("/etc/resolv.conf"); err == nil {
			servers = nameservers(string(text))
		}
	}
	etc := filepath.Join(c.dir, "etc")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	for name, text := range c.etc(servers) {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// thisHost finds out what containers depend on here.
func thisHost() (host, error) {
	var h host
	status, err := proc.Reader{}.Status(os.Getpid())
	if err != nil {
		return h, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	for name := range strings.SplitSeq(process.Caps(status.CapBounding).String(), ",") {
		if strings.HasPrefix(name, "CAP_") { // one that has no name here has none for runc
			h.capabilities = append(h.capabilities, name)
		}
	}
	const openFiles = 1 << 20 // as many as containerd has by its unit file
	if l, err := process.GetLimit(0, syscall.RLIMIT_NOFILE); err == nil {
		h.openFiles = min(l.Hard, openFiles)
	}
	if _, err := (proc.Reader{}).Sysctl("net.ipv6.conf.all.disable_ipv6"); err == nil {
		h.ipv6 = true
	}
	// What kubelet and FUSE file systems use, if it is here (admin-guide/devices.txt).
	for _, d := range []specs.LinuxDevice{{Path: "/dev/kmsg", Major: 1, Minor: 11}, {Path: "/dev/fuse", Major: 10, Minor: 229}} {
		if f, err := os.Open(d.Path); err == nil {
			_ = f.Close()
			mode := os.FileMode(0o666)
			d.Type, d.FileMode = "c", &mode
			h.devices = append(h.devices, d)
		}
	}
	return h, nil
}

// AddNode implements provision.Provisioner.
func (p *Provisioner) AddNode(ctx context.Context, cluster string, r provision.NodeRequest, progress provision.Progress) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		if err := p.checkNew(state, r); err != nil {
			return fmt.Errorf("add node %s to cluster %s: %w", r.Name, cluster, err)
		}
		node := stateNode(r)
		state.Nodes = append(state.Nodes, node)
		p.trace("state with " + node.Name)
		if err := p.store.Save(state); err != nil {
			return err
		}
		return progress.Do(fmt.Sprintf("start node %s (%s)", node.Name, node.Address), func() error {
			if err := p.ready(state); err != nil {
				return err
			}
			return p.makeNode(ctx, state, node, r.Config)
		})
	})
}

func (p *Provisioner) checkNew(state *provision.State, r provision.NodeRequest) error {
	if state.Phase == provision.Destroying {
		return fmt.Errorf("%w: its destroy was interrupted; only another one helps", provision.ErrInUse)
	}
	network := state.Network.Request()
	if err := errors.Join(r.Check(network), checkNode(r, network)); err != nil {
		return err
	}
	for _, n := range state.Nodes {
		if n.Name == r.Name || n.Address == r.Address {
			return fmt.Errorf("node %s has the address %s: %w", n.Name, n.Address, fs.ErrExist)
		}
	}
	return nil
}

// ready makes what nodes stand on, as far as it is missing: the network is, after a restart of this computer.
func (p *Provisioner) ready(state *provision.State) error {
	img, root, err := p.find(state.Image)
	switch {
	case isDir(p.root(state.Data[keyRoot])):
	case err != nil:
		return err
	case root != state.Data[keyRoot]:
		return fmt.Errorf("image %s is another one than cluster %s was made of, and that is no longer unpacked in %s: %w",
			state.Image, state.Name, p.cache, fs.ErrNotExist)
	default:
		if err := p.unpack(img, root); err != nil {
			return err
		}
	}
	return p.ensureNetwork(state)
}

// RemoveNode implements provision.Provisioner.
func (p *Provisioner) RemoveNode(ctx context.Context, cluster, node string, progress provision.Progress) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		i, err := state.Node(node)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, destroyLimit, fmt.Errorf("not done after %v", destroyLimit))
		defer cancel()
		return progress.Do("remove node "+node, func() error {
			if err := p.clean(ctx, state, state.Nodes[i]); err != nil {
				return fmt.Errorf("remove node %s: %w", node, err)
			}
			if err := os.RemoveAll(p.nodeDir(cluster, node)); err != nil {
				return err
			}
			state.Nodes = append(state.Nodes[:i:i], state.Nodes[i+1:]...)
			return p.store.Save(state)
		})
	})
}

// clean ends a node and removes all of it but its files.
func (p *Provisioner) clean(ctx context.Context, state *provision.State, node provision.StateNode) error {
	err := p.tree.Group(groupOf(state, node.Name)).Kill(ctx)
	err = errors.Join(err, p.removeContainer(ctx, state, node.Name), p.sweep(ctx, groupOf(state, node.Name)))
	return errors.Join(err, p.detach(state, node))
}

// removeContainer removes a node's container from what runc knows, whatever state it is in.
func (p *Provisioner) removeContainer(ctx context.Context, state *provision.State, node string) error {
	r := p.containers(state.Name)
	if _, err := os.Stat(filepath.Join(r.root, node)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := r.run(ctx, nil, "", "delete", "--force", node); err != nil {
		return err
	}
	// A create that was interrupted can leave a folder without a state in it, which runc does not know.
	return os.RemoveAll(filepath.Join(r.root, node))
}

// StartNode implements provision.Provisioner.
func (p *Provisioner) StartNode(ctx context.Context, cluster, node string) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		i, err := state.Node(node)
		if err != nil {
			return err
		}
		if running, err := p.running(ctx, cluster, node); running || err != nil {
			return err
		}
		config, err := os.ReadFile(filepath.Join(p.nodeDir(cluster, node), configFile))
		if err != nil {
			return fmt.Errorf("start node %s: it was never complete: remove it and add it again: %w", node, err)
		}
		if err := p.clean(ctx, state, state.Nodes[i]); err != nil {
			return fmt.Errorf("start node %s: remove what is left of its last run: %w", node, err)
		}
		if err := p.ready(state); err != nil {
			return fmt.Errorf("start node %s: %w", node, err)
		}
		return p.run(ctx, state, state.Nodes[i], config)
	})
}

// running reports whether a node's container runs.
func (p *Provisioner) running(ctx context.Context, cluster, node string) (bool, error) {
	all, err := p.containers(cluster).list(ctx)
	return all[node].Status == "running", err
}

// StopNode implements provision.Provisioner.
func (p *Provisioner) StopNode(ctx context.Context, cluster, node string) error {
	return p.end(ctx, cluster, node, p.grace)
}

// KillNode implements provision.Provisioner.
func (p *Provisioner) KillNode(ctx context.Context, cluster, node string) error {
	return p.end(ctx, cluster, node, 0)
}

// end ends a node: it gets some time to do it itself, if there is any. The lock is not held meanwhile.
func (p *Provisioner) end(ctx context.Context, cluster, node string, grace time.Duration) error {
	state, err := p.store.Load(cluster)
	if err != nil {
		return err
	}
	if _, err := state.Node(node); err != nil {
		return err
	}
	running, err := p.running(ctx, cluster, node)
	if err != nil {
		return err
	}
	if running && grace > 0 {
		if _, err := p.containers(cluster).run(ctx, nil, "", "kill", node, "TERM"); err != nil {
			return fmt.Errorf("stop node %s: %w", node, err)
		}
		limit, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		err := provision.Poll(limit, "node "+node+" to shut down", func() (bool, error) {
			running, err := p.running(ctx, cluster, node)
			return !running, err
		})
		if err != nil && limit.Err() == nil {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
	}
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		i, err := state.Node(node)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeoutCause(ctx, destroyLimit, fmt.Errorf("not done after %v", destroyLimit))
		defer cancel()
		if err := p.clean(ctx, state, state.Nodes[i]); err != nil {
			return fmt.Errorf("end node %s: %w", node, err)
		}
		return nil
	})
}
