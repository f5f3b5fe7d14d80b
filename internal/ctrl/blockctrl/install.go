package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"talos.internal/config/blockdoc"
	"talos.internal/config/expr"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/install"
	"talos.internal/internal/partition"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// installRequestID is the id of the controller's DiscoveryRefreshRequest.
const installRequestID = "install"

// rereadTimeout is how long probes of the disk by others may keep it busy.
const rereadTimeout = 10 * time.Second

// UnattendedInstallController installs the system on the disk that the machine config selects, if no disk has it yet. When the new STATE
// volume is mounted and has the config, the machine is started anew.
//
// A refusal is final until the config or the disks change; its reason is in runtime.UnattendedInstallStatus, and nothing was written.
type UnattendedInstallController struct {
	Kernel  Kernel
	Assets  func(ctx context.Context) (install.Assets, io.Closer, error)
	Persist func(ctx context.Context) error
	Reboot  func(reason string)

	installed string // the disk that was installed on in this run
	rebooting bool
	request   int64
	reported  string
}

// Name implements [controller.Controller].
func (c *UnattendedInstallController) Name() string { return "runtime.UnattendedInstallController" }

// Inputs implements [controller.Controller].
func (c *UnattendedInstallController) Inputs() []controller.Input {
	return []controller.Input{
		effective.Input(), controller.Weak[block.Disk](), controller.Weak[block.SystemDisk](), controller.Weak[block.DiscoveredVolume](),
		controller.Weak[block.DiscoveredVolumesStatus](), controller.Weak[block.MountStatus]().Named(blockdoc.State),
	}
}

// Outputs implements [controller.Controller].
func (c *UnattendedInstallController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.UnattendedInstallStatus](), controller.Shared[block.DiscoveryRefreshRequest]()}
}

// Run implements [controller.Controller].
func (c *UnattendedInstallController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error { return c.once(ctx, rt, log) })
}

func (c *UnattendedInstallController) say(ctx context.Context, rt controller.Runtime, phase runtime.InstallPhase, image, failure string) error {
	return controller.Put(ctx, rt, runtime.UnattendedInstallStatusID, runtime.UnattendedInstallStatus{Image: image, Phase: phase, Error: failure})
}

func (c *UnattendedInstallController) once(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	cfg, err := effective.Get(ctx, rt)
	if err != nil || cfg == nil {
		return err
	}
	doc, ok := schema.Find[*sysdoc.UnattendedInstallConfig](cfg.Set)
	if !ok {
		return nil
	}
	image := ""
	if doc.Installer != nil {
		image = string(doc.Installer.Image)
	}
	if c.installed != "" {
		return c.finish(ctx, rt, doc, image, log)
	}
	if _, there, err := state.Find[block.SystemDisk](ctx, rt, block.SystemDiskID); err != nil || there {
		return err // it is installed; a new version is an upgrade
	}
	discovered, _, err := state.Find[block.DiscoveredVolumesStatus](ctx, rt, block.DiscoveredVolumesStatusID)
	if err != nil {
		return err
	}
	if !discovered.Ready {
		return c.say(ctx, rt, runtime.InstallPending, image, "")
	}
	disks, err := c.candidates(ctx, rt)
	if err != nil {
		return err
	}
	disk, why := target(doc, disks)
	if disk == "" {
		if c.reported != why {
			log.Error("the system cannot be installed", "error", why)
			c.reported = why
		}
		return c.say(ctx, rt, runtime.InstallFailed, image, why)
	}
	if err := c.say(ctx, rt, runtime.InstallInstalling, image, ""); err != nil {
		return err
	}
	wipe := doc.Provisioning.WipeOrDefault()
	log.Info("the system is being installed", "disk", disk, "wipe", wipe)
	if err := c.install(ctx, disk, wipe, log); err != nil {
		if err := c.say(ctx, rt, runtime.InstallFailed, image, err.Error()); err != nil {
			return err
		}
		if errors.Is(err, install.ErrHasData) || errors.Is(err, install.ErrTooSmall) || errors.Is(err, install.ErrReadOnly) {
			if c.reported != err.Error() {
				log.Error("the system cannot be installed", "error", err)
				c.reported = err.Error()
			}
			return nil
		}
		return err
	}
	c.installed = disk
	log.Info("the system is installed", "disk", disk)
	c.request++
	if err := controller.Put(ctx, rt, installRequestID, block.DiscoveryRefreshRequest{Request: c.request}); err != nil {
		return err
	}
	return c.finish(ctx, rt, doc, image, log)
}

