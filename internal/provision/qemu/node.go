//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"talos.internal/internal/atomicfile"
	"talos.internal/internal/provision"
)

// The files of a node's folder.
const (
	configFile  = "config.yaml" // the machine config
	consoleFile = "console.log" // what is written to the serial port
	seedFile    = "cidata.iso"
	diskFile    = "disk.qcow2"
	varsFile    = "vars.fd"
	tpmDir      = "tpm"
)

// startLimit bounds the start of a machine, until it begins to run.
const startLimit = 2 * time.Minute

func (p *Provisioner) nodeDir(cluster, node string, elem ...string) string {
	return p.store.Path(cluster, append([]string{"nodes", node}, elem...)...)
}

// run is what the names of a node's files in the folder of sockets begin with: its place in the network, since a path of a
// socket is short.
func (p *Provisioner) run(state *provision.State, n provision.StateNode) string {
	return filepath.Join(p.runDir(state.Name), strconv.FormatUint(uint64(offset(state.Network.CIDR, n.Address)), 10))
}

// makeNode makes the files of a node and starts it. The switch has a port for it already.
func (p *Provisioner) makeNode(ctx context.Context, state *provision.State, node provision.StateNode, config []byte) error {
	limit, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("its files are not made after %v", startLimit))
	defer cancel()
	if err := p.makeFiles(limit, state, node, config); err != nil {
		return fmt.Errorf("make node %s: %w", node.Name, err)
	}
	return p.start(ctx, state, node, "")
}

func (p *Provisioner) makeFiles(ctx context.Context, state *provision.State, node provision.StateNode, config []byte) error {
	dir := p.nodeDir(state.Name, node.Name)
	p.trace("folder of " + node.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	p.trace("disk of " + node.Name)
	args := []string{"create", "-q", "-f", "qcow2"}
	if m := medium(state.Data[keyMedium]); m == rawDisk || m == qcow2Disk {
		args = append(args, "-b", state.Data[keyImage], "-F", string(m))
	}
	if err := command(ctx, "qemu-img", append(args, filepath.Join(dir, diskFile), state.Data[keyDisk])...); err != nil {
		return err
	}
	p.trace("seed of " + node.Name)
	_, mac := identity(p.store.Path(state.Name), node.Name, offset(state.Network.CIDR, node.Address))
	content := Seed{Name: node.Name, Config: config}
	if state.Data[keyDHCP] == "" {
		content.MAC, content.Address, content.Gateway = mac, netip.PrefixFrom(node.Address, state.Network.CIDR.Bits()), state.Network.Gateway
		content.MTU, content.Nameservers = state.Network.MTU, state.Network.Nameservers
	}
	seed, err := content.Image()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, seedFile), seed, 0o600); err != nil {
		return err
	}
	if vars := state.Data[keyVars]; vars != "" {
		p.trace("variables of " + node.Name)
		if err := copyFile(filepath.Join(dir, varsFile), vars); err != nil {
			return err
		}
	}
	if state.Data[keyTPM] != "" {
		p.trace("TPM of " + node.Name)
		if err := os.Mkdir(filepath.Join(dir, tpmDir), 0o700); err != nil {
			return err
		}
		// One bank of registers: firmware hashes what it loads for each of them.
		err := command(ctx, "swtpm_setup", "--tpm2", "--tpmstate", "dir://"+filepath.Join(dir, tpmDir), "--pcr-banks", "sha256")
		if err != nil {
			return fmt.Errorf("make a TPM: %w", err)
		}
	}
	// Last: a node without its config was never complete.
	return atomicfile.WriteFile(filepath.Join(dir, configFile), config, 0o600, atomicfile.Options{})
}

// copyFile makes a file with what another one has. Holes become zeros.
func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// start starts a node whose files are there and which does not run. With incoming, the output of that shell command is the memory
// with which it goes on, and it is stopped.
func (p *Provisioner) start(ctx context.Context, state *provision.State, node provision.StateNode, incoming string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not started after %v", startLimit))
	defer cancel()
	dir, run := p.nodeDir(state.Name, node.Name), p.run(state, node)
	m := machine{
		name: node.Name, kvm: p.kvm, cpus: node.CPUs, memory: node.Memory, dir: dir, run: run,
		console: filepath.Join(dir, consoleFile), disk: filepath.Join(dir, diskFile), seed: filepath.Join(dir, seedFile),
		code: state.Data[keyUEFI], secure: state.Data[keySecure] != "", kernel: state.Data[keyKernel], initramfs: state.Data[keyInitramfs], cmdline: state.Data[keyCmdline],
		clock: state.Data[keyClock], incoming: incoming,
	}
	m.uuid, m.mac = identity(p.store.Path(state.Name), node.Name, offset(state.Network.CIDR, node.Address))
	if m.code != "" {
		m.vars = filepath.Join(dir, varsFile)
	}
	if medium(state.Data[keyMedium]) == isoImage {
		m.drive = state.Data[keyImage]
	}
	if state.Data[keyTPM] != "" {
		m.tpm = run + tpmSuffix
		p.trace("process of the TPM of " + node.Name)
		// It ends with the connection of its machine.
		err := command(ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+filepath.Join(dir, tpmDir), "--ctrl", "type=unixio,path="+m.tpm,
			"--terminate", "--daemon", tpmPIDFlag, "file="+run+tpmPIDSuffix)
		if err != nil {
			return fmt.Errorf("start the TPM of node %s: %w", node.Name, err)
		}
	}
	p.trace("machine " + node.Name)
	if err := command(ctx, p.qemu, m.args()...); err != nil {
		return fmt.Errorf("start node %s: %w", node.Name, err)
	}
	return nil
}

