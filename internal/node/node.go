package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/container"
	"talos.internal/internal/ctrl/configctrl"
	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/ctrl/logctrl"
	"talos.internal/internal/ctrl/runtimectrl"
	"talos.internal/internal/daemon"
	"talos.internal/internal/event"
	"talos.internal/internal/server"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/launch"
	"talos.internal/internal/supervise/logring"
	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/process"
	"talos.internal/resource"
	"talos.internal/resource/catalog"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// stateDir is where the volume STATE is mounted.
const stateDir = "/system/state"

// containerdRoot is where containerd keeps images.
const containerdRoot = "/var/lib/containerd"

// bootLimit is how long the boot plan may take in all; it takes milliseconds.
const bootLimit = time.Minute

// node is what PID 1 holds together.
type node struct {
	log       *slog.Logger
	facts     boot.Facts
	emergency *boot.Emergency

	logs      *logring.Set
	kept      *logctrl.Keeper // of the logs that are still there after the next start
	events    *event.Stream
	state     *memstate.Store
	registry  *resource.Registry
	scheduler *controller.Scheduler
	services  *supervise.Supervisor
	processes *processes
	reaper    *process.Reaper
	machine   *machine  // nil in a container
	upgrades  *upgrades // nil in a container, and on a machine that was not started from its disk
	groups    *cgroup.Tree
	gates     *gates
	configs   *configctrl.Store
	runtime   *container.Client // the connection to containerd
	snapshots string            // what keeps its images
	door      *etcdctrl.Door
	discovery *discoveryctrl.Door
	stage     *runtimectrl.Stage
	lifecycle *lifecycle
}

// Main is PID 1. It returns the code with which the process ends, when the node has ended as it was asked to; exit, which is
// os.Exit, is called on the emergency path alone.
func Main(exit func(code int)) int {
	emergency := &boot.Emergency{Mode: boot.Container, Machine: process.Kernel{}, Out: []io.Writer{os.Stderr}, Exit: exit}
	code := 0
	emergency.Guard(func() {
		if err := run(emergency); err != nil {
			emergency.Enter(err)
			code = 1
		}
	})
	return code
}

// run is the life of a node. An error is one without which there is no node.
func run(emergency *boot.Emergency) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGPWR)
	logs, err := logring.NewSet(0)
	if err != nil {
		return err
	}
	facts, err := boot.Gather("", os.Getenv)
	if err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	emergency.Mode = facts.Mode
	log, err := newLog(facts.Mode, logs.Open("machined"), emergency)
	if err != nil {
		return err
	}
	steps, err := boot.Plan(facts)
	if err != nil {
		return fmt.Errorf("plan the boot: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	booting, done := context.WithTimeout(ctx, bootLimit)
	_, err = boot.Run(booting, steps, boot.NewHost("", nil), log)
	done()
	if err != nil {
		return err
	}
	n, err := assemble(log, logs, facts, emergency)
	if err != nil {
		return err
	}
	return n.live(ctx, signals)
}

// newLog is the log of the node. A container's runtime keeps what it says; a machine has a console, for people.
func newLog(mode boot.Mode, ring io.Writer, emergency *boot.Emergency) (*slog.Logger, error) {
	if mode == boot.Container {
		return slog.New(slog.NewTextHandler(io.MultiWriter(os.Stderr, ring), nil)), nil
	}
	screen, err := boot.KernelConsole("", slog.LevelInfo)
	if err != nil {
		return nil, err
	}
	emergency.Out = append(emergency.Out, screen.Errors())
	slog.New(screen).Info(buildinfo.Name + " " + buildinfo.Version + " starts")
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(ring, nil), console{Handler: screen})), nil
}

