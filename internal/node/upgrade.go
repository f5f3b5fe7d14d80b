package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/container"
	"talos.internal/internal/containerapi"
	"talos.internal/internal/ctrl/blockctrl"
	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/ctrl/upgradectrl"
	"talos.internal/internal/drain"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/install"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/server"
	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/upgrade"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

const (
	// upgradeClaim is what one control-plane node of a cluster has at a time: see upgrades.allowed.
	upgradeClaim = "talos:v1:upgrade"
	// upgradeClaimTime is for writing, drain, restart and gate. One that takes longer is not waited for.
	upgradeClaimTime = 20 * time.Minute
	// fetchLimit is how long an upgrade waits for what fetches its image: after a start that comes later than the API.
	fetchLimit = 5 * time.Minute
	// upgradeDrain is how long pods may take to go when the node does everything itself.
	upgradeDrain = 5 * time.Minute
	// settleTime is how long is tried to give back what an upgrade held in the cluster.
	settleTime = 10 * time.Minute
	// upgradeLimitArg is the kernel's argument for how long a system on trial has, such as 10m.
	upgradeLimitArg = "talos.upgrade.limit"
)

// upgrades changes the version of a machine that was started from its disk.
type upgrades struct {
	n      *node
	engine *upgrade.Engine
}

// param returns the last value of an argument of the kernel.
func (m *machine) param(key string) (value string) {
	for _, p := range m.cmdline {
		if p.Key == key {
			value = p.Value
		}
	}
	return value
}

// newUpgrades returns nil if the machine was started from something else than its disk.
func (n *node) newUpgrades() *upgrades {
	if _, medium := mount.Top(n.facts.Mounts, boot.Medium); n.machine == nil || medium {
		return nil
	}
	hash, err := hex.DecodeString(n.machine.param("roothash"))
	if err != nil || len(hash) != len(install.RootHash{}) {
		return nil
	}
	u := &upgrades{n: n}
	u.engine = &upgrade.Engine{
		Disk: u.disk, Running: install.RootHash(hash), Allowed: u.allowed, Trusted: install.FirmwareTrusts, Changed: n.machine.meta.Refresh,
		Open: func(ctx context.Context, o upgrade.Order, say func(string) error) (upgrade.Installer, error) {
			if err := fetches(ctx, n.services, say); err != nil {
				return nil, err
			}
			return openInstaller(ctx, n.runtime, o.Namespace, o.Image, say)
		},
	}
	return u
}

