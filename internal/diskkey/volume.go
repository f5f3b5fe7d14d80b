package diskkey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"talos.internal/internal/luks"
	"talos.internal/resource/block"
)

// Device is a disk or partition that is open to be read and written.
type Device interface {
	io.ReaderAt
	luks.Device
}

// Opened is a volume whose key is known.
type Opened struct {
	UUID    string
	Key     Key
	Slot    int64 // that opened it
	Mapping luks.Mapping
	// Refused says of keys that were tried before why they did not open it.
	Refused []string
}

// maxSector is the largest unit of encryption.
const maxSector = 4096

// sector returns the unit of encryption for a disk: what it writes in one piece.
func sector(e block.Encryption, logical, physical int) int {
	switch {
	case e.BlockSize != 0:
		return int(e.BlockSize)
	case logical >= maxSector || physical >= maxSector:
		return maxSector
	}
	return 512
}

// Format makes an encrypted volume on a device. The slots are all there or none is: a key whose secret cannot be had is an error, and then
// nothing was written. logical and physical are the sizes of the disk's sectors.
func Format(ctx context.Context, d Device, k *Keeper, volume string, e block.Encryption, logical, physical int) (o Opened, err error) {
	if len(e.Keys) == 0 {
		return o, fmt.Errorf("encrypt the volume %s: the config has no keys for it", volume)
	}
	h, key, err := luks.New(luks.Options{UUID: newUUID(), Label: volume, Cipher: e.Cipher, KeyBits: int(e.KeySize), SectorSize: sector(e, logical, physical)})
	if err != nil {
		return o, fmt.Errorf("encrypt the volume %s: %w", volume, err)
	}
	var writes []luks.Write
	for i, wanted := range e.Keys {
		if err := ctxErr(ctx); err != nil {
			return o, err
		}
		secret, token, err := k.create(volume, wanted)
		if err != nil {
			return o, fmt.Errorf("encrypt the volume %s: key slot %d (%s): %w", volume, wanted.Slot, wanted.Type, err)
		}
		var more []luks.Write
		if i == 0 {
			more, err = h.Format(key, int(wanted.Slot), secret, token)
		} else {
			more, err = h.Put(key, int(wanted.Slot), secret, token)
		}
		if err != nil {
			return o, fmt.Errorf("encrypt the volume %s: %w", volume, err)
		}
		writes = append(writes, more...)
	}
	if err := luks.Apply(d, writes); err != nil {
		return o, fmt.Errorf("encrypt the volume %s: %w", volume, err)
	}
	return Opened{UUID: h.UUID, Key: key, Slot: e.Keys[0].Slot, Mapping: h.Mapping()}, nil
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Unlock has the key of a volume by the first of some keys that opens it. A static key opens the recovery slot as well: its passphrase may be
// the recovery key, whatever slot the config gives it. The error says of each key why it does not open it; it wraps ErrNotYet if one may do so later.
func Unlock(ctx context.Context, r io.ReaderAt, k *Keeper, volume string, keys []block.EncryptionKey) (o Opened, err error) {
	h, err := luks.Read(r)
	if err != nil {
		return o, fmt.Errorf("open the volume %s: %w", volume, err)
	}
	var refused []error
	for _, wanted := range keys {
		if err := ctxErr(ctx); err != nil {
			return o, fmt.Errorf("open the volume %s: %w", volume, err)
		}
		key, slot, err := try(h, r, k, volume, wanted)
		if err != nil {
			refused = append(refused, fmt.Errorf("key slot %d (%s): %w", wanted.Slot, wanted.Type, err))
			continue
		}
		o = Opened{UUID: h.UUID, Key: key, Slot: slot, Mapping: h.Mapping()}
		for _, e := range refused {
			o.Refused = append(o.Refused, e.Error())
		}
		return o, nil
	}
	if len(keys) == 0 {
		return o, fmt.Errorf("open the volume %s: there are no keys for it", volume)
	}
	return o, fmt.Errorf("open the volume %s: %w", volume, errors.Join(refused...))
}

func try(h *luks.Header, r io.ReaderAt, k *Keeper, volume string, wanted block.EncryptionKey) (Key, int64, error) {
	kind, token := h.Token(int(wanted.Slot))
	if kind != "" && kind != kinds[wanted.Type] && wanted.Type != block.KeyStatic {
		return nil, 0, fmt.Errorf("the slot has a key of another sort (%s): %w", kind, luks.ErrSecret)
	}
	secret, err := k.recall(volume, wanted, token)
	if err != nil {
		return nil, 0, err
	}
	key, err := h.Unlock(r, int(wanted.Slot), secret.Bytes)
	if err == nil || wanted.Type != block.KeyStatic {
		return key, wanted.Slot, err
	}
	for _, slot := range recoverySlots(h) {
		if key, again := h.Unlock(r, slot, normal(string(wanted.StaticPassphrase))); again == nil {
			return key, int64(slot), nil
		}
	}
	return nil, 0, err
}

// normal is a recovery key as it is kept: a person may leave out the dashes or write capitals.
func normal(key string) []byte {
	return []byte(strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(strings.TrimSpace(key))))
}

func recoverySlots(h *luks.Header) []int {
	return slices.DeleteFunc(h.Slots(), func(slot int) bool {
		kind, _ := h.Token(slot)
		return kind != tokenRecovery
	})
}