// assemble makes the parts. None of them does anything yet.
func assemble(log *slog.Logger, logs *logring.Set, facts boot.Facts, emergency *boot.Emergency) (*node, error) {
	n := &node{
		log: log, facts: facts, emergency: emergency, logs: logs, kept: logctrl.NewKeeper(logDir, logs),
		events: event.New(0), state: memstate.New(memstate.Options{}),
		gates: newGates(), stage: runtimectrl.NewStage(), lifecycle: newLifecycle(),
		services: supervise.New(logs), discovery: &discoveryctrl.Door{},
	}
	n.scheduler = controller.New(n.state, log, controller.Options{})
	n.configs = configctrl.NewStore(n.state, stateDir, log)
	n.door = etcdctrl.NewDoor(n.services, etcdctrl.DefaultData, etcdctrl.DefaultSnapshot)
	var err error
	if n.registry, err = catalog.Registry(); err != nil {
		return nil, fmt.Errorf("make the state: %w", err)
	}
	ctx := context.Background() // the store is in memory: nothing waits
	for _, ns := range catalog.Namespaces() {
		if err := state.RegisterNamespace(ctx, n.state, ns.Name, ns.Description); err != nil {
			return nil, fmt.Errorf("make the state: %w", err)
		}
	}
	if err := state.RegisterTypes(ctx, n.state, catalog.Types()...); err != nil {
		return nil, fmt.Errorf("make the state: %w", err)
	}
	if n.groups, err = cgroup.Detect(""); err != nil {
		log.Warn("no cgroups: services run without limits", "error", err)
	}
	if facts.Mode == boot.Metal {
		// Its /var is a file system of ours, which overlayfs works on, and is not there yet.
		n.snapshots = "overlayfs"
		if n.machine, err = newMachine(n.state, n.program); err != nil {
			return nil, fmt.Errorf("look at the machine: %w", err)
		}
		n.upgrades = n.newUpgrades()
		n.runtime = container.New(container.Options{Snapshotter: n.snapshots, Credentials: crictrl.Credentials(n.state), Policy: crictrl.Policy(n.state)})
		return n, nil
	}
	n.gates.ephemeral.Set(true)
	var why error
	if n.snapshots, why = crictrl.Snapshotter(containerdRoot); why != nil {
		log.Warn("images are copied for each container: overlayfs does not work here", "error", why)
	}
	n.runtime = container.New(container.Options{Snapshotter: n.snapshots, Credentials: crictrl.Credentials(n.state), Policy: crictrl.Policy(n.state)})
	return n, nil
}

// live runs the parts until there is a cause to end, and ends them.
func (n *node) live(ctx context.Context, signals <-chan os.Signal) error {
	reaping, stopReaping := context.WithCancel(ctx)
	defer stopReaping()
	n.reaper = process.NewReaper(nil)
	n.goGuarded(func() { _ = n.reaper.Run(reaping) })
	n.processes = &processes{Launcher: launch.New(n.reaper, n.groups, n.log)}
	n.emergency.SetServices(n.services)

	// The state is served to the daemons until the end: they stop before it does.
	if err := n.serveStates(ctx); err != nil {
		return err
	}
	if err := n.loadServices(ctx); err != nil {
		return err
	}
	if err := n.registerControllers(); err != nil {
		return err
	}
	controlling, stopControllers := context.WithCancel(ctx)
	defer stopControllers()
	stopped := make(chan error, 1)
	n.goGuarded(func() { stopped <- n.scheduler.Run(controlling) })
	if n.machine != nil {
		n.goGuarded(func() { n.devices(controlling) })
		n.goGuarded(func() { n.powerButton(controlling) })
	}

	var cause server.Cause
	select {
	case cause = <-n.lifecycle.causes:
	case s := <-signals:
		n.log.Info("told to end", "signal", s.String())
		cause = n.causeOf(s)
	case err := <-stopped:
		return fmt.Errorf("controllers ended by themselves: %w", err)
	}
	err := n.end(ctx, cause)
	stopControllers()
	return errors.Join(err, <-stopped)
}

// end carries out the plan to end. What fails in it is logged: nothing of it keeps the node from ending.
func (n *node) end(ctx context.Context, c server.Cause) error {
	e := endingOf(c)
	n.announce(c, e)
	e.cause.First, e.cause.Last = n.leave(c), n.keepLogs()
	if n.machine != nil {
		n.endMachine(ctx, c, &e)
	}
	steps, err := boot.StopPlan(n.facts, e.cause)
	if err != nil {
		return fmt.Errorf("plan the end: %w", err)
	}
	failed, err := boot.Run(ctx, steps, boot.NewHost("", n.services), n.log)
	for _, err := range failed {
		n.tell(c, e, err)
	}
	return err
}

// goGuarded runs f in a goroutine whose panic takes the emergency path.
func (n *node) goGuarded(f func()) { go n.emergency.Guard(f) }

// publish adds an event to the stream of the node.
func (n *node) publish(payload proto.Message, actor string) {
	if _, err := n.events.Publish(payload, actor); err != nil {
		n.log.Error("an event was dropped", "error", err)
	}
}

// serveStates serves to each daemon the part of the state that it may see.
func (n *node) serveStates(ctx context.Context) error {
	for _, s := range []struct {
		socket string
		user   int
		refs   []resource.Ref
	}{
		{APIDStateSocket, apidUser, daemon.APIDRefs()},
		{TrustdStateSocket, trustdUser, daemon.TrustdRefs()},
	} {
		l, err := listenUnix(ctx, s.socket, s.user)
		if err != nil {
			return err
		}
		n.goGuarded(func() {
			if err := serveState(ctx, l, n.state, n.registry, s.refs); err != nil {
				n.log.Error("a daemon is cut off from the state", "error", err)
			}
		})
	}
	return nil
}

// mode is the mode whose rules hold for a config.
func (n *node) mode() schema.Mode {
	if n.facts.Mode == boot.Container {
		return schema.Container
	}
	return schema.Metal
}
