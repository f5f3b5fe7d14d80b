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

// Everywhere returns the directories of the group of a path in every hierarchy that is mounted, those included that are no
// part of a [Tree]: a container runtime makes a group in all of them. Only directories that are there are returned. root is
// put before every path; empty means "/".
func Everywhere(root, p string) ([]string, error) {
	mounts, err := proc.Reader{Root: root}.MountInfo()
	if err != nil {
		return nil, fmt.Errorf("find group %s: %w", p, err)
	}
	var dirs []string
	for _, m := range mounts {
		dir := filepath.Join("/", root, m.Point, path.Clean("/"+p))
		if m.Type != "cgroup" && m.Type != "cgroup2" || slices.Contains(dirs, dir) {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// Sweep removes the group of a path, and those below it, from every hierarchy that is mounted. It is no error if there is
// none. The error wraps syscall.EBUSY if there are processes in one: see [Group.Kill]. The path "/" is refused with EINVAL.
func Sweep(root, p string) error {
	if strings.Trim(path.Clean("/"+p), "/") == "" {
		return fmt.Errorf("remove group /: %w", syscall.EINVAL)
	}
	dirs, err := Everywhere(root, p)
	if err != nil {
		return err
	}
	var first error
	for _, dir := range dirs {
		if err := sweep(dir); err != nil && first == nil {
			first = fmt.Errorf("remove group %s: %w", dir, err)
		}
	}
	return first
}

// sweep removes a directory and those in it. The kernel's files in them go with them.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := sweep(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
