package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/install"
	"talos.internal/internal/superblock"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/mount"
	"talos.internal/resource/block"
)

// Device is an open disk or partition.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Size() int64
	SectorSize() int
	// Reread has the kernel read the partition table anew.
	Reread(ctx context.Context) error
	// AddPartition, ResizePartition and RemovePartition tell it of one partition. Offsets and sizes are in bytes.
	AddPartition(number int, offset, size int64) error
	ResizePartition(number int, offset, size int64) error
	RemovePartition(number int) error
}

// Access is how a device is opened.
type Access int

// The ways to open a device.
const (
	Read  Access = iota
	Claim        // to write, for us alone: blockdev.ErrBusy if it is in use
	Share        // to write although partitions may be in use
)

// Kernel is what the controllers need of the kernel, and of the programs that make file systems.
type Kernel interface {
	List() ([]blockdev.Disk, error)
	Open(name string, how Access) (Device, error)
	// Format makes a file system on a device of size bytes. It refuses a device that has one.
	Format(ctx context.Context, name string, spec block.FilesystemSpec, size int64) error
	// Grow lets the file system that is mounted at a point have all of its device.
	Grow(point string, kind block.FilesystemType, size int64) error
	SwapOn(name string) error
	SwapOff(name string) error
	// Map makes a mapped device and returns its path; Unmap takes it away.
	Map(name, uuid string, spec dm.CryptSpec) (path string, err error)
	Unmap(name string) error
}

// Deps is what the controllers need from outside of the state.
type Deps struct {
	Kernel Kernel
	Mounts mount.Verbs
	// Watch calls changed at each of the kernel's messages about a block device, with the name of the device, or with "" if messages were
	// lost, until ctx ends.
	Watch func(ctx context.Context, changed func(device string)) error
	// RootGUID is the GUID of the partition that the system was started from, in lower case; empty if that is not known.
	RootGUID string
	// Settle is how long disks may take to appear where nobody says that all are there; zero means 3 seconds.
	Settle time.Duration
	// Assets opens what is installed, for a machine that runs from another medium than its disk. Nil means that it cannot be installed.
	Assets func(ctx context.Context) (install.Assets, io.Closer, error)
	// Meta shows and changes META; nil means that it is shown only.
	Meta *Meta
	// Persist writes the active config to the STATE volume, which is mounted. Nil means that it needs no writing.
	Persist func(ctx context.Context) error
	// Keys has the secrets of encrypted volumes. Nil means that no volume can be encrypted.
	Keys *diskkey.Keeper
	// Clear says that a volume is encrypted only if the config asks for it. Otherwise a TPM that can keep keys encrypts what is made.
	Clear bool
	// Measure measures into a register of the TPM. Nil means that there is none.
	Measure func(register int, data []byte) error
	// Reboot starts the machine anew, after an installation.
	Reboot func(reason string)
}

// Controllers returns the controllers of disks.
func Controllers(deps Deps) []controller.Controller {
	if deps.Settle == 0 {
		deps.Settle = 3 * time.Second
	}
	if deps.Meta == nil {
		deps.Meta = NewMeta(deps.Kernel)
	}
	of := deps.Meta.stateKeys(deps.Keys)
	out := []controller.Controller{
		deps.Meta,
		&DevicesController{Kernel: deps.Kernel, Watch: deps.Watch},
		disksController(deps.Kernel),
		&DiscoveryController{Kernel: deps.Kernel, Settle: deps.Settle},
		systemDiskController(deps.RootGUID),
		volumeConfigController(of),
		&VolumeManagerController{Kernel: deps.Kernel, State: of, Keys: deps.Keys, Measure: deps.Measure, Default: !deps.Clear},
		mountRequestController(),
		&MountController{Kernel: deps.Kernel, Mounts: deps.Mounts},
		&MountStatusController{},
	}
	if deps.Assets != nil {
		out = append(out, &UnattendedInstallController{Kernel: deps.Kernel, Assets: deps.Assets, Persist: deps.Persist, Reboot: deps.Reboot})
	}
	return out
}

// Machine is the Kernel of a machine.
type Machine struct {
	// Root is the directory that holds sys; empty means "/".
	Root string
	// Run runs a program and returns what it printed. The error says how it ended.
	Run func(ctx context.Context, argv ...string) ([]byte, error)
}

// List implements [Kernel].
func (m Machine) List() ([]blockdev.Disk, error) { return blockdev.List(m.Root) }

