package mount

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"talos.internal/internal/sys/proc"
)

// Spec declares a mount.
//
// With a type it is a file system of that type; with [Bind] in its flags it is the path Source, shown at Target, too; with
// neither it is about what is mounted at Target already, and changes its flags and its propagation; if it says a
// propagation and no flags, that alone.
type Spec struct {
	Source string // empty means the type, as with tmpfs
	Target string // absolute and clean, without symbolic links in it
	Type   string
	// Flags of the mount; [Bind], and with it [Rec]. Of ro, nosuid, nodev, noexec and nosymfollow exactly those that are
	// here will be on the mount; the others (access times, sync) are used for a new mount and not compared.
	Flags Flags
	// Data are options of the file system, for a new mount. Those of a mount that is there are not compared: the kernel
	// shows them otherwise than they were given.
	Data string
	// Propagation is [Shared], [Slave], [Private] or [Unbindable], with [Rec] for all mounts below; zero leaves it.
	Propagation Flags
	Mode        fs.FileMode // of a Target that has to be made; zero means 0o755
	File        bool        // Target is a file, for a bind mount of a file
}

// Step is one part of a plan: a mount point to be made, or a call.
type Step struct {
	Make   bool // make the mount point; Call is empty but for Target
	Call   Call
	Reason string // why it is needed
}

// String returns the step in one line, as a log has it.
func (s Step) String() string {
	if s.Make {
		return "make mount point " + s.Call.Target
	}
	return s.Call.String() + ": " + s.Reason
}

func (s Spec) check() error {
	switch {
	case !path.IsAbs(s.Target) || path.Clean(s.Target) != s.Target:
		return fmt.Errorf("mount spec for %q: the target is no clean absolute path: %w", s.Target, syscall.EINVAL)
	case s.Flags&Bind != 0 && (!path.IsAbs(s.Source) || path.Clean(s.Source) != s.Source):
		return fmt.Errorf("mount spec for %s: the source %q is no clean absolute path: %w", s.Target, s.Source, syscall.EINVAL)
	case s.Flags&Bind != 0 && s.Type != "":
		return fmt.Errorf("mount spec for %s: a bind mount has no type: %w", s.Target, syscall.EINVAL)
	case s.Flags&(Remount|Move|propagation) != 0:
		return fmt.Errorf("mount spec for %s: %s is no flag of a mount: %w", s.Target, s.Flags&(Remount|Move|propagation), syscall.EINVAL)
	}
	return nil
}

// Plan returns the steps that bring the mounts of table to what spec declares; none if they are there.
//
// The topmost mount at the target is taken for the one that is meant if its type is that of the spec, or for a bind mount
// if it shows the same part of the same file system. Its flags are changed where they differ: on the mount alone, and
// only if the file system itself is read-only and the spec is not, on that too. Anything else at the target is left
// there, and what is declared is mounted on top of it.
//
// The error wraps fs.ErrNotExist if the spec is about a mount that is not there, and EINVAL if it makes no sense.
func Plan(spec Spec, table []proc.MountInfo) ([]Step, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	var steps []Step
	have, ok := Top(table, spec.Target)
	fresh := spec.Type != "" || spec.Flags&Bind != 0
	switch {
	case !ok && !fresh:
		return nil, fmt.Errorf("change mount %s: nothing is mounted there: %w", spec.Target, fs.ErrNotExist)
	case !ok:
		steps = append(steps, spec.mount("nothing is mounted there")...)
	case fresh && !spec.is(have, table):
		steps = append(steps, spec.mount("there is "+have.Type)...)
	case fresh || spec.Flags != 0 || spec.Propagation == 0:
		steps = spec.remount(have)
	}
	if p := spec.Propagation & propagation; p != 0 && (!ok || len(steps) > 0 || !propagates(have, p) || spec.Propagation&Rec != 0 && !treePropagates(table, have.ID, p)) {
		steps = append(steps, Step{
			Call:   Call{Target: spec.Target, Flags: spec.Propagation & (propagation | Rec)},
			Reason: "propagation differs",
		})
	}
	return steps, nil
}