// finish waits for the config to be on the new disk, and asks for the reboot.
func (c *UnattendedInstallController) finish(ctx context.Context, rt controller.Runtime, doc *sysdoc.UnattendedInstallConfig, image string, log *slog.Logger) error {
	_, mounted, err := state.Find[block.MountStatus](ctx, rt, blockdoc.State)
	if err != nil {
		return err
	}
	if !mounted {
		return c.say(ctx, rt, runtime.InstallInstalling, image, "")
	}
	if c.Persist != nil {
		if err := c.Persist(ctx); err != nil {
			return fmt.Errorf("write the config to %s: %w", c.installed, err)
		}
	}
	if !doc.RebootOrDefault() || c.Reboot == nil {
		return c.say(ctx, rt, runtime.InstallInstalled, image, "")
	}
	if err := c.say(ctx, rt, runtime.InstallWaitingForReboot, image, ""); err != nil {
		return err
	}
	if !c.rebooting {
		c.rebooting = true
		log.Info("the machine is started from its disk", "disk", c.installed)
		c.Reboot("the system was installed on " + c.installed)
	}
	return nil
}

// candidate is a disk that could be installed on.
type candidate struct {
	id string
	block.Disk
	has block.DiscoveredVolume
}

func (c *UnattendedInstallController) candidates(ctx context.Context, rt controller.Runtime) ([]candidate, error) {
	disks, err := controller.Running[block.Disk](ctx, rt)
	if err != nil {
		return nil, err
	}
	var out []candidate
	for _, d := range disks {
		id := d.Metadata().ID()
		has, _, err := state.Find[block.DiscoveredVolume](ctx, rt, id)
		if err != nil {
			return nil, err
		}
		out = append(out, candidate{id: id, Disk: d.Spec(), has: has})
	}
	return out, nil
}

// target returns the disk to install on: the first in the order of names that the config selects and that is not the medium which the
// machine was started from; why says why there is none.
func target(doc *sysdoc.UnattendedInstallConfig, disks []candidate) (disk, why string) {
	if doc.Provisioning == nil || doc.Provisioning.DiskSelector == nil {
		return "", "the config selects no disk (UnattendedInstallConfig, provisioning.diskSelector)"
	}
	selector := doc.Provisioning.DiskSelector.Match
	var others []string
	for _, d := range disks {
		if d.CDROM || d.has.Name == "iso9660" || strings.HasPrefix(d.DevPath, "/dev/loop") || strings.HasPrefix(d.DevPath, "/dev/dm-") {
			continue
		}
		ok, err := selector.Match(exprDisk(d.Disk), false)
		if err != nil {
			return "", fmt.Sprintf("the disk selector %s cannot be applied to %s: %v", selector, d.id, err)
		}
		if ok {
			return d.id, ""
		}
		others = append(others, fmt.Sprintf("%s (%s%s)", d.DevPath, d.PrettySize, words(d.Transport, d.Model, d.Serial)))
	}
	if len(others) == 0 {
		return "", "the machine has no disk to install on"
	}
	return "", fmt.Sprintf("no disk matches %s; there is %s", expr.DiskSelector(selector), strings.Join(others, ", "))
}

func words(list ...string) string {
	s := ""
	for _, w := range list {
		if w != "" {
			s += ", " + w
		}
	}
	return s
}

func (c *UnattendedInstallController) install(ctx context.Context, disk string, wipe bool, log *slog.Logger) (err error) {
	assets, closer, err := c.Assets(ctx)
	if err != nil {
		return fmt.Errorf("install on %s: open what is to be installed: %w", disk, err)
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	return Install(ctx, c.Kernel, disk, wipe, assets, func(s install.Step) { log.Debug("installing", "step", s.String()) })
}

// Install puts the system on a disk. Nothing was written if the error wraps one of the causes of package install, or blockdev.ErrBusy.
func Install(ctx context.Context, k Kernel, disk string, wipe bool, assets install.Assets, say func(install.Step)) (err error) {
	hash, err := install.ReadRootHash(assets.UKI)
	if err != nil {
		return fmt.Errorf("install on %s: %w", disk, err)
	}
	d, err := k.Open(disk, Claim)
	if err != nil {
		return fmt.Errorf("install on %s: %w", disk, err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	facts, err := install.Inspect(disk, d)
	if err != nil {
		return fmt.Errorf("install on %s: %w", disk, err)
	}
	plan, err := install.PlanInstall(install.Request{
		Disk: facts, UKI: assets.UKI.Size, Root: assets.Root.Size, BootLoader: assets.BootLoader.Size, ImageCache: assets.ImageCache.Size,
		RootHash: hash, Seed: partition.NewGUID().String(), Time: time.Now(), Wipe: wipe,
	})
	if err != nil {
		return err
	}
	if err := install.Execute(ctx, plan, &install.Recorder{Target: d}, assets, say); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rereadTimeout)
	defer cancel()
	return d.Reread(ctx)
}
