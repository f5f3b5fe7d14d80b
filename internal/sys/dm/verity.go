package dm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
)

// VerityBlock is the size of a block of data, and of one of hashes.
const VerityBlock = 4096

// VeritySpec are the data of a device of dm-verity, version 1, SHA-256, both block sizes [VerityBlock], without a superblock.
type VeritySpec struct {
	// Root is the hash that is trusted. Salt may be empty.
	Root, Salt []byte
	// Blocks is how many blocks of data there are. The tree of hashes follows them at once on the same device.
	Blocks uint64
	// OnCorruption is what a block that does not match does beside the error: empty, "panic_on_corruption" or
	// "restart_on_corruption".
	OnCorruption string
}

// ParseVerity reads what a command line of the kernel says: root is the value of roothash=, geometry that of talos.verity=,
// which is the number of data blocks, a colon and the salt in hex. The error wraps EINVAL.
func ParseVerity(root, geometry string) (VeritySpec, error) {
	var s VeritySpec
	var err error
	if s.Root, err = hex.DecodeString(root); err != nil || len(s.Root) != 32 {
		return VeritySpec{}, fmt.Errorf("roothash=%s: it has to be 64 hexadecimal digits: %w", root, syscall.EINVAL)
	}
	blocks, salt, ok := strings.Cut(geometry, ":")
	if !ok {
		return VeritySpec{}, fmt.Errorf("talos.verity=%s: it has to be BLOCKS:SALT: %w", geometry, syscall.EINVAL)
	}
	s.Blocks, err = strconv.ParseUint(blocks, 10, 64)
	if err != nil || s.Blocks == 0 || s.Blocks > 1<<50 {
		return VeritySpec{}, fmt.Errorf("talos.verity=%s: %q is no number of blocks: %w", geometry, blocks, syscall.EINVAL)
	}
	if s.Salt, err = hex.DecodeString(salt); err != nil || len(s.Salt) > 256 {
		return VeritySpec{}, fmt.Errorf("talos.verity=%s: the salt has to be at most 512 hexadecimal digits: %w", geometry, syscall.EINVAL)
	}
	return s, nil
}

// PartitionUUID returns the unique GUID that a partition with this content has: the first 128 bits of the root hash, as in
// the Discoverable Partitions Specification.
func (s VeritySpec) PartitionUUID() string {
	if len(s.Root) < 16 {
		return ""
	}
	r := s.Root
	return fmt.Sprintf("%x-%x-%x-%x-%x", r[0:4], r[4:6], r[6:8], r[8:10], r[10:16])
}

// Verity returns the table of the device. Blocks of zeros are not read from the disk.
func (s VeritySpec) Verity(device string) Table {
	salt := hex.EncodeToString(s.Salt)
	if salt == "" {
		salt = "-"
	}
	options := []string{"ignore_zero_blocks"}
	if s.OnCorruption != "" {
		options = append([]string{s.OnCorruption}, options...)
	}
	return Table{{
		Length: s.Blocks * VerityBlock / SectorSize, Type: "verity",
		Params: fmt.Sprintf("1 %s %s %d %d %d %d sha256 %x %s %d %s", device, device, VerityBlock, VerityBlock, s.Blocks, s.Blocks,
			s.Root, salt, len(options), strings.Join(options, " ")),
	}}
}

// Size is how many bytes of data and hashes there are.
func (s VeritySpec) Size() int64 {
	const perBlock = VerityBlock / 32
	total := s.Blocks
	for level := s.Blocks; level > 1; {
		level = (level + perBlock - 1) / perBlock
		total += level
	}
	return int64(total) * VerityBlock
}

// ErrMismatch says that data are not those that the root hash stands for.
var ErrMismatch = errors.New("its content has another root hash")

// Check compares the topmost block of the tree of hashes on a device with the root hash. It tells whether this is the content
// that is meant, before a device of dm-verity is made of it, which would only be found wrong when it is read. The error wraps
// ErrMismatch if it is not. What Check does not read is checked by the kernel later.
func (s VeritySpec) Check(r io.ReaderAt) error {
	if s.Blocks < 2 {
		return nil // there is no tree
	}
	top := make([]byte, VerityBlock)
	if _, err := r.ReadAt(top, int64(s.Blocks)*VerityBlock); err != nil {
		return fmt.Errorf("read the hash tree: %w", err)
	}
	h := sha256.New()
	h.Write(s.Salt)
	h.Write(top)
	if !bytes.Equal(h.Sum(nil), s.Root) {
		return ErrMismatch
	}
	return nil
}