// devPath returns where a device is. A name is one of the kernel, which has ! for a slash (cciss!c0d0).
func devPath(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// Open implements [Kernel].
func (m Machine) Open(name string, how Access) (Device, error) {
	if name == "" || filepath.Base(name) != name {
		return nil, fmt.Errorf("open device %q: expected a name such as vda1", name)
	}
	open := blockdev.Open
	switch how {
	case Claim:
		open = blockdev.Claim
	case Share:
		open = blockdev.Share
	case Read:
	}
	d, err := open(devPath(name))
	if err != nil {
		return nil, err
	}
	return d, nil
}

// formatTimeout bounds the making of a file system. It writes little, but waits for a slow disk.
const formatTimeout = 5 * time.Minute

// xfsLeast is what mkfs.xfs (6.0 and later) makes without being told that the size is unusual.
const xfsLeast = 300 << 20

// Format implements [Kernel]. mkfs.xfs and mkfs.btrfs refuse a device that has something; mkfs.ext4 asks, and has nobody to ask.
func (m Machine) Format(ctx context.Context, name string, spec block.FilesystemSpec, size int64) error {
	path, label := devPath(name), spec.Label
	var argv []string
	switch kind := spec.Type; kind {
	case block.FilesystemXFS:
		argv = []string{"mkfs.xfs", "-q", "-K", "-L", label}
		if size < xfsLeast {
			argv = append(argv, "--unsupported")
		}
		if n := groups(size, int64(spec.MinAllocationGroupSize)); n > 0 {
			argv = append(argv, "-d", fmt.Sprintf("agcount=%d", n))
		}
	case block.FilesystemExt4:
		argv = []string{"mkfs.ext4", "-q", "-E", "nodiscard", "-L", label}
	case block.FilesystemBtrfs:
		argv = []string{"mkfs.btrfs", "-q", "-K", "-L", label}
	case block.FilesystemSwap:
		return m.formatSwap(name, label)
	case block.FilesystemNone, block.FilesystemVFAT, block.FilesystemISO9660, block.FilesystemVirtiofs:
		fallthrough
	default:
		return fmt.Errorf("format %s: a file system of type %s is not made here", name, kind)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, formatTimeout, fmt.Errorf("it took more than %s", formatTimeout))
	defer cancel()
	if out, err := m.Run(ctx, append(argv, path)...); err != nil {
		return fmt.Errorf("format %s as %s: %w: %s", name, spec.Type, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// groups returns how many allocation groups an XFS of size bytes has if none is to be smaller than least; 0 leaves it to mkfs.xfs, which makes four
// or more. It does not make one alone, which has its superblock only once.
func groups(size, least int64) int64 {
	const usual, fewest = 4, 2
	if least <= 0 || size/usual >= least {
		return 0
	}
	return max(fewest, size/least)
}

func (m Machine) formatSwap(name, label string) error {
	d, err := m.Open(name, Claim)
	if err != nil {
		return fmt.Errorf("format %s as swap: %w", name, err)
	}
	defer d.Close()
	header, err := blockdev.SwapHeader(d.Size(), label)
	if err != nil {
		return fmt.Errorf("format %s as swap: %w", name, err)
	}
	r := &install.Recorder{Target: d}
	if _, err := r.WriteAt(header, 0); err != nil {
		return fmt.Errorf("format %s as swap: %w", name, err)
	}
	return r.Sync()
}

// Grow implements [Kernel].
func (m Machine) Grow(point string, kind block.FilesystemType, size int64) error {
	switch kind {
	case block.FilesystemXFS:
		_, err := blockdev.GrowXFS(point, size)
		return err
	case block.FilesystemExt4:
		return blockdev.GrowExt4(point, size)
	default:
		return nil
	}
}

// SwapOn implements [Kernel].
func (m Machine) SwapOn(name string) error { return blockdev.SwapOn(devPath(name)) }

// SwapOff implements [Kernel].
func (m Machine) SwapOff(name string) error { return blockdev.SwapOff(devPath(name)) }

// Map implements [Kernel].
func (m Machine) Map(name, uuid string, spec dm.CryptSpec) (string, error) {
	return dm.CreateCrypt(name, uuid, spec)
}

// Unmap implements [Kernel].
func (m Machine) Unmap(name string) error { return dm.Remove(name) }

// probe looks at what is on a device now.
func probe(k Kernel, name string) (found superblock.Found, ok bool, err error) {
	d, err := k.Open(name, Read)
	if err != nil {
		return superblock.Found{}, false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return superblock.Probe(d, d.Size(), d.SectorSize())
}

// clearUnfinished takes away the beginning of a file system that was being made when power was cut: mkfs would refuse it.
func clearUnfinished(k Kernel, name string) (err error) {
	d, err := k.Open(name, Claim)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if cut, err := superblock.Unfinished(d); err != nil || !cut {
		return err
	}
	if _, err := d.WriteAt(make([]byte, 4096), 0); err != nil {
		return err
	}
	return d.Sync()
}