// AddNode implements provision.Provisioner.
func (p *Provisioner) AddNode(ctx context.Context, cluster string, r provision.NodeRequest, progress provision.Progress) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		if err := p.checkNew(state, r); err != nil {
			return fmt.Errorf("add node %s to cluster %s: %w", r.Name, cluster, err)
		}
		node := stateNode(r)
		own, err := wanted(node, freePort)
		if err != nil {
			return err
		}
		state.Nodes = append(state.Nodes, node)
		state.Data[keyForwards] += "\n" + formatForwards(own)
		p.trace("state with " + node.Name)
		if err := p.store.Save(state); err != nil {
			return err
		}
		return progress.Do(fmt.Sprintf("start node %s (%s)", node.Name, node.Address), func() error {
			if err := p.ensureNetwork(ctx, state); err != nil {
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
	if err := errors.Join(r.Check(state.Network.Request()), p.checkNode(state.Name, r, state.Network.CIDR)); err != nil {
		return err
	}
	for _, n := range state.Nodes {
		if n.Name == r.Name || n.Address == r.Address {
			return fmt.Errorf("node %s has the address %s: %w", n.Name, n.Address, fs.ErrExist)
		}
	}
	return nil
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
			if err := p.unplug(ctx, state, node); err != nil {
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

// unplug takes a node's port from the switch and its published ports from the gateway, if those are there, and both from the
// state.
func (p *Provisioner) unplug(ctx context.Context, state *provision.State, node string) error {
	all, err := parseForwards(state.Data[keyForwards])
	if err != nil {
		return err
	}
	var gone, left []forward
	for _, f := range all {
		if f.node == node {
			gone = append(gone, f)
		} else {
			left = append(left, f)
		}
	}
	running, err := processes(func(args []string) bool {
		return runs(args, filepath.Join(p.runDir(state.Name), gatewayName+pidSuffix))
	})
	if err == nil && len(running) > 0 {
		err = ask(ctx, p.gatewayMonitor(state.Name), func(ctx context.Context, m *monitor) error {
			for _, f := range gone {
				if err := removeForward(ctx, m, f); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	if _, err := p.orders(state.Name).Ports(ctx); err == nil {
		if err := p.orders(state.Name).Remove(ctx, node); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	state.Data[keyForwards] = formatForwards(left)
	return nil
}

// clean ends a node and its TPM at once, and removes their files in the folder of sockets.
func (p *Provisioner) clean(ctx context.Context, state *provision.State, node provision.StateNode) error {
	run := p.run(state, node)
	err := kill(ctx, "node "+node.Name, func(args []string) bool {
		return runs(args, run+pidSuffix) || hasTPM(args, run)
	})
	if err != nil {
		return err
	}
	for _, suffix := range []string{pidSuffix, monitorSuffix, linkSuffix, tpmSuffix, tpmPIDSuffix} {
		if err := os.Remove(run + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// StartNode implements provision.Provisioner.
func (p *Provisioner) StartNode(ctx context.Context, cluster, node string) error {
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		i, err := state.Node(node)
		if err != nil {
			return err
		}
		if running, err := p.running(state, state.Nodes[i]); running || err != nil {
			return err
		}
		if _, err := os.Stat(p.nodeDir(cluster, node, configFile)); err != nil {
			return fmt.Errorf("start node %s: it was never complete: remove it and add it again: %w", node, err)
		}
		if err := p.clean(ctx, state, state.Nodes[i]); err != nil {
			return fmt.Errorf("start node %s: remove what is left of its last run: %w", node, err)
		}
		if err := p.ensureNetwork(ctx, state); err != nil {
			return fmt.Errorf("start node %s: %w", node, err)
		}
		return p.start(ctx, state, state.Nodes[i], "")
	})
}

// running reports whether a node's machine is on.
func (p *Provisioner) running(state *provision.State, node provision.StateNode) (bool, error) {
	all, err := processes(func(args []string) bool { return runs(args, p.run(state, node)+pidSuffix) })
	return len(all) > 0, err
}

// StopNode implements provision.Provisioner.
func (p *Provisioner) StopNode(ctx context.Context, cluster, node string) error {
	return p.end(ctx, cluster, node, p.grace)
}

// KillNode implements provision.Provisioner.
func (p *Provisioner) KillNode(ctx context.Context, cluster, node string) error {
	return p.end(ctx, cluster, node, 0)
}

// pressEvery is the time after which the power button is pressed again: a machine that starts may not look at it yet.
const pressEvery = 5 * time.Second

// end ends a node: it gets some time to do it itself, if there is any. The lock is not held meanwhile.
func (p *Provisioner) end(ctx context.Context, cluster, node string, grace time.Duration) error {
	state, n, err := p.loadNode(cluster, node)
	if err != nil {
		return err
	}
	running, err := p.running(state, n)
	if err != nil {
		return err
	}
	if running && grace > 0 {
		limit, cancel := context.WithTimeoutCause(ctx, grace, fmt.Errorf("not off after %v", grace))
		defer cancel()
		var pressed time.Time
		err := provision.Poll(limit, "node "+node+" to shut down", func() (bool, error) {
			running, err := p.running(state, n)
			if !running || err != nil {
				return !running, err
			}
			if time.Since(pressed) > pressEvery {
				pressed = time.Now()
				// A machine that cannot be asked is ended when the time is over.
				_ = ask(limit, p.run(state, n)+monitorSuffix, func(ctx context.Context, m *monitor) error {
					return m.run(ctx, "system_powerdown", nil, nil)
				})
			}
			return false, nil
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
