package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/media"
	"talos.internal/internal/sys/mount"
)

// Modules loads modules of the kernel, by their names, with what they need.
type Modules []string

// String lists them.
func (m Modules) String() string { return "load kernel modules " + strings.Join(m, " ") }

func (m Modules) run(ctx context.Context, h *Host, _ func(string)) error {
	return h.Devices.LoadModules(ctx, m...)
}

// KeepFile copies a file, if it is there, to where it can be found later. The copy is for root alone.
type KeepFile struct{ From, To string }

// String names both.
func (k KeepFile) String() string { return "copy " + k.From + " to " + k.To }

func (k KeepFile) run(_ context.Context, h *Host, say func(string)) error {
	err := h.Files.Copy(k.From, k.To, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		say("there is one")
	}
	return err
}

// FindRoot looks for the root file system, loading the drivers of devices meanwhile, and makes a device of dm-verity of it, with
// the name [RootDevice]. It takes the first place whose content has the root hash.
type FindRoot struct{ Spec dm.VeritySpec }

// String says what is looked for.
func (f FindRoot) String() string {
	return fmt.Sprintf("look for partition %s, medium %s*, file %s", f.Spec.PartitionUUID(), MediumLabel, RootImage)
}

// Times of the search.
const (
	searchPause  = 200 * time.Millisecond // between two looks, if nothing happens
	searchReport = 5 * time.Second        // between two words to who waits at the console
)

func (f FindRoot) run(ctx context.Context, h *Host, say func(string)) error {
	wake, stop := h.Devices.Wake(ctx)
	defer stop()
	s := search{spec: f.Spec, dev: h.Devices, mounts: h.Mounts, say: say, said: map[string]bool{}}
	next := time.Now().Add(searchReport)
	// Drivers that the root does not need can wait for the node, which loads them beside everything else.
	for all := false; ; all = true {
		found, err := s.look(ctx, all)
		if found || err != nil {
			return err
		}
		if !all {
			continue
		}
		if time.Now().After(next) {
			next = time.Now().Add(searchReport)
			say("still waiting; seen so far: " + s.seen())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: there is no partition %s, no medium labelled %s with this version's %s; seen: %s; is the disk or medium attached, and was this version installed on it?",
				context.Cause(ctx), f.Spec.PartitionUUID(), MediumLabel, RootImage, s.seen())
		case <-wake:
		case <-time.After(searchPause):
		}
	}
}

// search is what is remembered between two looks.
type search struct {
	spec   dm.VeritySpec
	dev    Devices
	mounts mount.Verbs
	say    func(string)
	said   map[string]bool // what was said already: it is said once
	facts  blockFacts
}

func (s *search) once(what string) {
	if !s.said[what] {
		s.said[what] = true
		s.say(what)
	}
}

// seen lists what block devices there are.
func (s *search) seen() string {
	if len(s.facts.Names) == 0 {
		return "no block device"
	}
	return some(s.facts.Names)
}

// look loads what new devices need, looks at the block devices that are there, and tries each place.
func (s *search) look(ctx context.Context, all bool) (found bool, err error) {
	loaded, err := s.dev.LoadDrivers(ctx, all)
	if len(loaded) > 0 {
		s.say("loaded " + strings.Join(loaded, " "))
	}
	if err != nil {
		s.once(err.Error()) // a device without its driver may not be the one that counts
	}
	if s.facts, err = s.dev.Blocks(); err != nil {
		return false, err
	}
	for _, p := range places(s.facts, s.spec.PartitionUUID()) {
		if p.device == "" && !all {
			continue // a partition on another kind of disk comes before
		}
		err := s.try(ctx, p)
		if err == nil {
			s.say("found " + p.String())
			return true, nil
		}
		s.once(fmt.Sprintf("not from %s: %v", p, err))
	}
	return false, nil
}

