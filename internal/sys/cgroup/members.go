package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Membership is one line of a process's cgroup file: where in a hierarchy it is.
type Membership struct {
	Hierarchy   int      // 0 for v2
	Controllers []string // none for v2; "name=…" for a v1 hierarchy without controllers
	Path        string
}

// ParseMembership parses cgroup of a process (cgroups(7)).
func ParseMembership(r io.Reader) ([]Membership, error) {
	var out []Membership
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		if s.Text() == "" {
			continue
		}
		id, rest, ok1 := strings.Cut(s.Text(), ":")
		names, path, ok2 := strings.Cut(rest, ":")
		hierarchy, err := strconv.Atoi(id)
		if !ok1 || !ok2 || err != nil {
			return nil, fmt.Errorf("line %d: %q is no group of a process", n, s.Text())
		}
		m := Membership{Hierarchy: hierarchy, Path: strings.TrimSuffix(path, " (deleted)")}
		if names != "" {
			m.Controllers = strings.Split(names, ",")
		}
		out = append(out, m)
	}
	return out, s.Err()
}

// Memberships returns where a process is in each hierarchy. root is put before every path; empty means "/". The error is
// fs.ErrNotExist if there is no such process.
func Memberships(root string, pid int) ([]Membership, error) {
	list, err := membership(root, pid)
	if err != nil {
		return nil, fmt.Errorf("groups of process %d: %w", pid, err)
	}
	return list, nil
}

func membership(root string, pid int) ([]Membership, error) {
	name := filepath.Join("/", root, "proc", strconv.Itoa(pid), "cgroup")
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := ParseMembership(f)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return nil, fmt.Errorf("read %s: %w: %w", name, fs.ErrNotExist, err)
	case err != nil:
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return list, nil
}

// Add moves a process, with all its threads, into the group. Its children stay where they are. The error wraps
// syscall.ESRCH if there is no such process.
func (g Group) Add(pid int) error {
	for _, dir := range g.all() {
		if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("add process %d to group %s: %w", pid, g.path, err)
		}
	}
	return nil
}

// Prepare makes a command, which is not started yet, start in the group: no moment of it, and no child, is anywhere else.
//
// With v2 it sets a field of cmd.SysProcAttr, and onThread is nil. With v1 onThread has to be called on the thread that
// forks, as package process does with the option of that name: it moves the thread, and the child is born where the
// thread is. Call done after the start, whatever came of it.
func (g Group) Prepare(cmd *exec.Cmd) (onThread func() error, done func(), err error) {
	if g.t.version == V1 {
		return g.addThread, func() {}, nil
	}
	dir, err := os.Open(g.all()[0])
	if err != nil {
		return nil, nil, fmt.Errorf("prepare a start in group %s: %w", g.path, err)
	}
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	cmd.SysProcAttr = &attr
	return nil, func() { _ = dir.Close() }, nil
}

// addThread moves the calling thread, alone, into the group. Only v1 can do that.
func (g Group) addThread() error {
	for _, dir := range g.all() {
		if err := write(filepath.Join(dir, "tasks"), "0"); err != nil {
			return fmt.Errorf("start in group %s: %w", g.path, err)
		}
	}
	return nil
}

// Processes returns the numbers of the processes in the group and in those below, in their order. With v1 it is those of
// any of its hierarchies. A group that is not there has none.
func (g Group) Processes() ([]int, error) {
	var out []int
	for _, dir := range g.all() {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				var pids []int
				pids, err = read(filepath.Join(p, "cgroup.procs"))
				out = append(out, pids...)
			}
			// A group may be removed while it is looked at.
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
				return nil
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("processes of group %s: %w", g.path, err)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// read reads a file of numbers. A zero stands for a process of another pid namespace, which cannot be named here.
func read(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, f := range strings.Fields(string(text)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %q is no number", file, f)
		}
		if n != 0 {
			out = append(out, n)
		}
	}
	return out, nil
}

