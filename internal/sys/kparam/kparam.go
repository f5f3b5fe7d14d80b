// Package kparam reads and sets parameters of the kernel that are files: those of sysctl below /proc/sys, attributes of
// devices and drivers below /sys, and the parameters of modules that are loaded.
//
// A parameter is named by its path below the root: "proc/sys/net/ipv4/ip_forward", "sys/block/sda/queue/scheduler". A [Tree] keeps
// nothing between calls and is safe for concurrent use. Linux only; anything may import it that may import internal/sys.
package kparam

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The directories that paths begin with.
const (
	Sysctl = "proc/sys"
	Sysfs  = "sys"
)

// Tree is where the files are. The zero Tree is that of this machine.
type Tree struct {
	// Root is put before the paths; empty means "/".
	Root string
}

// file returns the name of the file of a path. A path that leads elsewhere than below proc/sys or sys is an error: names come
// from configs. Links within sysfs are followed, as everybody does there.
func (t Tree) file(path string) (string, error) {
	clean := filepath.Clean(path)
	if clean != path || !filepath.IsLocal(path) || !strings.HasPrefix(path, Sysctl+"/") && !strings.HasPrefix(path, Sysfs+"/") {
		return "", fmt.Errorf("kernel parameter %q: %w: expected a path below %s or %s", path, syscall.EINVAL, Sysctl, Sysfs)
	}
	return filepath.Join("/", t.Root, path), nil
}

// Read returns the value of a parameter without the newline at its end. The errors are those of the kernel: fs.ErrNotExist if it
// has no such parameter, fs.ErrPermission for one that can only be written.
func (t Tree) Read(path string) (string, error) {
	name, err := t.file(path)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// Write sets a parameter. The value is written as it is, in one call. The errors are those of the kernel: fs.ErrNotExist,
// fs.ErrPermission, EROFS, EINVAL for a value that it does not take. Nothing is created.
func (t Tree) Write(path, value string) error {
	name, err := t.file(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// ModuleParam returns the path of a parameter of a module that is loaded.
func ModuleParam(module, param string) string {
	return filepath.Join(Sysfs, "module", strings.ReplaceAll(module, "-", "_"), "parameters", param)
}

// Missing reports whether err says that the kernel has no such parameter.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Same reports whether two values of a parameter mean the same to the kernel, as far as can be told without knowing it: the
// kernel parts several values with tabs where people write blanks, shows the choice among several as "a [b] c", and says Y and N
// for 1 and 0 of a module's parameter.
func Same(a, b string) bool {
	return plain(a) == plain(b)
}

// Chosen returns what has to be written to have the value that was read: of "a [b] c" that is b.
func Chosen(read string) string {
	for _, word := range strings.Fields(read) {
		if len(word) > 2 && word[0] == '[' && word[len(word)-1] == ']' {
			return word[1 : len(word)-1]
		}
	}
	return read
}

func plain(value string) string {
	v := strings.Join(strings.Fields(Chosen(value)), " ")
	switch v {
	case "Y", "y":
		return "1"
	case "N", "n":
		return "0"
	}
	return v
}
