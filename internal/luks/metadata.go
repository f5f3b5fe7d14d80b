package luks

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// metadata is the JSON of a header (specification, section 3).
type metadata struct {
	Keyslots map[string]keyslot         `json:"keyslots"`
	Tokens   map[string]json.RawMessage `json:"tokens"`
	Segments map[string]segment         `json:"segments"`
	Digests  map[string]digest          `json:"digests"`
	Config   config                     `json:"config"`
}

type keyslot struct {
	Type     string `json:"type"`
	KeySize  int    `json:"key_size"`
	AF       af     `json:"af"`
	Area     area   `json:"area"`
	KDF      kdf    `json:"kdf"`
	Priority *int   `json:"priority,omitempty"`
}

type af struct {
	Type    string `json:"type"`
	Stripes int    `json:"stripes"`
	Hash    string `json:"hash"`
}

type area struct {
	Type       string `json:"type"`
	Offset     number `json:"offset"`
	Size       number `json:"size"`
	Encryption string `json:"encryption"`
	KeySize    int    `json:"key_size"`
}

// kdf makes the key of an area from a secret. Memory is in KiB.
type kdf struct {
	Type       string `json:"type"`
	Hash       string `json:"hash,omitempty"`
	Iterations int    `json:"iterations,omitempty"`
	Time       int    `json:"time,omitempty"`
	Memory     int    `json:"memory,omitempty"`
	CPUs       int    `json:"cpus,omitempty"`
	Salt       []byte `json:"salt"`
}

type segment struct {
	Type       string          `json:"type"`
	Offset     number          `json:"offset"`
	Tweak      number          `json:"iv_tweak"`
	Size       string          `json:"size"`
	Encryption string          `json:"encryption"`
	SectorSize int             `json:"sector_size"`
	Integrity  json.RawMessage `json:"integrity,omitempty"`
	Flags      []string        `json:"flags,omitempty"`
}

// digest tells whether a key is the volume's.
type digest struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations int      `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Digest     []byte   `json:"digest"`
}

type config struct {
	JSONSize     number          `json:"json_size"`
	KeyslotsSize number          `json:"keyslots_size"`
	Flags        []string        `json:"flags,omitempty"`
	Requirements json.RawMessage `json:"requirements,omitempty"`
}

// number is one that JSON has as a string, since it may have 64 bits.
type number int64

// MarshalText implements encoding.TextMarshaler.
func (n number) MarshalText() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *number) UnmarshalText(b []byte) error {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no size", b)
	}
	*n = number(v)
	return nil
}

// The names of the only segment and the only digest.
const only = "0"

// Ciphers are what the data may be encrypted with, and the bits that the volume's key has by default. A header with another one is refused: one
// that names no cipher at all would pass foreign data off as ours.
var Ciphers = map[string]int{
	"aes-xts-plain64":                      512,
	"xchacha12,aes-adiantum-plain64":       256,
	"xchacha20,aes-adiantum-plain64":       256,
	"capi:xts(aes)-plain64":                512,
	"capi:adiantum(xchacha12,aes)-plain64": 256,
}

// check refuses what cannot be used or would be dangerous to use: everything of it can be made by whoever has the disk.
func (h *Header) check() error {
	unsupported := func(format string, args ...any) error {
		return fmt.Errorf("the LUKS header has %s: %w", fmt.Sprintf(format, args...), errors.ErrUnsupported)
	}
	m := h.meta
	s, ok := m.Segments[only]
	switch {
	case len(m.Config.Requirements) > 0:
		return unsupported("requirements %s", m.Config.Requirements)
	case len(m.Segments) != 1 || !ok:
		return unsupported("%d segments", len(m.Segments))
	case len(m.Digests) != 1 || m.Digests[only].Type != "pbkdf2":
		return unsupported("other digests than one by PBKDF2")
	case s.Type != "crypt" || s.Size != "dynamic" || len(s.Integrity) > 0:
		return unsupported("a segment of type %s and size %s", s.Type, s.Size)
	case Ciphers[s.Encryption] == 0:
		return unsupported("data encrypted with %q", s.Encryption)
	case s.SectorSize < sectorSize || s.SectorSize > 4096 || s.SectorSize&(s.SectorSize-1) != 0:
		return unsupported("sectors of %d bytes", s.SectorSize)
	case int64(s.Offset) < copies*h.size || s.Offset%4096 != 0 || s.Offset > 1<<40:
		return fmt.Errorf("%w: its data begin at %d", ErrDamaged, s.Offset)
	}
	for name, k := range m.Keyslots {
		if n, err := strconv.Atoi(name); err != nil || n < 0 || n >= MaxSlots {
			return unsupported("a key slot %q", name)
		}
		end := k.Area.Offset + k.Area.Size
		if int64(k.Area.Offset) < copies*h.size || end < k.Area.Offset || end > s.Offset {
			return fmt.Errorf("%w: key slot %s is at %d to %d", ErrDamaged, name, k.Area.Offset, end)
		}
	}
	return nil
}

// Slots returns the numbers of the key slots that there are, in their order.
func (h *Header) Slots() []int {
	var out []int
	for name := range h.meta.Keyslots {
		if n, err := strconv.Atoi(name); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Token is the note of a slot. What else it has in JSON is for who wrote it.
type Token struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
}

// Token returns the token of a slot: its type, and all of it in JSON. Both are empty if it has none.
func (h *Header) Token(slot int) (kind string, text []byte) {
	for _, name := range slices.Sorted(maps.Keys(h.meta.Tokens)) {
		var t Token
		if err := json.Unmarshal(h.meta.Tokens[name], &t); err == nil && slices.Contains(t.Keyslots, strconv.Itoa(slot)) {
			return t.Type, h.meta.Tokens[name]
		}
	}
	return "", nil
}

// Mapping is what the kernel needs to know of the data, but the key.
type Mapping struct {
	Cipher     string
	Tweak      uint64 // the number of the first sector, for initialisation vectors
	Offset     int64  // of the data, in bytes
	SectorSize int
}

// Mapping returns where and how the data are.
func (h *Header) Mapping() Mapping {
	s := h.meta.Segments[only]
	return Mapping{Cipher: s.Encryption, Tweak: uint64(s.Tweak), Offset: int64(s.Offset), SectorSize: s.SectorSize}
}
