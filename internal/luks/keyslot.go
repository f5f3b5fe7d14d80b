package luks

import (
	"crypto/aes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/xts"
)

// Secret opens a slot.
type Secret struct {
	Bytes []byte
	// Random says that nobody can guess it: it is not stretched, which saves a start its time and memory.
	Random bool
	// Memory is what it takes to stretch one that is not random, in KiB; 0 is 64 MiB.
	Memory int
}

const (
	stripes    = 4000 // into which a key is split
	iterations = 1000 // of PBKDF2, the least that is allowed
	// Of Argon2id, the second recommended choice of RFC 9106, section 4: 64 MiB.
	argonTime, argonMemory, argonCPUs = 3, 64 << 10, 4
	// Limits of what a header may ask of us: it may have been made by whoever had the disk.
	maxIterations, maxArgonTime, maxArgonMemory, maxArgonCPUs = 20_000_000, 32, 256 << 10, 16
	areaCipher                                                = "aes-xts-plain64"
	areaKey                                                   = 64
)

var hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}

// newKDF returns one with a fresh salt.
func newKDF(s Secret) kdf {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	if s.Random {
		return kdf{Type: "pbkdf2", Hash: "sha256", Iterations: iterations, Salt: salt}
	}
	k := kdf{Type: "argon2id", Time: argonTime, Memory: argonMemory, CPUs: argonCPUs, Salt: salt}
	if s.Memory > 0 {
		k.Memory = min(max(s.Memory, 8*k.CPUs), maxArgonMemory)
	}
	return k
}

func (k kdf) derive(secret []byte, size int) ([]byte, error) {
	switch k.Type {
	case "pbkdf2":
		h := hashes[k.Hash]
		if h == nil || k.Iterations < 1 || k.Iterations > maxIterations {
			return nil, fmt.Errorf("PBKDF2 with %s, %d times: %w", k.Hash, k.Iterations, errors.ErrUnsupported)
		}
		return pbkdf2.Key(h, string(secret), k.Salt, k.Iterations, size)
	case "argon2id", "argon2i":
		if k.Time < 1 || k.Time > maxArgonTime || k.Memory < 8 || k.Memory > maxArgonMemory || k.CPUs < 1 || k.CPUs > maxArgonCPUs {
			return nil, fmt.Errorf("%s with %d KiB, %d times, on %d processors: %w", k.Type, k.Memory, k.Time, k.CPUs, errors.ErrUnsupported)
		}
		if k.Type == "argon2i" {
			return argon2.Key(secret, k.Salt, uint32(k.Time), uint32(k.Memory), uint8(k.CPUs), uint32(size)), nil
		}
		return argon2.IDKey(secret, k.Salt, uint32(k.Time), uint32(k.Memory), uint8(k.CPUs), uint32(size)), nil
	}
	return nil, fmt.Errorf("key derivation by %q: %w", k.Type, errors.ErrUnsupported)
}

// newDigest returns the digest of a volume's key.
func newDigest(key []byte) (digest, error) {
	d := digest{Type: "pbkdf2", Keyslots: []string{}, Segments: []string{only}, Hash: "sha256", Iterations: iterations, Salt: make([]byte, 32)}
	_, _ = rand.Read(d.Salt) // never fails (crypto/rand)
	var err error
	d.Digest, err = pbkdf2.Key(sha256.New, string(key), d.Salt, d.Iterations, sha256.Size)
	return d, err
}

func (d digest) matches(key []byte) (bool, error) {
	h := hashes[d.Hash]
	if h == nil || d.Iterations < 1 || d.Iterations > maxIterations || len(d.Digest) < sha256.Size || len(d.Digest) > sha512.Size {
		return false, fmt.Errorf("a digest with %s, %d times: %w", d.Hash, d.Iterations, errors.ErrUnsupported)
	}
	got, err := pbkdf2.Key(h, string(key), d.Salt, d.Iterations, len(d.Digest))
	return err == nil && subtle.ConstantTimeCompare(got, d.Digest) == 1, err
}

// Unlock returns the key of the volume from one of its slots. The error wraps ErrSecret if the secret is wrong, and also if the slot's
// material is damaged: the two cannot be told apart. A slot that is not there is an error that wraps ErrSecret, too.
func (h *Header) Unlock(r io.ReaderAt, slot int, secret []byte) ([]byte, error) {
	k, ok := h.meta.Keyslots[strconv.Itoa(slot)]
	if !ok {
		return nil, fmt.Errorf("key slot %d is empty: %w", slot, ErrSecret)
	}
	key, err := k.open(r, secret)
	if err != nil {
		return nil, fmt.Errorf("key slot %d: %w", slot, err)
	}
	match, err := h.meta.Digests[only].matches(key)
	if err == nil && !match {
		err = ErrSecret
	}
	if err != nil {
		return nil, fmt.Errorf("key slot %d: %w", slot, err)
	}
	return key, nil
}

