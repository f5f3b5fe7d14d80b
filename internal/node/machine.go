package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/ctrl/blockctrl"
	"talos.internal/internal/ctrl/configctrl"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/netconf"
	"talos.internal/internal/platform"
	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
	"talos.internal/internal/sys/uevent"
	"talos.internal/internal/volume"
	"talos.internal/resource/block"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// machine is what a node has that is no container: devices of its own, and a console.
type machine struct {
	cmdline []proc.Param
	line    string // the command line as it is
	drivers *boot.Drivers
	settled chan struct{} // closed when the drivers are loaded of what was there at the start
	caches  chan struct{} // closed when the image caches are shown
	from    *platform.Platform
	disks   blockctrl.Machine
	meta    *blockctrl.Meta
	keys    *diskkey.Keeper
}

// seedPoint is where a seed disk is mounted while it is read.
const seedPoint = "/run/seed"

// newMachine reads what the machine says about itself.
func newMachine(st state.Reader, run func(ctx context.Context, argv ...string) ([]byte, error)) (*machine, error) {
	r := proc.Reader{}
	m := &machine{drivers: new(boot.Drivers), settled: make(chan struct{}), caches: make(chan struct{}), disks: blockctrl.Machine{Run: run}}
	m.meta = blockctrl.NewMeta(m.disks)
	var err error
	if m.cmdline, err = r.Cmdline(); err != nil {
		return nil, err
	}
	if m.line, err = r.CmdlineText(); err != nil {
		return nil, err
	}
	dmi, err := r.DMI()
	if err != nil {
		return nil, err
	}
	m.keys = diskkey.OfMachine(dmi.UUID, boot.PolicyKey, boot.PolicySignatures)
	m.from = platform.New(platform.Options{
		Params: m.cmdline, DMI: dmi, Embedded: boot.EmbeddedConfig, Settled: m.settled, Media: platform.Disks{Point: seedPoint},
		Hostname: func() string { return hostname(st) }, MAC: func() string { return hardwareAddress(st) },
	})
	return m, nil
}

// hostname is the name that the machine has by now.
func hostname(st state.Reader) string {
	s, err := state.Lookup[network.HostnameStatus](context.Background(), st, network.HostnameStatusID)
	if err != nil || s == nil {
		return ""
	}
	return s.Hostname
}

// hardwareAddress is that of the first physical link by name that is up, or that is there.
func hardwareAddress(st state.Reader) string {
	links, err := state.List[network.LinkStatus](context.Background(), st)
	if err != nil {
		return ""
	}
	first := ""
	for _, l := range links {
		s := l.Spec()
		if !netconf.Physical(s) || len(s.HardwareAddr) == 0 {
			continue
		}
		if s.LinkState {
			return s.HardwareAddr.String()
		}
		if first == "" {
			first = s.HardwareAddr.String()
		}
	}
	return first
}

// rootGUID is the unique GUID of the partition that the root is on, if it is on one.
func (m *machine) rootGUID() string {
	value := func(key string) (v string) {
		for _, p := range m.cmdline {
			if p.Key == key {
				v = p.Value
			}
		}
		return v
	}
	spec, err := dm.ParseVerity(value("roothash"), value("talos.verity"))
	if err != nil {
		return ""
	}
	return spec.PartitionUUID()
}

// halts says whether a machine that is shut down keeps its power.
func (m *machine) halts() bool {
	for _, p := range m.cmdline {
		if p.Key == "talos.shutdown" && p.Value == "halt" {
			return true
		}
	}
	return false
}

// sources are the places of a config after STATE.
func (m *machine) sources() []configctrl.Source {
	var out []configctrl.Source
	for _, s := range m.from.Sources() {
		out = append(out, configctrl.Source{Name: s.Name, Read: s.Read})
	}
	return out
}

// settleMost is how long the first drivers may take before everybody goes on without them.
const settleMost = 30 * time.Second

// devices loads the drivers of devices until ctx ends.
func (n *node) devices(ctx context.Context) {
	n.goGuarded(func() {
		failed, err := boot.Run(ctx, boot.DriversPlan(), boot.NewHost("", n.services), n.log)
		if err = errors.Join(append(failed, err)...); err != nil {
			n.log.Warn("the kernel lacks what volumes and pods need", "error", err)
		}
	})
	settled := sync.OnceFunc(func() { close(n.machine.settled) })
	settle := time.AfterFunc(settleMost, func() {
		n.log.Warn("the drivers of some devices are still not loaded; going on without them")
		settled()
	})
	defer settle.Stop()
	err := n.machine.drivers.Follow(ctx, func(loaded []string, err error) {
		if len(loaded) > 0 {
			n.log.Info("drivers loaded", "modules", strings.Join(loaded, " "))
		}
		if err != nil {
			n.log.Warn("a device has no driver", "error", err)
		}
	}, func() {
		settle.Stop()
		settled()
	})
	if err != nil && ctx.Err() == nil {
		n.log.Error("drivers of new devices are not loaded any more", "error", err)
	}
}