// controllers are those of upgrades.
func (u *upgrades) controllers() []controller.Controller {
	if u == nil {
		return nil
	}
	limit, err := time.ParseDuration(u.n.machine.param(upgradeLimitArg))
	if err != nil {
		limit = 0 // its default
	}
	return upgradectrl.Controllers(upgradectrl.Deps{
		Engine: u.engine, Limit: limit, Publish: u.n.publish, Settled: u.settled, Reboot: u.n.reboot,
		Etcd: func(ctx context.Context) error { return etcdInSync(ctx, etcdop.Operator{PKI: etcdctrl.DefaultPKI}) },
		APIServer: func(ctx context.Context) error {
			c, err := u.n.kubernetes(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			return c.Ready(ctx)
		},
	})
}

// serve lets the API upgrade the machine.
func (u *upgrades) serve(d *server.Deps) {
	if u != nil {
		d.Installer, d.Lifecycle = u, u
	}
}

// fetches waits until containerd fetches images, from the image cache if there is one.
func fetches(ctx context.Context, s *supervise.Supervisor, say func(string) error) error {
	within, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	up := func(id string) error {
		if st, err := s.Status(id); err == nil && st.Up {
			return nil
		}
		if err := say("waits until " + id + " is up, which fetches images"); err != nil {
			return err
		}
		return s.WaitUp(within, id)
	}
	if err := up(crictrl.ContainerdID); err != nil {
		return err
	}
	// Whether there is a cache is known when containerd runs, which waits for that.
	if _, err := s.Status(crictrl.RegistrydID); err != nil {
		return nil
	}
	return up(crictrl.RegistrydID)
}

// etcdInSync returns nil if this node's member reads with the agreement of a quorum, and votes.
func etcdInSync(ctx context.Context, op etcdop.Operator) error {
	if err := op.Healthy(ctx); err != nil {
		return err
	}
	s, err := op.Status(ctx)
	if err == nil && s.Learner {
		err = errors.New("it is still a learner")
	}
	return err
}

// disk finds the disk that has the root that runs, by asking the disks themselves: a system on trial must be able to go back whatever else
// of it works.
func (u *upgrades) disk(context.Context) (upgrade.Disk, error) {
	disks := u.n.machine.disks
	list, err := disks.List()
	if err != nil {
		return upgrade.Disk{}, err
	}
	for _, d := range list {
		if !hasRoot(disks, d.Name, u.engine.Running) {
			continue
		}
		partition := func(how blockctrl.Access) func(int) (upgrade.Device, error) {
			return func(number int) (upgrade.Device, error) {
				for _, p := range d.Partitions {
					if p.Number == number {
						return disks.Open(p.Name, how)
					}
				}
				return nil, fmt.Errorf("the kernel does not know partition %d of %s: %w", number, d.Name, fs.ErrNotExist)
			}
		}
		return upgrade.Disk{
			Name: d.Path(), Whole: func() (upgrade.Device, error) { return disks.Open(d.Name, blockctrl.Share) },
			Claim: partition(blockctrl.Claim), Share: partition(blockctrl.Share),
		}, nil
	}
	return upgrade.Disk{}, fmt.Errorf("%w: no disk has the root that runs", install.ErrNotInstalled)
}

// hasRoot reports whether a disk has a slot with the root.
func hasRoot(disks blockctrl.Machine, name string, hash install.RootHash) bool {
	d, err := disks.Open(name, blockctrl.Read)
	if err != nil {
		return false
	}
	defer d.Close()
	table, err := install.ReadTable(d, d.Size(), d.SectorSize())
	if err != nil {
		return false
	}
	for _, p := range table.Partitions {
		if strings.HasPrefix(p.Label, "ROOT-") && p.GUID == hash.PartitionGUID() {
			return true
		}
	}
	return false
}

// allowed keeps the control plane whole: one of its nodes at a time, and only if etcd keeps its quorum meanwhile.
func (u *upgrades) allowed(ctx context.Context) (func(), error) {
	if !u.controlPlane(ctx) {
		return nil, nil
	}
	if s, err := u.n.services.Status(etcdctrl.ServiceID); err != nil || s.State != supervise.Running {
		return nil, nil // it is no member that others count on
	}
	op := etcdop.Operator{PKI: etcdctrl.DefaultPKI}
	if err := op.MayBeAway(ctx); err != nil {
		return nil, err
	}
	name := u.name(ctx)
	if err := op.Claim(ctx, upgradeClaim, name, upgradeClaimTime); err != nil {
		return nil, fmt.Errorf("control-plane nodes are upgraded one at a time: %w", err)
	}
	return func() {
		if err := u.release(context.WithoutCancel(ctx)); err != nil {
			u.n.log.Warn("other control-plane nodes cannot be upgraded for a while", "limit", upgradeClaimTime, "error", err)
		}
	}, nil
}

func (u *upgrades) name(ctx context.Context) string {
	s, err := state.Lookup[network.HostnameStatus](ctx, u.n.state, network.HostnameStatusID)
	if err != nil || s == nil {
		return "a node without a name"
	}
	return s.Hostname
}

func (u *upgrades) release(ctx context.Context) error {
	return etcdop.Operator{PKI: etcdctrl.DefaultPKI}.Release(ctx, upgradeClaim, u.name(ctx))
}

// settled ends what an upgrade holds in the cluster. After a start etcd and Kubernetes come late, so it is tried for a while.
func (u *upgrades) settled(_ context.Context, r upgrade.Record) {
	u.n.goGuarded(func() {
		ctx, cancel := context.WithTimeout(context.Background(), settleTime)
		defer cancel()
		// Without a config there is no cluster. It comes after the record of an upgrade was read.
		configured := func(ctx context.Context) error {
			kind, err := state.Lookup[machineconfig.Type](ctx, u.n.state, machineconfig.TypeID)
			if err == nil && (kind == nil || kind.Type == machineconfig.TypeUnknown) {
				err = errors.New("there is no machine config")
			}
			return err
		}
		if err := again(ctx, configured); err != nil {
			return
		}
		if u.controlPlane(ctx) {
			if err := again(ctx, u.release); err != nil {
				u.n.log.Warn("other control-plane nodes cannot be upgraded for a while", "limit", upgradeClaimTime, "error", err)
			}
		}
		if !r.Uncordon {
			return
		}
		if err := again(ctx, u.uncordon); err != nil {
			u.n.log.Error("the Node takes no pods yet; kubectl uncordon lets it", "error", err)
		}
	})
}

// again calls f until it works, or ctx ends: then with its last error.
func again(ctx context.Context, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(5 * time.Second):
		}
	}
}

// controlPlane reports whether this is a machine of the control plane.
func (u *upgrades) controlPlane(ctx context.Context) bool {
	kind, err := state.Lookup[machineconfig.Type](ctx, u.n.state, machineconfig.TypeID)
	return err == nil && kind != nil && (kind.Type == machineconfig.TypeControlPlane || kind.Type == machineconfig.TypeInit)
}