// Evacuate moves all processes that are in the group itself into another, so that the group can give controllers to
// those below. Threads of the kernel stay; they cannot be moved and do not count.
func (g Group) Evacuate(to Group) error {
	for _, dir := range g.all() {
		pids, err := read(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return fmt.Errorf("evacuate group %s: %w", g.path, err)
		}
		for _, pid := range pids {
			// EINVAL is what a thread of the kernel gives, ESRCH a process that has ended.
			if err := to.Add(pid); err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EINVAL) {
				return fmt.Errorf("evacuate group %s: %w", g.path, err)
			}
		}
	}
	return nil
}

// Vacate makes the group leaf in g and moves this process into it, and with v2 all that is in g itself; then g gives all its
// controllers to the groups below. It is how PID 1 of a container makes room: with v2 [Group.Create] refuses to make a group
// below one that has processes. In the root of a machine, which may have them, this process alone is moved.
//
// The error wraps syscall.EBUSY if there are processes in g that cannot be seen from this pid namespace.
func (g Group) Vacate(leaf string) (Group, error) {
	to := g.t.Group(path.Join(g.path, leaf))
	for _, dir := range to.all() {
		if err := g.t.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return to, fmt.Errorf("create group %s: %w", to.path, err)
		}
	}
	if err := to.Add(os.Getpid()); err != nil {
		return to, err
	}
	if g.t.version == V1 {
		return to, nil
	}
	dir, _ := g.dir("")
	// The root of a machine has no type (admin-guide/cgroup-v2.rst, "cgroup.type").
	if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); err == nil {
		if err := g.Evacuate(to); err != nil {
			return to, err
		}
	}
	if err := enable(dir); err != nil {
		return to, fmt.Errorf("give controllers to the groups below %s: %w", g.path, err)
	}
	return to, nil
}

// Kill sends SIGKILL to all processes in the group and in those below, and waits until there are none. Processes that
// fork meanwhile do not escape: with v2 the kernel does it, with v1 they are frozen first. Whoever is the parent of them
// has to collect them.
//
// If ctx is done before, the error says which processes are left, and wraps the cause. A group that this process is in is
// refused with syscall.EBUSY: it would freeze itself, and nobody would thaw it. A group that is not there is empty.
func (g Group) Kill(ctx context.Context) error {
	const pause = 10 * time.Millisecond // a process that got SIGKILL needs about so long at most, if no disk keeps it
	wait := time.NewTicker(pause)
	defer wait.Stop()
	for {
		pids, err := g.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		if slices.Contains(pids, os.Getpid()) {
			return fmt.Errorf("kill group %s: this process is in it: %w", g.path, syscall.EBUSY)
		}
		if err := g.killOnce(pids); err != nil {
			return fmt.Errorf("kill group %s: %w", g.path, err)
		}
		select {
		case <-wait.C:
		case <-ctx.Done():
			if pids, err = g.Processes(); err != nil || len(pids) == 0 {
				return err
			}
			return fmt.Errorf("kill group %s: processes %v are left: %w", g.path, pids, context.Cause(ctx))
		}
	}
}

func (g Group) killOnce(pids []int) error {
	if g.t.version == V2 {
		dir, _ := g.dir("")
		err := write(filepath.Join(dir, "cgroup.kill"), "1")
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if dir, ok := g.dir("freezer"); ok && g.t.version == V1 && g.path != "/" {
		if err := write(filepath.Join(dir, "freezer.state"), "FROZEN"); err == nil {
			// What is frozen gets the signal when it thaws, before it runs.
			defer func() { _ = write(filepath.Join(dir, "freezer.state"), "THAWED") }()
			if pids, err = g.Processes(); err != nil {
				return err
			}
		}
	}
	for _, pid := range pids {
		if err := g.t.kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// Destroy kills all that is in the group and removes it. A group can be busy for a moment after its last process ended;
// that is waited for, too, until ctx is done.
func (g Group) Destroy(ctx context.Context) error {
	if err := g.Kill(ctx); err != nil {
		return err
	}
	wait := time.NewTicker(5 * time.Millisecond)
	defer wait.Stop()
	for {
		err := g.Remove()
		if !errors.Is(err, syscall.EBUSY) || g.path == "/" {
			return err
		}
		select {
		case <-wait.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
