package runtimectrl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"talos.internal/internal/install"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/internal/sys/proc"
)

// BootImage is the unified kernel image that the machine started from.
type BootImage struct {
	io.ReaderAt
	io.Closer
	Size int64
}

// StartedFrom returns what opens the image that a machine with that command line started from: the file medium, if there is one, as it
// is on the medium that the root is from; else that of the running slot on the system's disk.
func StartedFrom(medium string, cmdline []proc.Param) func(disk string) (BootImage, error) {
	var running install.RootHash
	for _, p := range cmdline {
		if b, err := hex.DecodeString(p.Value); p.Key == "roothash" && err == nil && len(b) == len(running) {
			running = install.RootHash(b)
		}
	}
	return func(disk string) (BootImage, error) {
		f, err := os.Open(medium)
		if err == nil {
			st, err := f.Stat()
			if err != nil {
				return BootImage{}, errors.Join(err, f.Close())
			}
			return BootImage{f, f, st.Size()}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || disk == "" {
			return BootImage{}, err
		}
		d, err := blockdev.Open(disk)
		if err != nil {
			return BootImage{}, err
		}
		image, err := slotImage(d, d.Size(), d.SectorSize(), running)
		if err != nil {
			return BootImage{}, errors.Join(fmt.Errorf("%s: %w", disk, err), d.Close())
		}
		return BootImage{image.Reader, d, image.Size}, nil
	}
}

// slotImage finds the image of the slot that runs. The error wraps fs.ErrNotExist if the disk has no such slot.
func slotImage(disk io.ReaderAt, size int64, sectorSize int, running install.RootHash) (install.Blob, error) {
	s, err := install.ReadSystem(disk, size, sectorSize)
	if err != nil {
		return install.Blob{}, err
	}
	slot, err := s.Running(running)
	if err != nil {
		return install.Blob{}, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	image, ok := s.Slot(slot)
	if !ok {
		return install.Blob{}, fmt.Errorf("the slot %s that runs has no image: %w", slot, fs.ErrNotExist)
	}
	return s.Open(image)
}
