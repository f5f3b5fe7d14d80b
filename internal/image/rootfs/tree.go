package rootfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Epoch is the modification time of everything that is shipped, and the time at which images say that they were made.
var Epoch = time.Unix(0, 0).UTC()

// Entry is a file, a folder or a symbolic link.
type Entry struct {
	Path     string            // from the root, without a slash in front: usr/bin/mount
	Mode     fs.FileMode       // type and permissions, setuid, setgid and sticky bit included; a link's permissions are not used
	UID, GID int               // of the owner
	Target   string            // of a symbolic link, as it is stored
	Xattrs   map[string]string // extended attributes, such as security.capability
	Size     int64             // of a file, in bytes

	// Open returns a file's content from its start. It may be called again and by several at once, and always gives
	// Size bytes. The caller closes what it gets.
	Open func() (io.ReadCloser, error)
}

// Bytes is a file with content data, owned by root. The data must not change afterwards.
func Bytes(name string, perm fs.FileMode, data []byte) Entry {
	return Entry{Path: name, Mode: perm, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// Host is a file with the content of the file host on this machine, owned by root. Only the size is read now.
func Host(name string, perm fs.FileMode, host string) (Entry, error) {
	info, err := os.Stat(host)
	if err != nil {
		return Entry{}, err
	}
	if !info.Mode().IsRegular() {
		return Entry{}, fmt.Errorf("%s is no regular file", host)
	}
	return Entry{Path: name, Mode: perm, Size: info.Size(), Open: func() (io.ReadCloser, error) { return os.Open(host) }}, nil
}

// Symlink is a symbolic link to target.
func Symlink(name, target string) Entry {
	return Entry{Path: name, Mode: fs.ModeSymlink | 0o777, Target: target}
}

// Dir is a folder, owned by root.
func Dir(name string, perm fs.FileMode) Entry { return Entry{Path: name, Mode: fs.ModeDir | perm} }

// Tree is a set of entries with different paths. The zero Tree is empty and ready. It is not safe for concurrent
// changes.
type Tree struct{ entries map[string]Entry }

// Add puts entries into the tree, all or none.
//
// It fails with fs.ErrInvalid for a path that is not clean, leads out of the root or is the root, and for a mode that
// is none of file, folder, link; with fs.ErrExist if the path is taken, except when both are folders, or links of one
// target: then the later entry stays. A parent that is a link or a file fails too, with fs.ErrInvalid.
func (t *Tree) Add(entries ...Entry) error {
	next := make(map[string]Entry, len(t.entries)+len(entries))
	for name, e := range t.entries {
		next[name] = e
	}
	for _, e := range entries {
		if err := check(e); err != nil {
			return fmt.Errorf("add %q: %w", e.Path, err)
		}
		if old, taken := next[e.Path]; taken && !same(old, e) {
			return fmt.Errorf("add %s: %w", e.Path, fs.ErrExist)
		}
		next[e.Path] = e
	}
	for name := range next {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if parent, ok := next[dir]; ok && !parent.Mode.IsDir() {
				return fmt.Errorf("add %s: %s is no folder: %w", name, dir, fs.ErrInvalid)
			}
		}
	}
	t.entries = next
	return nil
}

func check(e Entry) error {
	if !fs.ValidPath(e.Path) || e.Path == "." {
		return fs.ErrInvalid
	}
	switch e.Mode.Type() {
	case 0:
		if e.Open == nil {
			return fmt.Errorf("a file without content: %w", fs.ErrInvalid)
		}
	case fs.ModeDir:
	case fs.ModeSymlink:
		if e.Target == "" {
			return fmt.Errorf("a link to nothing: %w", fs.ErrInvalid)
		}
	default:
		return fmt.Errorf("mode %v: %w", e.Mode, fs.ErrInvalid)
	}
	return nil
}

func same(a, b Entry) bool {
	return a.Mode.IsDir() && b.Mode.IsDir() ||
		a.Mode.Type() == fs.ModeSymlink && b.Mode.Type() == fs.ModeSymlink && a.Target == b.Target
}

// Get returns the entry of that path. Folders that only exist as part of another path are not found.
func (t *Tree) Get(name string) (Entry, bool) {
	e, ok := t.entries[name]
	return e, ok
}

// Len is the number of entries that were added.
func (t *Tree) Len() int { return len(t.entries) }

// Entries returns all entries sorted such that folders come before what is in them. Folders that were not added
// themselves are there with mode 0755 and belong to root.
func (t *Tree) Entries() []Entry {
	all := make(map[string]Entry, len(t.entries))
	for name, e := range t.entries {
		all[name] = e
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := t.entries[dir]; !ok {
				all[dir] = Dir(dir, 0o755)
			}
		}
	}
	list := make([]Entry, 0, len(all))
	for _, e := range all {
		list = append(list, e)
	}
	// By components, so that a-b does not come between a and a/b.
	slices.SortFunc(list, func(a, b Entry) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/"))
	})
	return list
}
