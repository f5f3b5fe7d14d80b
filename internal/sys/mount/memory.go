package mount

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"talos.internal/internal/sys/proc"
)

// Memory are [Verbs] on a tree of mounts in memory, for tests: the fake that passes the same suite as [Kernel].
//
// It knows directories and files by name, keeps those of each file system apart, and gives the kernel's errors. What it
// does not do: mounts do not propagate to peers, any type but those of Missing can be mounted, and Usage is always zero.
//
// Use NewMemory to make one. It is safe for concurrent use, but for the fields, which are set before.
type Memory struct {
	FailAt  int      // the verb, from 1, that fails without doing anything; 0 for none. Table and Usage are no such verbs
	FailErr error    // what it fails with; nil means EIO
	Missing []string // types that this kernel does not have
	Open    []string // points whose mounts have open files, and so are busy

	mu     sync.Mutex
	log    []string
	mounts []*memMount
	ids    int
	groups int
	minors uint32
}

// memFS is a file system: what paths it has, true for a directory.
type memFS struct {
	minor    uint32
	kind     string
	source   string
	data     string
	readOnly bool
	paths    map[string]bool
}

type memMount struct {
	id     int
	on     *memMount // nil for the root
	at     string    // where, in the file system of on
	fs     *memFS
	root   string // what of fs is shown
	flags  Flags
	spread Flags // Shared, Private or Unbindable
	group  int
}

// NewMemory returns a tree with one mount: a writable tmpfs at "/" with the directories given.
func NewMemory(dirs ...string) *Memory {
	m := &Memory{}
	m.mounts = []*memMount{m.make(nil, "/", m.newFS("tmpfs", "rootfs", ""), "/")}
	for _, d := range dirs {
		// It can only fail for a relative path, which is a mistake in the test that the first mount shows.
		_ = m.point(d, false)
	}
	return m
}

// Log returns the verbs so far, one line each, those that failed included.
func (m *Memory) Log() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.log)
}

func (m *Memory) newFS(kind, source, data string) *memFS {
	m.minors++
	return &memFS{minor: m.minors, kind: kind, source: source, data: data, paths: map[string]bool{"/": true}}
}

func (m *Memory) make(on *memMount, at string, f *memFS, root string) *memMount {
	m.ids++
	return &memMount{id: m.ids, on: on, at: at, fs: f, root: root, spread: Private}
}

// record notes a verb, and fails if it is the one that has to.
func (m *Memory) record(what string) error {
	m.log = append(m.log, what)
	if m.FailAt != len(m.log) {
		return nil
	}
	if m.FailErr != nil {
		return fmt.Errorf("%s: %w", what, m.FailErr)
	}
	return fmt.Errorf("%s: %w", what, syscall.EIO)
}

// top returns the mount that is seen at a place of a file system of a mount.
func (m *Memory) top(on *memMount, at string) *memMount {
	for {
		i := slices.IndexFunc(m.mounts, func(x *memMount) bool { return x.on == on && x.at == at })
		if i < 0 {
			return on
		}
		on, at = m.mounts[i], m.mounts[i].root
	}
}

// find walks a path, and returns the mount that it ends on, the place in its file system, and whether that is a directory.
func (m *Memory) find(p string) (on *memMount, at string, dir bool, err error) {
	on = m.top(m.mounts[0], "/")
	at, dir = on.root, on.fs.paths[on.root]
	for _, part := range strings.Split(strings.Trim(p, "/"), "/") {
		if part == "" {
			continue
		}
		if !dir {
			return nil, "", false, syscall.ENOTDIR
		}
		at = path.Join(at, part)
		var ok bool
		if dir, ok = on.fs.paths[at]; !ok {
			return nil, "", false, syscall.ENOENT
		}
		if over := m.top(on, at); over != on {
			on, at, dir = over, over.root, over.fs.paths[over.root]
		}
	}
	return on, at, dir, nil
}