func (u *upgrades) uncordon(ctx context.Context) error {
	name, err := state.Lookup[kube.Nodename](ctx, u.n.state, kube.NodenameID)
	if err != nil {
		return err
	}
	if name == nil {
		return errors.New("this machine's name in Kubernetes is not known yet")
	}
	c, err := u.n.ownKubernetes(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return drain.Open(ctx, c, name.Name)
}

// refusals are errors that say that the machine is as it was, and why.
var refusals = []error{
	install.ErrSame, install.ErrOnTrial, install.ErrNoOther, install.ErrNotInstalled, upgrade.ErrUnderWay, etcdop.ErrQuorum, etcdop.ErrClaimed,
}

func upgradeError(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r) {
			return status.Error(codes.FailedPrecondition, err.Error())
		}
	}
	return containerapi.Missing(err)
}

// Install implements server.Installer.
func (u *upgrades) Install(context.Context, server.Place, string, string, func(string) error) (int32, error) {
	return 0, status.Error(codes.FailedPrecondition, "the system is installed, and this machine runs it from its disk; another version is an upgrade")
}

// Upgrade implements server.Installer. It writes, and does not restart.
func (u *upgrades) Upgrade(ctx context.Context, p server.Place, image string, say func(string) error) (int32, error) {
	return 0, upgradeError(u.engine.Upgrade(ctx, upgrade.Order{ID: rand.Text(), Image: image, Namespace: p.Namespace}, say))
}

// Request implements server.Lifecycle: an upgrade and a rollback are written first, and then the machine restarts.
func (u *upgrades) Request(ctx context.Context, c server.Cause) error {
	say := func(line string) error {
		u.n.log.Info("upgrade", "step", line)
		return nil
	}
	switch c.Action {
	case server.Rollback:
		if err := u.engine.Rollback(ctx, upgrade.Order{ID: c.Actor}, say); err != nil {
			return upgradeError(err)
		}
		return u.n.lifecycle.Request(ctx, c)
	case server.Upgrade:
		u.n.goGuarded(func() { u.all(context.WithoutCancel(ctx), c, say) })
		return nil
	case server.Reboot, server.Shutdown, server.Reset:
	}
	return u.n.lifecycle.Request(ctx, c)
}

// all is what the older call does: everything, on the machine. Whoever asked follows the events.
func (u *upgrades) all(ctx context.Context, c server.Cause, say func(string) error) {
	fail := func(err error) {
		u.n.log.Error("the upgrade was not done; the machine is as it was", "image", c.Upgrade.GetImage(), "error", err)
		u.n.stage.Set(runtime.StageUnknown)
		u.n.publish(&machinepb.SequenceEvent{
			Sequence: "upgrade", Action: machinepb.SequenceEvent_NOOP, Error: &commonpb.Error{Code: commonpb.Code_FATAL, Message: err.Error()},
		}, c.Actor)
	}
	name, open := u.takesPods(ctx)
	u.n.publish(&machinepb.SequenceEvent{Sequence: "upgrade", Action: machinepb.SequenceEvent_START}, c.Actor)
	u.n.stage.Set(runtime.StageUpgrading)
	err := u.engine.Upgrade(ctx, upgrade.Order{ID: c.Actor, Image: c.Upgrade.GetImage(), Namespace: container.System, Force: c.Upgrade.GetForce(), Uncordon: open}, func(line string) error {
		u.n.publish(&machinepb.TaskEvent{Task: line, Action: machinepb.TaskEvent_START}, c.Actor)
		return say(line)
	})
	if err != nil {
		fail(err)
		return
	}
	if open {
		u.n.publish(&machinepb.PhaseEvent{Phase: "drain", Action: machinepb.PhaseEvent_START}, c.Actor)
		draining, cancel := context.WithTimeout(ctx, upgradeDrain)
		if err := u.n.drain(draining, name); err != nil {
			u.n.log.Warn("pods end with this machine", "error", err)
		}
		cancel()
	}
	if err := u.n.lifecycle.Request(ctx, c); err != nil {
		fail(fmt.Errorf("it is on the disk and tried at the next start: %w", err))
	}
}

// takesPods returns the name of this machine's Node, and whether it takes pods, so that it has to be drained.
func (u *upgrades) takesPods(ctx context.Context) (string, bool) {
	name, err := state.Lookup[kube.Nodename](ctx, u.n.state, kube.NodenameID)
	if err != nil || name == nil || name.SkipNodeRegistration {
		return "", false
	}
	c, err := u.n.ownKubernetes(ctx)
	if err != nil {
		return "", false
	}
	defer c.Close()
	o, err := c.Get(ctx, kubeapi.KindOf("v1", "Node"), "", name.Name)
	if err != nil {
		return "", false
	}
	spec, _ := o["spec"].(map[string]any)
	closed, _ := spec["unschedulable"].(bool)
	return name.Name, !closed
}

var (
	_ server.Installer = (*upgrades)(nil)
	_ server.Lifecycle = (*upgrades)(nil)
)
