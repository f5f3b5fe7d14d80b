package luks

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Options are how a new volume is made.
type Options struct {
	UUID, Label string
	Cipher      string // one of Ciphers
	KeyBits     int    // 0 is what suits the cipher
	SectorSize  int    // 512 to 4096; 0 is 512
}

// New returns the header of a new volume without any slot, and its key. Nothing is on disk yet.
func New(o Options) (*Header, []byte, error) {
	bits := o.KeyBits
	if bits == 0 {
		bits = Ciphers[o.Cipher]
	}
	if o.SectorSize == 0 {
		o.SectorSize = sectorSize
	}
	if bits < 128 || bits > 512 || bits%8 != 0 {
		return nil, nil, fmt.Errorf("make a LUKS volume: a key of %d bits: %w", bits, errors.ErrUnsupported)
	}
	key := make([]byte, bits/8)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	d, err := newDigest(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a LUKS volume: %w", err)
	}
	h := &Header{UUID: o.UUID, Label: o.Label, size: headerSize, sequence: 1, meta: metadata{
		Keyslots: map[string]keyslot{}, Tokens: map[string]json.RawMessage{}, Digests: map[string]digest{only: d},
		Segments: map[string]segment{only: {Type: "crypt", Offset: DataOffset, Size: "dynamic", Encryption: o.Cipher, SectorSize: o.SectorSize}},
		Config:   config{JSONSize: headerSize - binarySize, KeyslotsSize: DataOffset - copies*headerSize},
	}}
	return h, key, h.check()
}

// Write is one write of a change. With Flush all that was written before has to be on the disk first.
type Write struct {
	What   string
	Flush  bool
	Offset int64
	Data   []byte
	Zeros  int64 // instead of Data: that many zeros
}

// Device is what is written to.
type Device interface {
	io.WriterAt
	Sync() error
}

// Apply carries out writes in their order, and returns when they are on the disk.
func Apply(d Device, writes []Write) error {
	for _, w := range writes {
		if w.Flush {
			if err := d.Sync(); err != nil {
				return fmt.Errorf("before the %s: %w", w.What, err)
			}
		}
		if err := w.apply(d); err != nil {
			return fmt.Errorf("write the %s: %w", w.What, err)
		}
	}
	return d.Sync()
}

