package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"talos.internal/internal/gpt"
	"talos.internal/internal/pe"
)

// Blob is something that is copied to the disk as it is.
type Blob struct {
	Reader io.ReaderAt
	Size   int64
	// SHA256 is what the contents must have; all zero means that they are not checked.
	SHA256 [sha256.Size]byte
}

// Assets are what is installed.
type Assets struct {
	UKI        Blob // kernel, initramfs and command line, which has the root hash
	Root       Blob // root file system, followed by its hash tree
	BootLoader Blob // systemd-boot
	ImageCache Blob // file system with images, or the zero Blob
}

// Asset names one of them in a step.
type Asset string

// The assets.
const (
	AssetUKI        Asset = "UKI"
	AssetRoot       Asset = "root file system"
	AssetBootLoader Asset = "boot loader"
	AssetImageCache Asset = "image cache"
)

func (a Assets) blob(name Asset) Blob {
	switch name {
	case AssetUKI:
		return a.UKI
	case AssetRoot:
		return a.Root
	case AssetBootLoader:
		return a.BootLoader
	case AssetImageCache:
		return a.ImageCache
	}
	return Blob{}
}

// RootHash is the root of the hash tree of a root file system.
type RootHash [sha256.Size]byte

// PartitionGUID returns the GUID of the partition with the root file system (Discoverable Partitions Specification: the first 128 bits).
func (h RootHash) PartitionGUID() gpt.GUID { return gpt.GUID(h[:16]) }

// ReadRootHash returns the root hash that the command line of a UKI asks for.
func ReadRootHash(uki Blob) (RootHash, error) {
	line, err := section(uki, ".cmdline")
	if err != nil {
		return RootHash{}, fmt.Errorf("read the root hash of a UKI: %w", err)
	}
	for _, arg := range strings.Fields(strings.TrimRight(string(line), "\x00")) {
		text, ok := strings.CutPrefix(arg, "roothash=")
		if !ok {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != sha256.Size {
			return RootHash{}, fmt.Errorf("read the root hash of a UKI: %q: expected 64 hexadecimal digits", arg)
		}
		return RootHash(b), nil
	}
	return RootHash{}, errors.New("read the root hash of a UKI: its command line has no roothash=")
}

// section returns a section of a PE file, of at most 64 KiB.
func section(b Blob, name string) ([]byte, error) {
	f, err := pe.Read(io.NewSectionReader(b.Reader, 0, b.Size))
	if err != nil {
		return nil, err
	}
	return f.Content(name, 64<<10)
}