// try makes the mapped device from what is at a place.
func (s *search) try(ctx context.Context, p place) (err error) {
	source := p.device
	if p.medium != "" {
		if err := s.dev.LoadModules(ctx, "isofs"); err != nil {
			return err
		}
		const safe = mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec
		if err := s.mounts.MakePoint(Medium, false, 0o755); err != nil {
			return err
		}
		if err := s.mounts.Mount(mount.Call{Source: p.medium, Target: Medium, Type: media.ISO9660, Flags: safe}); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, s.mounts.Unmount(Medium, 0))
			}
		}()
		p.file = path.Join(Medium, RootImage)
	}
	if p.file != "" {
		if err := s.dev.LoadModules(ctx, "loop"); err != nil {
			return err
		}
		shown, release, err := s.dev.Loop(p.file)
		if err != nil {
			return err
		}
		defer release()
		source = shown
	}
	r, err := s.dev.Open(source)
	if err != nil {
		return err
	}
	err = s.spec.Check(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if err := s.dev.Map(RootDevice, s.spec.Verity(source)); err != nil {
		return err
	}
	// What a mistake writes to the partition would be found out by its hash, and end the machine. A medium is read-only as it is.
	if p.device != "" {
		if err := s.dev.Protect(p.device); err != nil {
			s.once(err.Error())
		}
	}
	return nil
}

// MountRoot mounts the mapped device [RootDevice] at [NewRoot], read-only, with the type that its superblock has.
type MountRoot struct{}

// String says so.
func (MountRoot) String() string { return "mount " + RootDevice + " on " + NewRoot + " (ro,nodev)" }

func (MountRoot) run(ctx context.Context, h *Host, say func(string)) error {
	device, err := h.Devices.Mapped(RootDevice)
	if err != nil {
		return err
	}
	r, err := h.Devices.Open(device)
	if err != nil {
		return err
	}
	kind, err := media.FileSystem(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	say("it is " + kind)
	if err := h.Devices.LoadModules(ctx, kind); err != nil {
		return err
	}
	if err := h.Mounts.MakePoint(NewRoot, false, 0o755); err != nil {
		return err
	}
	return h.Mounts.Mount(mount.Call{Source: device, Target: NewRoot, Type: kind, Flags: mount.ReadOnly | mount.NoDev})
}

// SwitchRoot makes a mount the root, and frees the initramfs.
type SwitchRoot struct {
	Root  string
	Moved []string // mounts that it takes along
}

// String says so.
func (s SwitchRoot) String() string {
	return "switch the root to " + s.Root + ", with " + strings.Join(s.Moved, " ")
}

func (s SwitchRoot) run(_ context.Context, h *Host, _ func(string)) error {
	return h.Devices.SwitchRoot(s.Root, s.Moved...)
}

// Devices are the operations on devices and modules that plans need.
type Devices interface {
	// LoadModules loads modules by name. What the kernel has built in is there.
	LoadModules(ctx context.Context, names ...string) error
	// LoadDrivers loads the modules for the most usual kinds of disks, or for all devices, of those that are there and were not there
	// at the call before, and returns those that were loaded, also with an error for others.
	LoadDrivers(ctx context.Context, all bool) ([]string, error)
	// Wake returns a channel that has something in it after a device has come or changed, and what ends this.
	Wake(ctx context.Context) (<-chan struct{}, func())
	// Blocks looks at the block devices.
	Blocks() (blockFacts, error)
	// Open opens a block device to read it.
	Open(device string) (Blob, error)
	// Loop shows a file as a block device, which stays until the function is called and nobody else has it open.
	Loop(file string) (device string, release func(), err error)
	// Map makes a read-only mapped device; Mapped returns its path.
	Map(name string, table dm.Table) error
	Mapped(name string) (string, error)
	// Protect makes a block device read-only, also for those who have it open.
	Protect(device string) error
	// Unmap takes away the mapped devices whose names begin so, and returns those that are gone.
	Unmap(prefix string) ([]string, error)
	// SwitchRoot changes the root of this process.
	SwitchRoot(root string, moved ...string) error
}

// Blob is something that can be read at any place.
type Blob interface {
	io.ReaderAt
	io.Closer
}
