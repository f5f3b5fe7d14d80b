package install

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"talos.internal/internal/gpt"
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

// section returns a section of a PE file (Microsoft's PE format, "section table"), of at most 64 KiB.
func section(b Blob, name string) ([]byte, error) {
	const (
		maxSections = 96
		maxSection  = 64 << 10
	)
	le := binary.LittleEndian
	at := func(off int64, n int) ([]byte, error) {
		if off < 0 || off > b.Size-int64(n) {
			return nil, fmt.Errorf("the file has %d bytes, and says that there is something at %d", b.Size, off)
		}
		out := make([]byte, n)
		if _, err := b.Reader.ReadAt(out, off); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return out, nil
	}
	dos, err := at(0, 64)
	if err != nil {
		return nil, err
	}
	start := int64(le.Uint32(dos[60:]))
	head, err := at(start, 24)
	if err != nil {
		return nil, err
	}
	if string(dos[:2]) != "MZ" || string(head[:4]) != "PE\x00\x00" {
		return nil, errors.New("the file is no PE program")
	}
	n := int(le.Uint16(head[6:]))
	if n > maxSections {
		return nil, fmt.Errorf("the file has %d sections; expected at most %d", n, maxSections)
	}
	table, err := at(start+24+int64(le.Uint16(head[20:])), n*40)
	if err != nil {
		return nil, err
	}
	for s := table; len(s) > 0; s = s[40:] {
		if strings.TrimRight(string(s[:8]), "\x00") != name {
			continue
		}
		size := min(le.Uint32(s[8:]), le.Uint32(s[16:]))
		if size > maxSection {
			return nil, fmt.Errorf("section %s has %d bytes; expected at most %d", name, size, maxSection)
		}
		return at(int64(le.Uint32(s[20:])), int(size))
	}
	return nil, fmt.Errorf("the file has no section %s", name)
}
