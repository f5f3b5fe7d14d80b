// Package verity makes the hash trees of dm-verity, by which the kernel checks each block of a file system as it is read
// (Documentation/admin-guide/device-mapper/verity.rst of the kernel).
//
// The form is version 1, SHA-256, blocks of 4096 bytes for data and hashes, the salt in front of each block, no superblock: what is
// known about a tree is its [Params], which travel on the signed command line of the kernel. It is the form that
// "veritysetup format --no-superblock" writes.
//
// The package is pure and imports nothing of ours.
package verity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// BlockSize is that of data and of hashes, in bytes.
const BlockSize = 4096

// perBlock is how many hashes are in a block.
const perBlock = BlockSize / sha256.Size

// maxSalt is the kernel's limit, in bytes.
const maxSalt = 256

// Params say how data is checked.
type Params struct {
	Root   [sha256.Size]byte // the hash of the topmost block
	Blocks int64             // of data
	Salt   []byte
}

// Args returns the arguments of the kernel's command line that carry p: "roothash=… talos.verity=BLOCKS:SALT".
func (p Params) Args() string {
	return fmt.Sprintf("roothash=%x talos.verity=%d:%x", p.Root, p.Blocks, p.Salt)
}

// ErrParams is the error for a command line whose arguments are no [Params].
var ErrParams = errors.New("not the parameters of a hash tree")

// Parse finds the parameters on a kernel's command line. Of arguments that are there twice the last counts, as it does for the
// initramfs.
func Parse(commandLine string) (Params, error) {
	var p Params
	seen := map[string]string{}
	for word := range strings.FieldsSeq(commandLine) {
		name, value, _ := strings.Cut(word, "=")
		seen[name] = value
	}
	root, err := hex.DecodeString(seen["roothash"])
	if err != nil || len(root) != len(p.Root) {
		return p, fmt.Errorf("roothash=%q: want %d digits in hex: %w", seen["roothash"], 2*len(p.Root), ErrParams)
	}
	copy(p.Root[:], root)
	blocks, salt, _ := strings.Cut(seen["talos.verity"], ":")
	p.Blocks, err = strconv.ParseInt(blocks, 10, 64)
	if err != nil || p.Blocks <= 0 {
		return p, fmt.Errorf("talos.verity=%q: want BLOCKS:SALT: %w", seen["talos.verity"], ErrParams)
	}
	if p.Salt, err = hex.DecodeString(salt); err != nil || len(p.Salt) > maxSalt {
		return p, fmt.Errorf("talos.verity=%q: the salt is no hex of at most %d bytes: %w", seen["talos.verity"], maxSalt, ErrParams)
	}
	return p, nil
}

// Build reads size bytes of data, a multiple of [BlockSize], and writes the tree to w. Behind the data on the same device, it is where
// the kernel finds it with "hash start block" being [Params].Blocks.
func Build(ctx context.Context, data io.Reader, size int64, salt []byte, w io.Writer) (Params, error) {
	switch {
	case size <= 0 || size%BlockSize != 0:
		return Params{}, fmt.Errorf("hash tree over %d bytes: want a multiple of %d", size, BlockSize)
	case len(salt) > maxSalt:
		return Params{}, fmt.Errorf("hash tree with a salt of %d bytes: want at most %d", len(salt), maxSalt)
	}
	p := Params{Blocks: size / BlockSize, Salt: salt}
	level, err := hashes(ctx, data, p.Blocks, salt)
	if err != nil {
		return Params{}, err
	}
	var levels [][]byte // from below
	for len(level) > sha256.Size {
		level = append(level, make([]byte, (BlockSize-len(level)%BlockSize)%BlockSize)...)
		levels = append(levels, level)
		if level, err = hashes(ctx, bytes.NewReader(level), int64(len(level)/BlockSize), salt); err != nil {
			return Params{}, err
		}
	}
	copy(p.Root[:], level)
	for i := range levels { // the topmost comes first on the device
		if _, err := w.Write(levels[len(levels)-1-i]); err != nil {
			return Params{}, fmt.Errorf("write hash tree: %w", err)
		}
	}
	return p, nil
}

// hashes returns the hashes of n blocks, one after the other.
func hashes(ctx context.Context, r io.Reader, n int64, salt []byte) ([]byte, error) {
	all := make([]byte, 0, (n+perBlock-1)/perBlock*BlockSize)
	salted := make([]byte, len(salt)+BlockSize)
	copy(salted, salt)
	for i := range n {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := io.ReadFull(r, salted[len(salt):]); err != nil {
			return nil, fmt.Errorf("read block %d of %d: %w", i, n, err)
		}
		sum := sha256.Sum256(salted)
		all = append(all, sum[:]...)
	}
	return all, nil
}