// Change is one change of a volume's key slots.
type Change struct {
	Slot int
	Key  *block.EncryptionKey // that is put there; nil takes the slot away
	Why  string
}

// String says it in one line.
func (c Change) String() string {
	if c.Key == nil {
		return fmt.Sprintf("remove key slot %d: %s", c.Slot, c.Why)
	}
	return fmt.Sprintf("put a key (%s) in slot %d: %s", c.Key.Type, c.Slot, c.Why)
}

// Plan says what has to change so that the slots of a volume are those of the config: first keys that are missing, then those that are too many.
// slots has the types of the tokens of the slots that there are; works says of a key of the config why it does not open its slot, or "".
// The slot of the recovery key stays.
func Plan(slots map[int]string, keys []block.EncryptionKey, works map[int64]string) []Change {
	var out []Change
	wanted := map[int]bool{}
	for _, k := range keys {
		slot := int(k.Slot)
		wanted[slot] = true
		if why := works[k.Slot]; why != "" {
			out = append(out, Change{Slot: slot, Key: &k, Why: why})
		}
	}
	var extra []int
	for slot, kind := range slots {
		if !wanted[slot] && kind != tokenRecovery {
			extra = append(extra, slot)
		}
	}
	slices.Sort(extra)
	for _, slot := range extra {
		out = append(out, Change{Slot: slot, Why: "the config does not have it"})
	}
	return out
}

// Sync brings the slots of a volume that is open in line with the config. done has what was changed; failed says what could not be, and why: the volume
// is as usable as before.
func Sync(ctx context.Context, d Device, k *Keeper, volume string, o Opened, keys []block.EncryptionKey) (done []Change, failed []string) {
	fail := func(what fmt.Stringer, err error) {
		failed = append(failed, fmt.Sprintf("%s: %v", what, err))
	}
	h, err := luks.Read(d)
	if err != nil {
		return nil, []string{fmt.Sprintf("read the key slots of %s: %v", volume, err)}
	}
	slots, works := map[int]string{}, map[int64]string{}
	for _, slot := range h.Slots() {
		slots[slot], _ = h.Token(slot)
	}
	for _, key := range keys {
		if key.Slot == o.Slot && slots[int(key.Slot)] == kinds[key.Type] {
			continue // it has just opened it
		}
		if slots[int(key.Slot)] != kinds[key.Type] {
			works[key.Slot] = "the slot has no such key"
		} else if _, slot, err := try(h, d, k, volume, key); err != nil {
			works[key.Slot] = err.Error()
		} else if slot != key.Slot {
			works[key.Slot] = "its passphrase is that of another slot"
		}
	}
	for _, c := range Plan(slots, keys, works) {
		if err := ctxErr(ctx); err != nil {
			fail(c, err)
			continue
		}
		if c.Key == nil && len(failed) > 0 {
			fail(c, errors.New("not while a key could not be put in its slot"))
			continue
		}
		if err := change(d, k, volume, o.Key, h, c); err != nil {
			fail(c, err)
			if h, err = luks.Read(d); err != nil { // what h says may not be what is there
				return done, append(failed, err.Error())
			}
			continue
		}
		done = append(done, c)
	}
	// What a cut in an earlier change has left.
	repair, err := h.Repair()
	if err == nil {
		err = luks.Apply(d, repair)
	}
	var old []luks.Write
	if err == nil {
		old, err = h.Forget(d)
	}
	if err == nil {
		err = luks.Apply(d, old)
	}
	if err != nil {
		failed = append(failed, fmt.Sprintf("bring the header in order: %v", err))
	}
	return done, failed
}

func change(d Device, k *Keeper, volume string, key Key, h *luks.Header, c Change) error {
	var writes []luks.Write
	if c.Key == nil {
		var err error
		if writes, err = h.Remove(c.Slot); err != nil {
			return err
		}
		return luks.Apply(d, writes)
	}
	secret, token, err := k.create(volume, *c.Key)
	if err != nil {
		return err
	}
	if writes, err = h.Put(key, c.Slot, secret, token); err != nil {
		return err
	}
	return luks.Apply(d, writes)
}

// AddRecovery gives a volume a recovery key, which [NewRecovery] has made, in the last slot that is free, in place of the one that it may have had. It is
// nowhere else: who does not write it down has lost it.
func AddRecovery(d Device, o Opened, keys []block.EncryptionKey, text string) error {
	h, err := luks.Read(d)
	if err != nil {
		return fmt.Errorf("give a volume its recovery key: %w", err)
	}
	slot := luks.MaxSlots - 1
	if have := recoverySlots(h); len(have) > 0 {
		slot = have[0]
	} else {
		taken := h.Slots()
		for _, k := range keys {
			taken = append(taken, int(k.Slot))
		}
		for slots := 0; slices.Contains(taken, slot) && slots < luks.MaxSlots; slots++ {
			slot--
		}
	}
	writes, err := h.Put(o.Key, slot, luks.Secret{Bytes: normal(text), Random: true}, newNote(tokenRecovery, slot))
	if err == nil {
		err = luks.Apply(d, writes)
	}
	if err != nil {
		return fmt.Errorf("give a volume its recovery key: %w", err)
	}
	return nil
}
