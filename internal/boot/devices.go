package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"talos.internal/internal/sys/blockdev"
	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/kmod"
	"talos.internal/internal/sys/loop"
	"talos.internal/internal/sys/media"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/uevent"
)

// Drivers loads modules for devices. It remembers for which it has looked. It is safe for concurrent use.
type Drivers struct {
	// Kernel takes the modules; nil is the one that runs this process.
	Kernel kmod.Kernel

	mu   sync.Mutex
	done map[string]bool
}

// index opens the modules of this kernel, and says what of them is there already.
func index() (*kmod.Index, kmod.Options, error) {
	r := proc.Reader{}
	release, err := r.KernelRelease()
	if err != nil {
		return nil, kmod.Options{}, err
	}
	x, err := kmod.Open(kmod.Dir("", release))
	if err != nil {
		return nil, kmod.Options{}, err
	}
	params, err := r.Cmdline()
	if err != nil {
		return nil, kmod.Options{}, err
	}
	o := kmod.Settings(params)
	cpus, err := r.CPUInfo()
	if err != nil {
		return nil, kmod.Options{}, err
	}
	if len(cpus) > 0 {
		o.Deny = append(o.Deny, hostOnly(cpus[0].Flags)...)
	}
	loaded, err := r.Modules()
	if err != nil {
		return nil, kmod.Options{}, err
	}
	o.Loaded = live(loaded)
	return x, o, nil
}

// live returns the names of the modules that are in use. Those whose start is under way are not there yet: who asks for one waits for it
// with the kernel. A mount of STATE did not, and failed for want of XFS, which somebody else had just begun to load.
func live(modules []proc.Module) []string {
	var out []string
	for _, m := range modules {
		if m.State == "Live" {
			out = append(out, m.Name)
		}
	}
	return out
}

// hostOnly are modules that no alias loads in a virtual machine: they are for the host of others. A processor that says that it
// could be one has them loaded otherwise. By their names they are loaded anywhere.
func hostOnly(flags []string) []string {
	if !slices.Contains(flags, "hypervisor") {
		return nil
	}
	return []string{"kvm_amd", "kvm_intel"}
}

// load loads a plan; guessed says that its modules may have nothing to do on this machine.
func (d *Drivers) load(ctx context.Context, plan []kmod.Step, guessed bool) ([]string, error) {
	k := d.Kernel
	if k == nil {
		k = kmod.Running{}
	}
	var loaded []string
	var errs []error
	for _, r := range kmod.Load(ctx, k, plan) {
		switch {
		case r.Err == nil:
			loaded = append(loaded, r.Step.Name)
		case guessed && errors.Is(r.Err, syscall.ENODEV):
			// It looked for what it serves and did not find it: an alias for a kind of CPU is for many.
		default:
			errs = append(errs, r.Err)
		}
	}
	return loaded, errors.Join(errs...)
}

// Names loads modules by name or by plain alias, such as "fs-xfs". What is there already is no error.
func (d *Drivers) Names(ctx context.Context, names ...string) error {
	x, o, err := index()
	if err != nil {
		return err
	}
	plan, err := x.Plan(o, names...)
	_, loadErr := d.load(ctx, plan, false)
	return errors.Join(err, loadErr)
}

// present loads the modules for the devices that are there and wanted by then, and for those that they show in turn, and returns what
// was loaded. A device is looked at once.
func (d *Drivers) present(ctx context.Context, most uevent.Need) ([]string, error) {
	var all []string
	var errs []error
	for ctx.Err() == nil {
		aliases, err := uevent.Aliases("")
		if err != nil {
			return all, err
		}
		more := false
		for n, list := range uevent.ByNeed(aliases) {
			if uevent.Need(n) > most || more {
				break // what is wanted first may have come meanwhile
			}
			loaded, fresh, err := d.Aliases(ctx, list...)
			all = append(all, loaded...)
			errs = append(errs, err)
			more = fresh && len(loaded) > 0
		}
		if !more {
			break
		}
	}
	return all, errors.Join(errs...)
}

// Aliases loads the modules for what devices say that they are. fresh is false if it has looked for all of them before.
func (d *Drivers) Aliases(ctx context.Context, aliases ...string) (loaded []string, fresh bool, err error) {
	d.mu.Lock()
	if d.done == nil {
		d.done = map[string]bool{}
	}
	var todo []string
	for _, a := range aliases {
		if a != "" && !d.done[a] {
			d.done[a] = true
			todo = append(todo, a)
		}
	}
	d.mu.Unlock()
	if len(todo) == 0 {
		return nil, false, nil
	}
	x, o, err := index()
	if err != nil {
		return nil, true, err
	}
	plan, err := x.PlanAliases(o, todo...)
	if err != nil {
		return nil, true, err
	}
	loaded, err = d.load(ctx, plan, true)
	return loaded, true, err
}

