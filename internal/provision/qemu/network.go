//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
)

// gatewayName is the gateway's port at the switch, and the name of its files. No node is called so.
const gatewayName = "gateway"

// switchLimit bounds the start of the switch: milliseconds on a computer that is not busy.
const switchLimit = 30 * time.Second

// runDir is the folder of a cluster's sockets.
func (p *Provisioner) runDir(cluster string) string { return p.store.Path(cluster, "run") }

// Switch is the switch of a cluster, which takes orders while the cluster is there. Its ports have the names of nodes; one is
// "gateway".
func (p *Provisioner) Switch(cluster string) (layer2.Client, error) {
	if _, err := p.store.Load(cluster); err != nil {
		return layer2.Client{}, err
	}
	return p.orders(cluster), nil
}

func (p *Provisioner) orders(cluster string) layer2.Client {
	return layer2.Client{Path: filepath.Join(p.runDir(cluster), layer2.Socket)}
}

// ensureNetwork makes what is missing of a cluster's network: the switch with a port for each node, the gateway with its
// published ports.
func (p *Provisioner) ensureNetwork(ctx context.Context, state *provision.State) error {
	if err := p.ensureSwitch(ctx, state.Name); err != nil {
		return err
	}
	run := filepath.Join(p.runDir(state.Name), gatewayName)
	running, err := processes(func(args []string) bool { return runs(args, run+pidSuffix) })
	if err != nil {
		return err
	}
	if len(running) == 0 {
		p.trace("gateway")
		n := state.Network
		err := command(ctx, p.qemu, gatewayArgs(run, n.CIDR, n.Gateway, n.Request().Address(0))...)
		if err != nil {
			return fmt.Errorf("start the gateway: %w", err)
		}
	}
	if err := p.ensurePort(ctx, state.Name, gatewayName, run); err != nil {
		return err
	}
	for _, n := range state.Nodes {
		if err := p.ensurePort(ctx, state.Name, n.Name, p.run(state, n)); err != nil {
			return err
		}
	}
	return p.publish(ctx, state)
}

func (p *Provisioner) ensurePort(ctx context.Context, cluster, name, run string) error {
	err := p.orders(cluster).Add(ctx, name, run+linkSuffix)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// ensureSwitch starts the switch if it does not run, and waits until it takes orders.
func (p *Provisioner) ensureSwitch(ctx context.Context, cluster string) error {
	dir := p.runDir(cluster)
	running, err := processes(func(args []string) bool { return isSwitch(args, dir, p.launcher) })
	if err != nil {
		return err
	}
	if len(running) == 0 {
		p.trace("switch")
		log, err := os.OpenFile(filepath.Join(dir, "switch.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer log.Close() // the switch has it, too
		cmd := exec.Command(p.launcher[0], append(p.launcher[1:len(p.launcher):len(p.launcher)], dir)...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives us, and our terminal
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start the switch: %w", err)
		}
		go func() { _ = cmd.Wait() }() // so that it does not stay as a zombie while this process lives
	}
	limit, cancel := context.WithTimeoutCause(ctx, switchLimit, fmt.Errorf("not there after %v", switchLimit))
	defer cancel()
	var last error
	err = provision.Poll(limit, "the switch to take orders", func() (bool, error) {
		_, last = p.orders(cluster).Ports(limit)
		return last == nil, nil
	})
	if err != nil {
		said, _ := os.ReadFile(filepath.Join(dir, "switch.log")) // without it the error has less to say
		return fmt.Errorf("%w; last seen: %w; it said: %q", err, last, strings.TrimSpace(string(said)))
	}
	return nil
}

// freePort returns a TCP port that nobody has on the loopback at this moment.
func freePort() (uint16, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}

// publish makes the gateway pass on all published ports. A port that was chosen and that somebody else has by now is replaced
// by another one.
func (p *Provisioner) publish(ctx context.Context, state *provision.State) error {
	all, err := parseForwards(state.Data[keyForwards])
	if err != nil {
		return err
	}
	changed := false
	err = ask(ctx, p.gatewayMonitor(state.Name), func(ctx context.Context, m *monitor) error {
		for i := range all {
			n, err := state.Node(all[i].node)
			if err != nil {
				return err
			}
			for try := 0; ; try++ {
				said, err := addForward(ctx, m, all[i], state.Nodes[n].Address)
				if err != nil {
					return err
				}
				if said == "" {
					break
				}
				if all[i].fixed || try == 5 {
					return fmt.Errorf("publish port %d of %s at %s: %w: QEMU says: %s", all[i].port, all[i].node, all[i].host, provision.ErrInUse, said)
				}
				port, err := freePort()
				if err != nil {
					return err
				}
				all[i].host, changed = netip.AddrPortFrom(loopback, port), true
			}
		}
		return nil
	})
	if err != nil || !changed {
		return err
	}
	state.Data[keyForwards] = formatForwards(all)
	return p.store.Save(state)
}

func (p *Provisioner) gatewayMonitor(cluster string) string {
	return filepath.Join(p.runDir(cluster), gatewayName+monitorSuffix)
}

// addForward makes the gateway pass on a port, and returns what QEMU has against it. One that it has already is made anew:
// connections through it go on.
func addForward(ctx context.Context, m *monitor, f forward, to netip.Addr) (refused string, err error) {
	if err := removeForward(ctx, m, f); err != nil {
		return "", err
	}
	return m.human(ctx, "hostfwd_add user "+f.rule(to))
}

// removeForward makes the gateway pass on a port no more. It is no error if it did not.
func removeForward(ctx context.Context, m *monitor, f forward) error {
	_, err := m.human(ctx, fmt.Sprintf("hostfwd_remove user %s:%s:%d", f.proto, f.host.Addr(), f.host.Port()))
	return err
}