// mountAt returns the mount whose root a path is.
func (m *Memory) mountAt(p string) (*memMount, error) {
	on, at, _, err := m.find(p)
	if err != nil {
		return nil, err
	}
	if at != on.root || p != "/" && m.pointOf(on) != p {
		return nil, syscall.EINVAL
	}
	return on, nil
}

// pointOf returns where a mount is seen.
func (m *Memory) pointOf(x *memMount) string {
	if x.on == nil {
		return "/"
	}
	rel := strings.TrimPrefix(x.at, x.on.root)
	if x.on.root == "/" {
		rel = x.at
	}
	return path.Join(m.pointOf(x.on), rel)
}

// Mount implements [Verbs].
func (m *Memory) Mount(c Call) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.record(c.String()); err != nil {
		return err
	}
	var err error
	switch {
	case c.Flags&Remount != 0:
		err = m.remount(c)
	case c.Flags&Bind != 0:
		err = m.bind(c)
	case c.Flags&propagation != 0:
		err = m.propagate(c)
	case c.Flags&Move != 0:
		err = m.move(c)
	default:
		err = m.mountNew(c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

func (m *Memory) mountNew(c Call) error {
	on, at, dir, err := m.find(c.Target)
	if err != nil {
		return err
	}
	if slices.Contains(m.Missing, c.Type) || c.Type == "" {
		return syscall.ENODEV
	}
	if !dir {
		return syscall.ENOTDIR
	}
	x := m.make(on, at, m.newFS(c.Type, c.Source, c.Data), "/")
	x.flags, x.fs.readOnly = c.Flags&perMount, c.Flags&ReadOnly != 0
	m.attach(x)
	return nil
}

// attach adds a mount. Below a shared mount it is shared, too.
func (m *Memory) attach(x *memMount) {
	if x.on.spread == Shared && x.spread != Shared {
		m.groups++
		x.spread, x.group = Shared, m.groups
	}
	m.mounts = append(m.mounts, x)
}

func (m *Memory) remount(c Call) error {
	x, err := m.mountAt(c.Target)
	if err != nil {
		return err
	}
	if c.Flags&Bind == 0 {
		x.fs.readOnly = c.Flags&ReadOnly != 0
	}
	x.flags = c.Flags & perMount
	return nil
}

func (m *Memory) bind(c Call) error {
	from, root, fromDir, err := m.find(c.Source)
	if err != nil {
		return err
	}
	on, at, dir, err := m.find(c.Target)
	if err != nil {
		return err
	}
	if from.spread == Unbindable {
		return syscall.EINVAL
	}
	if dir != fromDir {
		return syscall.ENOTDIR
	}
	x := m.copyOf(from, on, at)
	x.root = root
	under := m.under(from)
	m.attach(x)
	if c.Flags&Rec == 0 {
		return nil
	}
	copies := map[*memMount]*memMount{from: x}
	for _, y := range under {
		on := copies[y.on]
		if on == nil || y.spread == Unbindable || y.on == from && !below(y.at, root) {
			continue
		}
		copies[y] = m.copyOf(y, on, y.at)
		m.attach(copies[y])
	}
	return nil
}

// copyOf makes a mount that shows the same as x. It joins the peer group of x.
func (m *Memory) copyOf(x, on *memMount, at string) *memMount {
	y := m.make(on, at, x.fs, x.root)
	y.flags, y.spread, y.group = x.flags, x.spread, x.group
	return y
}

// under returns the mounts that stand on x, directly or not, the lower first.
func (m *Memory) under(x *memMount) []*memMount {
	in := map[*memMount]bool{x: true}
	var out []*memMount
	for grown := true; grown; {
		grown = false
		for _, y := range m.mounts {
			if y.on != nil && in[y.on] && !in[y] {
				in[y], grown = true, true
				out = append(out, y)
			}
		}
	}
	return out
}

func (m *Memory) propagate(c Call) error {
	x, err := m.mountAt(c.Target)
	if err != nil {
		return err
	}
	all := []*memMount{x}
	if c.Flags&Rec != 0 {
		all = append(all, m.under(x)...)
	}
	for _, y := range all {
		was := y.spread
		// Without peers a slave is private.
		y.spread = map[Flags]Flags{Shared: Shared, Unbindable: Unbindable}[c.Flags&propagation]
		if y.spread == 0 {
			y.spread = Private
		}
		if y.spread != Shared {
			y.group = 0
		} else if was != Shared {
			m.groups++
			y.group = m.groups
		}
	}
	return nil
}

func (m *Memory) move(c Call) error {
	x, err := m.mountAt(c.Source)
	if err != nil {
		return err
	}
	on, at, dir, err := m.find(c.Target)
	if err != nil {
		return err
	}
	if x.on == nil || x.on.spread == Shared {
		return syscall.EINVAL
	}
	if dir != x.fs.paths[x.root] {
		return syscall.ENOTDIR
	}
	if on == x || slices.Contains(m.under(x), on) {
		return syscall.ELOOP
	}
	x.on, x.at = on, at
	return nil
}

// Unmount implements [Verbs].
func (m *Memory) Unmount(target string, flags UnmountFlags) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	what := "unmount " + target
	if flags&Detach != 0 {
		what = "detach " + target
	}
	err := m.record(what)
	if err != nil {
		return err
	}
	x, err := m.mountAt(target)
	if err == nil && x.on == nil {
		err = syscall.EINVAL
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	gone := append(m.under(x), x)
	if flags&Detach == 0 && (len(gone) > 1 || slices.Contains(m.Open, target)) {
		return fmt.Errorf("%s: %w", what, ErrBusy)
	}
	m.mounts = slices.DeleteFunc(m.mounts, func(y *memMount) bool { return slices.Contains(gone, y) })
	return nil
}

// Table implements [Verbs].
func (m *Memory) Table() ([]proc.MountInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []proc.MountInfo
	for _, x := range m.mounts {
		info := proc.MountInfo{
			ID: x.id, Minor: x.fs.minor, Root: x.root, Point: m.pointOf(x), Shared: x.group, Unbindable: x.spread == Unbindable,
			Type: x.fs.kind, Source: x.fs.source, Options: words(x.flags), SuperOptions: words(0),
		}
		if x.on != nil {
			info.Parent = x.on.id
		}
		if x.fs.readOnly {
			info.SuperOptions = words(ReadOnly)
		}
		if x.fs.data != "" {
			info.SuperOptions = append(info.SuperOptions, strings.Split(x.fs.data, ",")...)
		}
		out = append(out, info)
	}
	return out, nil
}

func words(f Flags) []string {
	if f&ReadOnly == 0 {
		if f == 0 {
			return []string{"rw"}
		}
		return append([]string{"rw"}, strings.Split(f.String(), ",")...)
	}
	return strings.Split(f.String(), ",")
}

// Usage implements [Verbs]: it is zero for a path that is there.
func (m *Memory) Usage(p string) (Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, _, _, err := m.find(p); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: p, Err: err}
	}
	return Usage{}, nil
}

// MakePoint implements [Verbs].
func (m *Memory) MakePoint(p string, file bool, mode fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.record("make mount point " + p); err != nil {
		return err
	}
	if err := m.point(p, file); err != nil {
		return fmt.Errorf("make mount point %s: %w", p, err)
	}
	return nil
}

func (m *Memory) point(p string, file bool) error {
	on, at, dir, err := m.find("/")
	if err != nil {
		return err
	}
	parts := strings.Split(strings.Trim(p, "/"), "/")
	for i, part := range parts {
		if part == "" {
			continue
		}
		if !dir {
			return syscall.ENOTDIR
		}
		at = path.Join(at, part)
		last := i == len(parts)-1
		is, ok := on.fs.paths[at]
		switch {
		case !ok && (on.fs.readOnly || on.flags&ReadOnly != 0):
			return syscall.EROFS
		case !ok:
			is = !last || !file
			on.fs.paths[at] = is
		case last && file && is:
			return syscall.EISDIR
		case last && !file && !is:
			return syscall.ENOTDIR
		}
		dir = is
		if over := m.top(on, at); over != on {
			on, at, dir = over, over.root, over.fs.paths[over.root]
		}
	}
	return nil
}