// watchDisks calls changed with the name of each block device that comes, goes or changes, and with "" for all, until ctx ends.
func watchDisks(ctx context.Context, changed func(device string)) error {
	return uevent.Watch(ctx, "block", func(path string) {
		if path != "" {
			path = filepath.Base(path)
		}
		changed(path)
	})
}

// maxOutput limits what is kept of a program's output.
const maxOutput = 64 << 10

// program runs a program to its end and returns what it printed. PID 1 collects its children itself, so os/exec cannot.
func (n *node) program(ctx context.Context, argv ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, errors.New("run a program: no name is given")
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	cmd := &exec.Cmd{Path: path, Args: argv, Env: boot.Environment(), Stdout: write, Stderr: write}
	child, err := n.reaper.Start(cmd, process.Options{})
	if err = errors.Join(err, write.Close()); err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	var out bytes.Buffer
	printed := make(chan error, 1)
	go func() {
		_, err := io.Copy(&out, io.LimitReader(read, maxOutput))
		_, rest := io.Copy(io.Discard, read)
		printed <- errors.Join(err, rest)
	}()
	exit, err := child.Wait(ctx)
	if err != nil {
		killed := child.Signal(syscall.SIGKILL)
		return nil, fmt.Errorf("run %s: %w", argv[0], errors.Join(err, killed))
	}
	if err := <-printed; err != nil {
		return nil, fmt.Errorf("run %s: read its output: %w", argv[0], err)
	}
	if !exit.Success() {
		return out.Bytes(), fmt.Errorf("run %s: %s: %s", argv[0], exit, lastLine(out.String()))
	}
	return out.Bytes(), nil
}

// lastLine is what a program says at last, which is mostly what went wrong.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// ephemeralController prepares EPHEMERAL for those who use it, when it is mounted, and then lets them begin.
type ephemeralController struct {
	gate    *supervise.Gate
	prepare func(context.Context) error
	// closed says which volumes have to be open before the TPM gives no key any more, and are not yet.
	closed func(context.Context, state.Reader) (string, error)
}

// closedWait is how long containers wait for other volumes whose keys the TPM has: a disk of theirs may be gone.
const closedWait = 30 * time.Second

// ephemeralPatience is how long nobody is told what EPHEMERAL waits for: at first it is for drivers and disks.
const ephemeralPatience = 15 * time.Second

// trouble is what a person is told of EPHEMERAL while it is not mounted, and has waited so long; empty if nothing is known to be wrong.
func trouble(where volume.Where, why string, waits time.Duration) string {
	switch {
	case where != volume.Unknown:
		return "no containers can run: the volume EPHEMERAL is " + where.String()
	case why == "" || waits < ephemeralPatience:
		return ""
	}
	return "no containers can run yet: the volume EPHEMERAL waits"
}

func (ephemeralController) Name() string { return "runtime.EphemeralController" }

func (ephemeralController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[block.MountStatus]().Named(volume.Ephemeral), controller.Weak[block.VolumeStatus]()}
}

func (ephemeralController) Outputs() []controller.Output { return nil }

func (c ephemeralController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	prepared := false
	told := ""
	var late, waits time.Time
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		where, why, err := volume.Look(ctx, rt, volume.Ephemeral)
		if err != nil {
			return err
		}
		if where != volume.Mounted {
			c.gate.Set(false)
			if where == volume.Unknown && why != "" && waits.IsZero() {
				waits = time.Now()
				time.AfterFunc(ephemeralPatience, rt.Wake)
			}
			if text := trouble(where, why, time.Since(waits)); text != "" && text+why != told {
				told = text + why
				log.Warn(text, "reason", why)
			}
			return nil
		}
		if !prepared {
			if late.IsZero() {
				late = time.Now().Add(closedWait)
				time.AfterFunc(closedWait, rt.Wake)
			}
			closed, err := c.closed(ctx, rt)
			if err != nil {
				return err
			}
			if closed != "" && time.Now().Before(late) {
				return nil
			}
			if closed != "" {
				log.Warn("a volume is not open yet, and containers wait no longer for it; the TPM gives its key at the next start", "volumes", closed)
			}
			if err := c.prepare(ctx); err != nil {
				return fmt.Errorf("prepare EPHEMERAL: %w", err)
			}
			prepared = true
		}
		c.gate.Set(true)
		return nil
	})
}

// prepareEphemeral makes what others expect below /var.
func (n *node) prepareEphemeral(ctx context.Context) error {
	_, err := boot.Run(ctx, slices.Concat(boot.WorldPlan(), boot.EphemeralPlan()), boot.NewHost("", n.services), n.log)
	return err
}
