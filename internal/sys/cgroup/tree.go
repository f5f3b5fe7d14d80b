package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"talos.internal/internal/sys/proc"
)

// Version is which of the two designs a tree has.
type Version int

// The versions.
const (
	V1 Version = 1
	V2 Version = 2
)

// controllers are those of v1 that a group takes part in. cpuset is not: a new group of it takes no process before
// somebody chose CPUs for it. Container runtimes use what else there is by themselves.
var controllers = []string{"memory", "cpu", "cpuacct", "pids", "freezer"}

// Tree is a hierarchy of groups.
type Tree struct {
	version Version
	dirs    map[string]string // of each controller with v1; of "" with v2
	root    string            // where proc is

	// The kernel fills a new directory with files, and removes one that has them. A directory of a test does neither.
	mkdir func(string) error
	rmdir func(string) error
	kill  func(pid int, sig syscall.Signal) error
}

// Detect finds the tree that is mounted. root is put before every path; empty means "/". The error is fs.ErrNotExist if
// there is none.
func Detect(root string) (*Tree, error) {
	mounts, err := proc.Reader{Root: root}.MountInfo()
	if err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	t := &Tree{root: root, mkdir: mkdir, rmdir: syscall.Rmdir, kill: syscall.Kill}
	t.version, t.dirs = choose(mounts)
	if t.dirs == nil {
		return nil, fmt.Errorf("find cgroups: no controller is mounted: %w", fs.ErrNotExist)
	}
	for c, dir := range t.dirs {
		t.dirs[c] = filepath.Join("/", root, dir)
	}
	return t, nil
}

// VersionOf returns the version of the tree that [Detect] finds in a table of mounts; 0 if there is none.
func VersionOf(table []proc.MountInfo) Version {
	v, _ := choose(table)
	return v
}

// Controls reports whether a mount is part of the tree of that version: a hierarchy in which groups are made.
func (v Version) Controls(m proc.MountInfo) bool {
	if v == V2 {
		return m.Type == "cgroup2"
	}
	return m.Type == "cgroup" && slices.ContainsFunc(controllers, m.HasSuperOption)
}

// choose decides which mounts are the tree.
func choose(mounts []proc.MountInfo) (Version, map[string]string) {
	v1, v2 := map[string]string{}, ""
	for _, m := range mounts {
		switch m.Type {
		case "cgroup":
			for _, c := range controllers {
				if m.HasSuperOption(c) {
					v1[c] = m.Point
				}
			}
		case "cgroup2":
			v2 = m.Point
		}
	}
	switch {
	case len(v1) > 0:
		return V1, v1
	case v2 != "":
		return V2, map[string]string{"": v2}
	}
	return 0, nil
}

func mkdir(dir string) error { return os.Mkdir(dir, 0o755) }

// Version returns the design of the tree.
func (t *Tree) Version() Version { return t.version }

// Controllers returns what the groups of the tree can hold a process to, in alphabetical order.
func (t *Tree) Controllers() ([]string, error) {
	var out []string
	if t.version == V1 {
		for c := range t.dirs {
			out = append(out, c)
		}
		slices.Sort(out)
		return out, nil
	}
	text, err := os.ReadFile(filepath.Join(t.dirs[""], "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	out = strings.Fields(string(text))
	slices.Sort(out)
	return out, nil
}

// Of returns the path of the group that a process is in: with v1 that of the memory controller, or of the first that
// there is. It is seen from the root of this process's cgroup namespace, which need not be where the tree is mounted. The
// error is fs.ErrNotExist if there is no such process.
func (t *Tree) Of(pid int) (string, error) {
	list, err := membership(t.root, pid)
	if err != nil {
		return "", err
	}
	want := controllers
	if t.version == V2 {
		want = []string{""}
	}
	for _, c := range want {
		for _, m := range list {
			if c == "" && len(m.Controllers) == 0 || slices.Contains(m.Controllers, c) {
				return m.Path, nil
			}
		}
	}
	return "", fmt.Errorf("group of process %d: %w", pid, fs.ErrNotExist)
}

// Group returns the group of a path, which need not exist. ".." does not lead out of the tree.
func (t *Tree) Group(p string) Group { return Group{t, path.Clean("/" + p)} }

// Group is a path in a tree.
type Group struct {
	t    *Tree
	path string
}

// Path returns the path of the group, from "/".
func (g Group) Path() string { return g.path }

// dir returns the directory of the group for a controller; false if there is none.
func (g Group) dir(controller string) (string, bool) {
	if g.t.version == V2 {
		controller = ""
	}
	d, ok := g.t.dirs[controller]
	return filepath.Join(d, g.path), ok
}

// all returns the directories of the group, one for each hierarchy: several controllers can share one.
func (g Group) all() []string {
	var out []string
	for _, c := range append([]string{""}, controllers...) {
		if d, ok := g.t.dirs[c]; ok {
			if d = filepath.Join(d, g.path); !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// Create makes the group and those above it, and with v2 gives them all controllers that there are. What is there already
// is left.
//
// With v2 a group that has processes itself cannot give controllers to groups below, but for the root of the machine: the
// error wraps syscall.EBUSY, and [Group.Evacuate] helps. After an error some of it may have been made.
func (g Group) Create() error {
	for _, dir := range g.all() {
		base := strings.TrimSuffix(dir, g.path)
		if g.path == "/" {
			base = dir
		}
		at := base
		for _, part := range strings.Split(strings.Trim(g.path, "/"), "/") {
			if part == "" {
				continue
			}
			if g.t.version == V2 {
				if err := enable(at); err != nil {
					return err
				}
			}
			at = filepath.Join(at, part)
			if err := g.t.mkdir(at); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("create group %s: %w", g.path, err)
			}
		}
	}
	return nil
}

// enable gives the groups below dir all controllers that dir has.
func enable(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	given, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	var add []string
	for _, c := range strings.Fields(string(have)) {
		if !slices.Contains(strings.Fields(string(given)), c) {
			add = append(add, "+"+c)
		}
	}
	if len(add) == 0 {
		return nil
	}
	return write(filepath.Join(dir, "cgroup.subtree_control"), strings.Join(add, " "))
}

// write writes to a file of the kernel, which has to be there.
func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Exists reports whether the group is there in all its hierarchies.
func (g Group) Exists() bool {
	for _, dir := range g.all() {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return false
		}
	}
	return true
}

// Remove removes the group and the groups below it. It is no error if there is none. The error wraps syscall.EBUSY if
// there are processes in one of them; the others below may be gone. The root of the tree is not removed: EBUSY, too.
func (g Group) Remove() error {
	if g.path == "/" {
		return fmt.Errorf("remove group /: %w", syscall.EBUSY)
	}
	var first error
	for _, dir := range g.all() {
		if err := g.remove(dir); err != nil && first == nil {
			first = fmt.Errorf("remove group %s (%s): %w", g.path, dir, err)
		}
	}
	return first
}

func (g Group) remove(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := g.remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := g.t.rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