func (k keyslot) open(r io.ReaderAt, secret []byte) ([]byte, error) {
	if k.Type != "luks2" || k.AF.Type != "luks1" || k.Area.Type != "raw" || k.Area.Encryption != areaCipher || k.Area.KeySize != 32 && k.Area.KeySize != 64 {
		return nil, fmt.Errorf("type %s, material of type %s split by %s under %s: %w", k.Type, k.Area.Type, k.AF.Type, k.Area.Encryption, errors.ErrUnsupported)
	}
	h := hashes[k.AF.Hash]
	size := roundUp(int64(k.KeySize)*int64(k.AF.Stripes), sectorSize)
	if h == nil || k.KeySize < 16 || k.KeySize > 128 || k.AF.Stripes < 1 || k.AF.Stripes > stripes || size > int64(k.Area.Size) {
		return nil, fmt.Errorf("a key of %d bytes in %d stripes by %s: %w", k.KeySize, k.AF.Stripes, k.AF.Hash, errors.ErrUnsupported)
	}
	b := make([]byte, size)
	if n, err := r.ReadAt(b, int64(k.Area.Offset)); n < len(b) {
		return nil, fmt.Errorf("read its material: %w", err)
	}
	under, err := k.KDF.derive(secret, k.Area.KeySize)
	if err != nil {
		return nil, err
	}
	c, err := xts.NewCipher(aes.NewCipher, under)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(b); i += sectorSize {
		c.Decrypt(b[i:i+sectorSize], b[i:i+sectorSize], uint64(i/sectorSize))
	}
	return merge(b[:k.KeySize*k.AF.Stripes], k.KeySize, h), nil
}

// seal returns a slot with the key under the secret, and the material that belongs at its place.
func seal(key []byte, s Secret, at area) (keyslot, []byte, error) {
	k := keyslot{
		Type: "luks2", KeySize: len(key), AF: af{Type: "luks1", Stripes: stripes, Hash: "sha256"}, KDF: newKDF(s),
		Area: area{Type: "raw", Offset: at.Offset, Size: at.Size, Encryption: areaCipher, KeySize: areaKey},
	}
	under, err := k.KDF.derive(s.Bytes, areaKey)
	if err != nil {
		return k, nil, err
	}
	c, err := xts.NewCipher(aes.NewCipher, under)
	if err != nil {
		return k, nil, err
	}
	b := make([]byte, at.Size)
	copy(b, split(key, sha256.New))
	for i := 0; i < len(b); i += sectorSize {
		c.Encrypt(b[i:i+sectorSize], b[i:i+sectorSize], uint64(i/sectorSize))
	}
	return k, b, nil
}

// split spreads a key so that all of the result is needed to have it again: a disk that keeps copies of some sectors does not keep a key
// (LUKS1 specification, section 2.4).
func split(key []byte, h func() hash.Hash) []byte {
	n := len(key)
	out := make([]byte, n*stripes)
	_, _ = rand.Read(out[:n*(stripes-1)]) // never fails (crypto/rand)
	last := out[n*(stripes-1):]
	fold(out, last, n, stripes, h)
	subtle.XORBytes(last, last, key)
	return out
}

// merge is the reverse.
func merge(b []byte, n int, h func() hash.Hash) []byte {
	count := len(b) / n
	key := make([]byte, n)
	fold(b, key, n, count, h)
	subtle.XORBytes(key, key, b[n*(count-1):])
	return key
}

// fold makes of all stripes but the last what the last was combined with.
func fold(b, into []byte, n, count int, h func() hash.Hash) {
	sum := make([]byte, n)
	for i := range count - 1 {
		subtle.XORBytes(sum, sum, b[i*n:(i+1)*n])
		diffuse(sum, h)
	}
	copy(into, sum)
}

// diffuse replaces each block of the hash's size by its hash.
func diffuse(b []byte, h func() hash.Hash) {
	d := h()
	for i := 0; i*d.Size() < len(b); i++ {
		block := b[i*d.Size() : min((i+1)*d.Size(), len(b))]
		d.Reset()
		_, _ = d.Write(be.AppendUint32(nil, uint32(i)))
		_, _ = d.Write(block)
		copy(block, d.Sum(nil))
	}
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
