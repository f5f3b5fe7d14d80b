package mount

import (
	"io/fs"
	"syscall"

	"talos.internal/internal/sys/proc"
)

// Verbs are the operations on the mounts that a process sees. Paths are absolute, and clean as filepath.Clean makes them.
//
// Errors say what was done to what, and wrap a syscall.Errno: EINVAL where the target or the source of a move is no mount
// point, ENOENT (fs.ErrNotExist), EBUSY ([ErrBusy]), EPERM (fs.ErrPermission), ENODEV for a type that the kernel lacks.
// After an error nothing has changed.
type Verbs interface {
	// Mount is mount(2): see [Call].
	Mount(c Call) error

	// Unmount takes off the topmost mount at target. It is ErrBusy if something is mounted below or a file of it is
	// open, unless flags has [Detach].
	Unmount(target string, flags UnmountFlags) error

	// Table lists all mounts, in no order that means something.
	Table() ([]proc.MountInfo, error)

	// Usage tells how full the file system at path is. It waits for as long as the file system does not answer,
	// which for one on a network can be for ever.
	Usage(path string) (Usage, error)

	// MakePoint makes the directory path, or with file an empty file, and the directories above it, unless it is
	// there. New directories get mode, new files mode without execution. It is an error if path or something above it
	// is a symbolic link: a mount through one would be found at another path than that which was asked for.
	MakePoint(path string, file bool, mode fs.FileMode) error
}

// ErrBusy is wrapped by the errors for a mount that is in use.
const ErrBusy = syscall.EBUSY

// Call are the arguments of mount(2), whose flags decide what is done: [Remount], [Bind], [Move], a kind of propagation,
// or, without any of them, a new mount. With Bind a new mount takes no other flag but [Rec]; the kernel ignores them.
type Call struct {
	Source string // a device, a path, or any text where the type needs none
	Target string
	Type   string
	Flags  Flags
	Data   string // options of the file system
}

// String returns the call in one line, as a log has it.
func (c Call) String() string {
	verb, from := "mount", ""
	switch {
	case c.Flags&Remount != 0:
		verb = "remount"
	case c.Flags&Bind != 0:
		verb, from = "bind", c.Source
	case c.Flags&Move != 0:
		verb, from = "move", c.Source
	case c.Flags&propagation != 0:
		verb = "propagate"
	default:
		from = c.Type
		if c.Source != "" && c.Source != c.Type {
			from += " " + c.Source
		}
	}
	s := verb
	if from != "" {
		s += " " + from + " on"
	}
	s += " " + c.Target
	words := (c.Flags &^ (Remount | Bind | Move)).String()
	if c.Flags&Remount != 0 {
		words = (c.Flags &^ Remount).String()
	}
	if c.Data != "" {
		if words != "" {
			words += ","
		}
		words += c.Data
	}
	if words != "" {
		s += " (" + words + ")"
	}
	return s
}

// Usage is how full a file system is.
type Usage struct {
	Size, Used, Available          uint64 // bytes; Available is what an unprivileged user may still write
	Inodes, InodesUsed, InodesFree uint64 // zero where a file system makes them as it needs them
}

// BindTo shows the file or directory source at target, too. Flags may be [Rec], and flags of a mount, which are set on
// the new mount alone, in a second call; if that fails the mount is taken off again.
func BindTo(v Verbs, source, target string, flags Flags) error {
	if err := v.Mount(Call{Source: source, Target: target, Flags: Bind | flags&Rec}); err != nil {
		return err
	}
	if flags &^= Rec; flags == 0 {
		return nil
	}
	if err := v.Mount(Call{Target: target, Flags: Remount | Bind | flags}); err != nil {
		_ = v.Unmount(target, Detach)
		return err
	}
	return nil
}

// Propagate changes who else sees mounts below target: kind is [Shared], [Slave], [Private] or [Unbindable], with [Rec]
// for all mounts below, too.
func Propagate(v Verbs, target string, kind Flags) error {
	return v.Mount(Call{Target: target, Flags: kind & (propagation | Rec)})
}

// MoveTo moves the mount at source, with all below it, to target. A mount that stands on a shared one cannot be moved.
func MoveTo(v Verbs, source, target string) error {
	return v.Mount(Call{Source: source, Target: target, Flags: Move})
}