func (w Write) apply(d Device) error {
	if w.Zeros == 0 {
		_, err := d.WriteAt(w.Data, w.Offset)
		return err
	}
	zeros := make([]byte, min(w.Zeros, 1<<20))
	for at := w.Offset; at < w.Offset+w.Zeros; {
		n := min(int64(len(zeros)), w.Offset+w.Zeros-at)
		if _, err := d.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// Format returns the writes that put a new volume, with one slot, on a device. What is before the data there is overwritten. Until the
// last of the first copy is written the device has no header at all: whoever is cut off may begin again.
func (h *Header) Format(key []byte, slot int, s Secret, token any) ([]Write, error) {
	material, _, err := h.set(key, slot, s, token)
	if err != nil {
		return nil, err
	}
	out := []Write{{What: "empty header and key slots", Zeros: DataOffset}, material}
	for which := range copies {
		b, err := h.encode(which)
		if err != nil {
			return nil, err
		}
		at := int64(which) * h.size
		// The first sector has the mark. A header without its rest would be taken for a damaged one.
		out = append(out, Write{What: "rest of a header", Flush: true, Offset: at + sectorSize, Data: b[sectorSize:]},
			Write{What: "beginning of a header", Flush: true, Offset: at, Data: b[:sectorSize]})
	}
	h.good = 0
	return out, nil
}

// Put returns the writes that keep the volume's key in a slot, under a new secret. The token, which is encoded as JSON and has to have the fields
// of [Token], takes the place of the one that the slot had; nil is none. h is then as the volume will be.
func (h *Header) Put(key []byte, slot int, s Secret, token any) ([]Write, error) {
	material, old, err := h.set(key, slot, s, token)
	if err != nil {
		return nil, err
	}
	return h.commit([]Write{material}, old)
}

// Remove returns the writes that take a slot away. The last one is not taken away: its secret would be the last that opens the volume.
func (h *Header) Remove(slot int) ([]Write, error) {
	name := strconv.Itoa(slot)
	k, ok := h.meta.Keyslots[name]
	if !ok {
		return nil, nil
	}
	if len(h.meta.Keyslots) == 1 {
		return nil, fmt.Errorf("remove key slot %d: it is the last one, and the volume could never be opened again", slot)
	}
	delete(h.meta.Keyslots, name)
	h.assign()
	h.drop(name)
	return h.commit(nil, &k.Area)
}

// Repair returns the writes that make both copies of the header the same again, or none if they are.
func (h *Header) Repair() ([]Write, error) {
	if !h.Stale {
		return nil, nil
	}
	return h.commit(nil, nil)
}

// Forget returns the writes that make zero what lies in key slots' places and belongs to no slot: what was left there when a change was
// cut off before its end. r is the device.
func (h *Header) Forget(r io.ReaderAt) ([]Write, error) {
	var out []Write
	for at := range h.places() {
		b := make([]byte, sectorSize)
		if _, err := r.ReadAt(b, int64(at.Offset)); err != nil {
			return nil, fmt.Errorf("look at a place of key slots: %w", err)
		}
		// A place is made zero from its beginning on, and without any of its parts it is worth nothing.
		if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
			out = append(out, Write{What: "old key slot", Offset: int64(at.Offset), Zeros: int64(at.Size)})
		}
	}
	return out, nil
}

// set puts a slot into the header. It returns the write of its material, and the area that the slot had before.
func (h *Header) set(key []byte, slot int, s Secret, token any) (w Write, old *area, err error) {
	if slot < 0 || slot >= MaxSlots {
		return w, nil, fmt.Errorf("key slot %d: there are %d", slot, MaxSlots)
	}
	if len(s.Bytes) == 0 {
		return w, nil, fmt.Errorf("key slot %d: the secret is empty", slot)
	}
	if match, err := h.meta.Digests[only].matches(key); err != nil || !match {
		return w, nil, fmt.Errorf("key slot %d: the key is not that of the volume: %w", slot, errors.Join(err, ErrSecret))
	}
	var free *area
	for at := range h.places() {
		free = &at
		break
	}
	if free == nil {
		return w, nil, fmt.Errorf("key slot %d: the header has no room for its material", slot)
	}
	var note []byte
	if token != nil {
		if note, err = json.Marshal(token); err != nil {
			return w, nil, fmt.Errorf("key slot %d: %w", slot, err)
		}
	}
	k, b, err := seal(key, s, *free)
	if err != nil {
		return w, nil, fmt.Errorf("key slot %d: %w", slot, err)
	}
	name := strconv.Itoa(slot)
	if was, ok := h.meta.Keyslots[name]; ok {
		old = &was.Area
	}
	h.meta.Keyslots[name] = k
	h.assign()
	h.drop(name)
	if note != nil {
		n := 0
		for h.meta.Tokens[strconv.Itoa(n)] != nil {
			n++
		}
		h.meta.Tokens[strconv.Itoa(n)] = note
	}
	return Write{What: "key slot " + name, Offset: int64(k.Area.Offset), Data: b}, old, nil
}

// assign says in the digest which slots it is for.
func (h *Header) assign() {
	d := h.meta.Digests[only]
	d.Keyslots = slices.Sorted(maps.Keys(h.meta.Keyslots))
	h.meta.Digests[only] = d
}

// drop takes the tokens of a slot away.
func (h *Header) drop(slot string) {
	maps.DeleteFunc(h.meta.Tokens, func(_ string, text json.RawMessage) bool {
		var t Token
		return json.Unmarshal(text, &t) == nil && slices.Contains(t.Keyslots, slot)
	})
	if h.meta.Tokens == nil {
		h.meta.Tokens = map[string]json.RawMessage{}
	}
}

// places are where the material of a slot may be and none is.
func (h *Header) places() func(yield func(area) bool) {
	return func(yield func(area) bool) {
		size := number(roundUp(stripes*int64(len64(h)), areaAlign))
		for at := number(copies * h.size); at+size <= h.meta.Segments[only].Offset; at += size {
			taken := false
			for _, k := range h.meta.Keyslots {
				taken = taken || k.Area.Offset < at+size && at < k.Area.Offset+k.Area.Size
			}
			if !taken && !yield(area{Offset: at, Size: size}) {
				return
			}
		}
	}
}

// len64 is the size of the volume's key, or the largest if no slot says it.
func len64(h *Header) int {
	for _, k := range h.meta.Keyslots {
		return min(max(k.KeySize, 16), 64)
	}
	return 64
}

// commit returns the writes of a change: what has to be there before, the two copies of the header, and the end of what was.
func (h *Header) commit(before []Write, old *area) ([]Write, error) {
	h.sequence++
	out := before
	for _, which := range []int{1 - h.good, h.good} {
		b, err := h.encode(which)
		if err != nil {
			return nil, err
		}
		out = append(out, Write{What: fmt.Sprintf("copy %d of the header", which+1), Flush: true, Offset: int64(which) * h.size, Data: b})
	}
	if old != nil {
		out = append(out, Write{What: "old key slot", Flush: true, Offset: int64(old.Offset), Zeros: int64(old.Size)})
	}
	h.Stale = false
	return out, nil
}
