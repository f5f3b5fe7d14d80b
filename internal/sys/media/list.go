package media

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Device is a block device that has something in it: a disk, or what a drive holds.
type Device struct {
	Name       string // "vda"
	Size       int64  // bytes
	Partitions []Partition
}

// Partition is a part of a device as the kernel knows it.
type Partition struct {
	Name   string // "vda2"
	Number int    // from 1
}

// Path returns where the device is.
func Path(name string) string { return filepath.Join("/dev", name) }

// List returns the block devices in the order of their names, without those that are empty. root is the directory that holds
// sys; empty means "/". What goes away meanwhile is not in it.
func List(root string) ([]Device, error) {
	dir := filepath.Join("/", root, "sys/block")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without any block device yet
	}
	if err != nil {
		return nil, fmt.Errorf("list the block devices: %w", err)
	}
	var out []Device
	for _, e := range entries {
		d := Device{Name: e.Name(), Size: number(filepath.Join(dir, e.Name(), "size")) * 512}
		if d.Size <= 0 {
			continue
		}
		parts, err := filepath.Glob(filepath.Join(dir, e.Name(), "*", "partition"))
		if err != nil {
			return nil, fmt.Errorf("list the partitions of %s: %w", e.Name(), err)
		}
		for _, p := range parts {
			if n := number(p); n > 0 {
				d.Partitions = append(d.Partitions, Partition{filepath.Base(filepath.Dir(p)), int(n)})
			}
		}
		slices.SortFunc(d.Partitions, func(a, b Partition) int { return a.Number - b.Number })
		out = append(out, d)
	}
	return out, nil
}

// number reads a file with a number; zero if there is none.
func number(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
