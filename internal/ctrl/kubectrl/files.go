package kubectrl

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The components, by the names of their pods, programs and directories.
const (
	apiServerName         = "kube-apiserver"
	controllerManagerName = "kube-controller-manager"
	schedulerName         = "kube-scheduler"
)

// components are in the order of the parts of a version, with the users that they run as (contract.md, section 6.2).
var components = []struct {
	name string
	user int
}{
	{apiServerName, 65534}, {controllerManagerName, 65535}, {schedulerName, 65536},
}

func userOf(component string) int {
	for _, c := range components {
		if c.name == component {
			return c.user
		}
	}
	return 0
}

// tree is the content of files by component and name.
type tree map[string]map[string][]byte

// version has a part for each component, which changes when one of its files does.
func (t tree) version() string {
	var parts []string
	for _, c := range components {
		h := sha256.New()
		for _, name := range slices.Sorted(maps.Keys(t[c.name])) {
			fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(t[c.name][name]), t[c.name][name])
		}
		parts = append(parts, hex.EncodeToString(h.Sum(nil)[:8]))
	}
	return strings.Join(parts, ".")
}

// partOf returns what a version says of a component.
func partOf(version, component string) string {
	parts := strings.Split(version, ".")
	for i, c := range components {
		if c.name == component && i < len(parts) {
			return parts[i]
		}
	}
	return version
}

// write brings the directories of components below root to what t says, and reports whether something had to be done. Each file
// is replaced as a whole, and belongs to the component's user, who alone can read it. What t does not have is removed.
func (t tree) write(root string, chown func(name string, uid, gid int) error) (changed bool, err error) {
	for _, c := range components {
		dir := filepath.Join(root, c.name)
		files := t[c.name]
		if len(files) == 0 {
			if err := os.RemoveAll(dir); err != nil {
				return changed, fmt.Errorf("remove the files of %s: %w", c.name, err)
			}
			continue
		}
		did, err := writeDir(dir, files, func(name string) error { return chown(name, c.user, c.user) })
		changed = changed || did
		if err != nil {
			return changed, fmt.Errorf("write the files of %s: %w", c.name, err)
		}
	}
	return changed, nil
}

func writeDir(dir string, files map[string][]byte, own func(name string) error) (changed bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	if err := errors.Join(os.Chmod(dir, 0o700), own(dir)); err != nil {
		return false, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if _, wanted := files[e.Name()]; !wanted {
			changed = true
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return changed, err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, name)
		have, err := os.ReadFile(full)
		if err == nil && bytes.Equal(have, files[name]) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, err
		}
		changed = true
		if err := replace(full, files[name], own); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// replace puts a file in its place once it has its content and its owner. The directories are in memory: nothing has to reach a
// disk.
func replace(name string, content []byte, own func(name string) error) (err error) {
	temporary := name + ".tmp"
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if err := os.WriteFile(temporary, content, 0o400); err != nil {
		return err
	}
	if err := own(temporary); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}
