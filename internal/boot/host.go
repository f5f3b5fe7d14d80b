package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/devnode"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// Host is what plans act on. [NewHost] is the kernel; tests have others.
type Host struct {
	Mounts    mount.Verbs
	Files     Files
	Groups    Groups
	Processes Processes
	Machine   process.Machine
	Services  Services // may be nil before there are any
	Devices   Devices  // may be nil in a container, whose devices are the host's
	// Extend measures into a register of the TPM, as pcr.Extend does; nil is no TPM.
	Extend func(register int, data []byte) error
}

// Files are the operations on files that plans need. Paths are absolute and clean.
type Files interface {
	// MakeDir makes a directory, and those above it with mode 0755, and gives it the mode and the owner, if it has others.
	MakeDir(path string, mode fs.FileMode, uid, gid int) error
	// MakeLink makes a symbolic link. What is there already is left if it is a link to the same target, or a directory.
	MakeLink(path, target string) error
	// MakeNodes makes the devices and links that are missing, and returns their paths.
	MakeNodes(nodes ...devnode.Node) ([]string, error)
	// Empty removes all that is in a directory and follows no link. It leaves the directories of keep, which are mount
	// points, with what is in them. It goes on after an error.
	Empty(path string, keep []string) error
	// SyncAt writes what the file system holds back that a path is on. A path that is not there has nothing.
	SyncAt(path string) error
	// Copy copies a file, and makes the directories above the new one. What was there is replaced.
	Copy(from, to string, mode fs.FileMode) error
}

// Groups are the operations on cgroups that plans need.
type Groups interface {
	// Vacate moves this process into the group leaf, so that there can be others beside it.
	Vacate(leaf string) error
	// Create makes a group.
	Create(path string) error
	// SetLimits sets the limits of a group, as far as the machine's cgroups have such limits.
	SetLimits(path string, l cgroup.Limits) error
}

// Processes are the operations on processes that plans need.
type Processes interface {
	// SetLimit sets both limits of a resource of this process to n, or to the hard limit it has if it may not have more. It
	// returns what was set.
	SetLimit(resource string, n uint64) (uint64, error)
	// AdoptOrphans makes this process the parent of its orphaned descendants.
	AdoptOrphans() error
	// SetSysctl sets a parameter of the kernel: "net.ipv4.ip_forward".
	SetSysctl(key, value string) error
	// Others lists the processes of this pid namespace that run a program, but this one: "12 (kubelet)".
	Others() ([]string, error)
}

// Services are the services of the node. *supervise.Supervisor is one.
type Services interface {
	// DenyStarts lets no service start any more, for good.
	DenyStarts()
	// StopAll stops all services in their order, within the time that ctx has.
	StopAll(ctx context.Context) error
}

// NewHost returns the kernel that runs this process. root is put before every path but that of proc; empty means "/".
func NewHost(root string, services Services) *Host {
	return &Host{
		Mounts: mount.Kernel{Root: root}, Files: rooted(root), Groups: groups(root), Processes: processes{}, Machine: process.Kernel{},
		Services: services, Devices: kernelDevices{new(Drivers)}, Extend: pcr.Extend,
	}
}

// rooted are the files below a directory.
type rooted string

func (r rooted) path(p string) string { return filepath.Join("/", string(r), p) }

// MakeDir implements Files.
func (r rooted) MakeDir(p string, mode fs.FileMode, uid, gid int) error {
	file := r.path(p)
	err := os.MkdirAll(file, 0o755)
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w; the image lacks the directory", err)
	}
	if err != nil {
		return err
	}
	st, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return &fs.PathError{Op: "make directory", Path: p, Err: syscall.ENOTDIR}
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != uid || int(sys.Gid) != gid {
		if err := os.Lchown(file, uid, gid); err != nil {
			return err
		}
	}
	const bits = fs.ModePerm | fs.ModeSticky
	if st.Mode()&bits != mode&bits {
		return os.Chmod(file, mode&bits)
	}
	return nil
}

// MakeLink implements Files.
func (r rooted) MakeLink(p, target string) error {
	file := r.path(p)
	if st, err := os.Stat(file); err == nil && st.IsDir() {
		return nil
	}
	if have, err := os.Readlink(file); err == nil && have == target {
		return nil
	}
	return os.Symlink(target, file)
}

// MakeNodes implements Files.
func (r rooted) MakeNodes(nodes ...devnode.Node) ([]string, error) {
	return devnode.Ensure(string(r), nodes...)
}

// Empty implements Files.
func (r rooted) Empty(p string, keep []string) error {
	entries, err := os.ReadDir(r.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := filepath.Join(p, e.Name())
		if slices.Contains(keep, name) {
			continue
		}
		// Only what has a mount in it is gone through here: RemoveAll does not look at mounts.
		if slices.ContainsFunc(keep, func(k string) bool { return strings.HasPrefix(k, name+"/") }) {
			errs = append(errs, r.Empty(name, keep))
			continue
		}
		if err := os.RemoveAll(r.path(name)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// SyncAt implements Files.
func (r rooted) SyncAt(p string) error {
	err := mount.SyncAt(r.path(p))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// groups are the cgroups that are mounted below a root. They are looked for each time, since a plan mounts.
type groups string

// Vacate implements Groups.
func (g groups) Vacate(leaf string) error {
	tree, err := cgroup.Detect(string(g))
	if err == nil {
		_, err = tree.Group("/").Vacate(leaf)
	}
	return err
}

// Create implements Groups.
func (g groups) Create(p string) error {
	tree, err := cgroup.Detect(string(g))
	if err == nil {
		err = tree.Group(p).Create()
	}
	return err
}

// SetLimits implements Groups.
func (g groups) SetLimits(p string, l cgroup.Limits) error {
	tree, err := cgroup.Detect(string(g))
	if err == nil {
		_, err = tree.Group(p).SetLimits(l)
	}
	return err
}

type processes struct{}

// SetLimit implements Processes.
func (processes) SetLimit(resource string, n uint64) (uint64, error) {
	id, err := process.ParseLimit(resource)
	if err != nil {
		return 0, err
	}
	got, err := process.SetLimitWithin(0, nil, id, process.Limit{Soft: n, Hard: n})
	return got.Soft, err
}

// AdoptOrphans implements Processes.
func (processes) AdoptOrphans() error { return process.BecomeSubreaper() }

// SetSysctl implements Processes.
func (processes) SetSysctl(key, value string) error { return proc.Reader{}.SetSysctl(key, value) }

// Others implements Processes. Threads of the kernel, and processes that have ended and wait to be collected, have no
// program.
func (processes) Others() ([]string, error) {
	list, err := proc.Reader{}.Processes()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range list {
		if p.PID != os.Getpid() && (p.Executable != "" || len(p.Args) > 0) {
			out = append(out, fmt.Sprintf("%d (%s)", p.PID, p.Comm))
		}
	}
	return out, nil
}