// Follow loads modules for devices that come, until ctx ends. It begins with those that are there, and calls settled when it is through
// with all that disks and network may be behind. say is told what was loaded, and what went wrong.
func (d *Drivers) Follow(ctx context.Context, say func(loaded []string, err error), settled func()) error {
	l, err := uevent.Listen()
	if err != nil {
		return err
	}
	defer l.Close()
	present := func(most uevent.Need) {
		if loaded, err := d.present(ctx, most); len(loaded) > 0 || err != nil {
			say(loaded, err)
		}
	}
	present(uevent.Soon)
	settled()
	present(uevent.Later)
	for {
		e, err := l.Next(ctx)
		switch {
		case errors.Is(err, uevent.ErrLost):
			present(uevent.Later)
		case err != nil:
			return err
		case e.Action == "add" && e.Vars["MODALIAS"] != "":
			if loaded, _, err := d.Aliases(ctx, e.Vars["MODALIAS"]); len(loaded) > 0 || err != nil {
				say(loaded, err)
			}
		}
	}
}

// kernelDevices are the Devices of the kernel that runs this process.
type kernelDevices struct{ drivers *Drivers }

// LoadModules implements Devices.
func (k kernelDevices) LoadModules(ctx context.Context, names ...string) error {
	return k.drivers.Names(ctx, names...)
}

// LoadDrivers implements Devices.
func (k kernelDevices) LoadDrivers(ctx context.Context, all bool) ([]string, error) {
	if all {
		return k.drivers.present(ctx, uevent.Later)
	}
	return k.drivers.present(ctx, uevent.First)
}

// Wake implements Devices. Without the kernel's messages nothing wakes, and the caller looks from time to time.
func (kernelDevices) Wake(ctx context.Context) (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	l, err := uevent.Listen()
	if err != nil {
		return wake, cancel
	}
	go func() {
		defer l.Close()
		for {
			if _, err := l.Next(ctx); err != nil && !errors.Is(err, uevent.ErrLost) {
				return
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}()
	return wake, cancel
}

// Blocks implements Devices.
func (kernelDevices) Blocks() (blockFacts, error) {
	f := blockFacts{UUIDs: map[string]string{}, Labels: map[string]string{}}
	if _, err := os.Stat(RootImage); err == nil {
		f.Image = true
	}
	devices, err := media.List("")
	if err != nil {
		return f, err
	}
	for _, d := range devices {
		f.Names = append(f.Names, media.Path(d.Name))
		f.look(media.Path(d.Name), d)
		for _, p := range d.Partitions {
			f.Names = append(f.Names, media.Path(p.Name))
			f.look(media.Path(p.Name), media.Device{})
		}
	}
	return f, nil
}

// look reads what is on one device. What cannot be read, such as a drive without a disc, has nothing.
func (f *blockFacts) look(name string, d media.Device) {
	r, err := os.Open(name)
	if err != nil {
		return
	}
	defer r.Close()
	if kind, err := media.FileSystem(r); err == nil && kind == media.ISO9660 {
		if label, err := media.Label(r, kind); err == nil {
			f.Labels[name] = label
		}
	}
	if len(d.Partitions) == 0 {
		return
	}
	uuids, err := media.PartitionUUIDs(r, d.Size)
	if err != nil {
		return
	}
	for _, p := range d.Partitions {
		f.UUIDs[media.Path(p.Name)] = uuids[p.Number]
	}
}

// Open implements Devices.
func (kernelDevices) Open(device string) (Blob, error) { return os.Open(device) }

// Loop implements Devices.
func (kernelDevices) Loop(file string) (string, func(), error) {
	d, err := loop.Attach(file)
	if err != nil {
		return "", nil, err
	}
	return d.Path, func() { _ = d.Close() }, nil
}

// Map implements Devices.
func (kernelDevices) Map(name string, table dm.Table) error {
	node, err := dm.Create(name, table, dm.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return os.Symlink(filepath.Join("..", filepath.Base(node)), mapped(name))
}

// Mapped implements Devices.
func (kernelDevices) Mapped(name string) (string, error) {
	node, err := filepath.EvalSymlinks(mapped(name))
	if err != nil {
		return "", fmt.Errorf("find the mapped device %s: %w", name, err)
	}
	return node, nil
}

// Protect implements Devices.
func (kernelDevices) Protect(device string) error { return blockdev.Protect(device) }

// Unmap implements Devices.
func (kernelDevices) Unmap(prefix string) ([]string, error) {
	names, err := dm.Names("")
	var gone []string
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if e := dm.Remove(name); e != nil {
			err = errors.Join(err, e)
			continue
		}
		gone = append(gone, name)
	}
	return gone, err
}

func mapped(name string) string { return filepath.Join("/dev/mapper", name) }

// SwitchRoot implements Devices.
func (kernelDevices) SwitchRoot(root string, moved ...string) error {
	return mount.SwitchRoot(root, moved...)
}

// Copy implements Files.
func (r rooted) Copy(from, to string, mode fs.FileMode) (err error) {
	in, err := os.Open(r.path(from))
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(r.path(to)), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(r.path(to), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Probe answers the kernel's request for modules, as modprobe(8) does: args are options, of which those are passed over that
// ask for silence, and names or aliases. That nothing serves an alias is an error.
func Probe(ctx context.Context, args []string) error {
	names := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-q" || a == "-s" || a == "--" })
	if len(names) == 0 {
		return errors.New("modprobe: name a module")
	}
	if names[0] == "" || names[0][0] == '-' {
		return fmt.Errorf("modprobe: the option %q is not known", names[0])
	}
	// The kernel asks with the name of the module first; what follows are parameters, which nobody gives here.
	return new(Drivers).Names(ctx, names[0])
}
