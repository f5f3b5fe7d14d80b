package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"talos.internal/internal/sys/media"
	"talos.internal/internal/sys/mount"
)

// maxFile is how long a file of a medium may be.
const maxFile = maxConfig

// Disks are the media of this machine.
type Disks struct {
	// Point is a directory that media are mounted on for a moment. It is made.
	Point string
	// Mounts mounts; nil is the kernel.
	Mounts mount.Verbs
}

// Read implements Media.
func (d Disks) Read(labels []string, names ...string) (map[string][]byte, error) {
	devices, err := media.List("")
	if err != nil {
		return nil, err
	}
	for _, dev := range devices {
		all := []string{dev.Name}
		for _, p := range dev.Partitions {
			all = append(all, p.Name)
		}
		for _, name := range all {
			kind, label := labelled(media.Path(name))
			if slices.Contains(labels, label) && label != "" {
				files, err := d.read(media.Path(name), kind, names)
				if err != nil {
					return nil, fmt.Errorf("read the medium %s with the label %s: %w", media.Path(name), label, err)
				}
				return files, nil
			}
		}
	}
	return nil, fmt.Errorf("no medium has the label %s: %w", labels[0], fs.ErrNotExist)
}

// labelled returns the type and the label of what is on a device; empty if that cannot be read.
func labelled(device string) (kind, label string) {
	f, err := os.Open(device)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	if kind, err = media.FileSystem(f); err != nil {
		return "", ""
	}
	if label, err = media.Label(f, kind); err != nil {
		return "", ""
	}
	return kind, label
}

func (d Disks) read(device, kind string, names []string) (files map[string][]byte, err error) {
	verbs := d.Mounts
	if verbs == nil {
		verbs = mount.Kernel{}
	}
	if err := verbs.MakePoint(d.Point, false, 0o700); err != nil {
		return nil, err
	}
	const safe = mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec | mount.NoSymFollow
	if err := verbs.Mount(mount.Call{Source: device, Target: d.Point, Type: kind, Flags: safe}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, verbs.Unmount(d.Point, 0)) }()
	return readFiles(d.Point, names)
}

// readFiles returns the files of a directory that are there.
func readFiles(dir string, names []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range names {
		file := filepath.Join(dir, name)
		st, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !st.Mode().IsRegular() || st.Size() > maxFile {
			return nil, fmt.Errorf("%s is no file, or longer than %d bytes", name, maxFile)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		files[name] = b
	}
	return files, nil
}