func (s Spec) mount(reason string) []Step {
	steps := []Step{{Make: true, Call: Call{Target: s.Target}, Reason: reason}}
	if s.Flags&Bind != 0 {
		steps = append(steps, Step{Call: Call{Source: s.Source, Target: s.Target, Flags: s.Flags & (Bind | Rec)}, Reason: reason})
		if f := s.Flags &^ (Bind | Rec); f != 0 {
			steps = append(steps, Step{Call: Call{Target: s.Target, Flags: Remount | Bind | f}, Reason: "a new bind mount takes no flags"})
		}
		return steps
	}
	source := s.Source
	if source == "" {
		source = s.Type
	}
	return append(steps, Step{Call: Call{Source: source, Target: s.Target, Type: s.Type, Flags: s.Flags, Data: s.Data}, Reason: reason})
}

// is reports whether a mount is the one that the spec declares, its flags aside.
func (s Spec) is(have proc.MountInfo, table []proc.MountInfo) bool {
	if s.Flags&Bind == 0 {
		return have.Type == s.Type
	}
	on, ok := holding(table, s.Source)
	if !ok {
		return false
	}
	root := path.Join(on.Root, strings.TrimPrefix(s.Source, on.Point))
	return on.ID != have.ID && have.Major == on.Major && have.Minor == on.Minor && have.Root == root
}

func (s Spec) remount(have proc.MountInfo) []Step {
	want := s.Flags & perMount
	is, _ := ParseOptions(have.Options)
	is &= perMount
	if want&ReadOnly == 0 && have.HasSuperOption("ro") {
		return []Step{{Call: Call{Target: s.Target, Flags: Remount | want}, Reason: "the file system is read-only"}}
	}
	if is == want {
		return nil
	}
	return []Step{{
		Call:   Call{Target: s.Target, Flags: Remount | Bind | want},
		Reason: fmt.Sprintf("it has %q", is),
	}}
}

func propagates(m proc.MountInfo, kind Flags) bool {
	switch kind {
	case Shared:
		return m.Shared != 0
	case Slave:
		// The slave of nobody is private, and the kernel makes it that at once.
		return m.Shared == 0 && !m.Unbindable
	case Unbindable:
		return m.Unbindable
	default:
		return m.Shared == 0 && m.Master == 0 && !m.Unbindable
	}
}

// treePropagates reports whether all mounts that stand on the mount id, directly or not, propagate in the way of kind.
func treePropagates(table []proc.MountInfo, id int, kind Flags) bool {
	parents := make(map[int]int, len(table))
	for _, m := range table {
		parents[m.ID] = m.Parent
	}
	for _, m := range table {
		if propagates(m, kind) {
			continue
		}
		// A walk up is as long as the table at most: mounts that are not in it, or in a circle, end it.
		for at, n := m.Parent, 0; n < len(table); n++ {
			if at == id {
				return false
			}
			at = parents[at]
		}
	}
	return true
}

// Ensure brings the mounts to what the specs declare, in their order, and returns the steps that it took. It stops at the
// first error; the steps before it were taken. Doing it again does what is missing, so nothing if all is there.
func Ensure(v Verbs, specs ...Spec) ([]Step, error) {
	var done []Step
	for _, spec := range specs {
		// A mount may change the table for the specs that follow.
		table, err := v.Table()
		if err != nil {
			return done, fmt.Errorf("mount %s: %w", spec.Target, err)
		}
		steps, err := Plan(spec, table)
		if err != nil {
			return done, err
		}
		for _, s := range steps {
			if s.Make {
				mode := spec.Mode
				if mode == 0 {
					mode = 0o755
				}
				err = v.MakePoint(spec.Target, spec.File, mode)
			} else {
				err = v.Mount(s.Call)
			}
			if err != nil {
				return done, err
			}
			done = append(done, s)
		}
	}
	return done, nil
}

// UnmountBelow takes off all mounts at dir and in it, the upper before the lower, and returns their points in that order.
// What is busy is detached if flags has [Detach]. It goes on after an error, since each mount that is gone counts at
// shutdown, and returns the first.
func UnmountBelow(v Verbs, dir string, flags UnmountFlags) ([]string, error) {
	table, err := v.Table()
	if err != nil {
		return nil, err
	}
	var done []string
	var first error
	for _, point := range Below(table, dir) {
		if err := v.Unmount(point, flags); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		done = append(done, point)
	}
	return done, first
}
