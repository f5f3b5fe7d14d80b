package luks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// disk is a device in memory. Its pages are never changed but replaced, so that a copy of the disk is one of the map. A page that is not there is zero.
type disk struct {
	pages map[int64][]byte
}

const (
	diskSize = DataOffset + 1<<20
	page     = 4096
)

func newDisk() *disk { return &disk{pages: map[int64][]byte{}} }

func (d *disk) clone() *disk { return &disk{pages: maps.Clone(d.pages)} }

func (d *disk) bytes() []byte {
	b := make([]byte, diskSize)
	for n, p := range d.pages {
		copy(b[n*page:], p)
	}
	return b
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		if at >= diskSize {
			return n, io.EOF
		}
		have := d.pages[at/page]
		if have == nil {
			have = make([]byte, page)
		}
		n += copy(p[n:], have[at%page:])
	}
	return len(p), nil
}

func (d *disk) Sync() error { return nil }

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		fresh := make([]byte, page)
		copy(fresh, d.pages[at/page])
		n += copy(fresh[at%page:], p[n:])
		if len(bytes.Trim(fresh, "\x00")) == 0 {
			delete(d.pages, at/page)
			continue
		}
		d.pages[at/page] = fresh
	}
	return len(p), nil
}

func random(s string) Secret { return Secret{Bytes: []byte(s), Random: true} }

type note struct {
	Token
	Data string `json:"data"`
}

func noteOf(slot int, data string) note {
	return note{Token{Type: "test", Keyslots: []string{fmt.Sprint(slot)}}, data}
}

const aes256 = "aes-xts-plain64"

// formatted returns a disk with a volume, and the volume's key.
func formatted(t *testing.T, slot int, s Secret) (*disk, *Header, []byte) {
	t.Helper()
	h, key, err := New(Options{UUID: "7d4b1f5e-8a52-4f0f-9d5a-0a2b3c4d5e6f", Label: "STATE", Cipher: aes256})
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	writes, err := h.Format(key, slot, s, noteOf(slot, "first"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Apply(d, writes); err != nil {
		t.Fatal(err)
	}
	return d, h, key
}

// opens returns the slots that the secrets open, in the order of the secrets: -1 for one that opens nothing.
func opens(t *testing.T, d *disk, secrets ...string) []int {
	t.Helper()
	h, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, s := range secrets {
		slot := -1
		for _, n := range h.Slots() {
			if _, err := h.Unlock(d, n, []byte(s)); err == nil {
				slot = n
			} else if !errors.Is(err, ErrSecret) {
				t.Fatal(err)
			}
		}
		out = append(out, slot)
	}
	return out
}

func TestSlotsAreAddedChangedAndRemoved(t *testing.T) {
	d, h, key := formatted(t, 3, random("one"))
	change := func(writes []Write, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := Apply(d, writes); err != nil {
			t.Fatal(err)
		}
	}
	want := func(slots ...int) {
		t.Helper()
		if got := opens(t, d, "one", "two", "three"); !slices.Equal(got, slots) {
			t.Errorf("slots opened by one, two, three = %v; want %v", got, slots)
		}
	}
	want(3, -1, -1)
	change(h.Put(key, 0, random("two"), nil))
	want(3, 0, -1)
	change(h.Put(key, 3, random("three"), noteOf(3, "second")))
	want(-1, 0, 3)
	h, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	if kind, text := h.Token(3); kind != "test" || !strings.Contains(string(text), `"second"`) || len(h.meta.Tokens) != 1 {
		t.Errorf("token of slot 3 = %q %s of %d; want the second alone", kind, text, len(h.meta.Tokens))
	}
	change(h.Remove(3))
	want(-1, 0, -1)
	if len(h.meta.Tokens) != 0 {
		t.Errorf("tokens after their slot is gone: %v", h.meta.Tokens)
	}
	if _, err := h.Remove(0); err == nil || !strings.Contains(err.Error(), "the last one") {
		t.Errorf("Remove(the last slot) = %v; want an error", err)
	}
	if w, err := h.Forget(d); err != nil || len(w) != 0 {
		t.Errorf("Forget after whole changes = %d writes, %v; want none", len(w), err)
	}
	if _, err := h.Put(bytes.Repeat([]byte{1}, 64), 1, random("x"), nil); !errors.Is(err, ErrSecret) {
		t.Errorf("Put(a key of another volume) = %v; want ErrSecret", err)
	}
	if got, want := h.Mapping(), (Mapping{Cipher: aes256, Offset: DataOffset, SectorSize: 512}); got != want {
		t.Errorf("Mapping = %+v; want %+v", got, want)
	}
}

// cuts calls check with the disk as it is after a cut at each boundary of a sector of each write, sampled within long writes. torn are writes of
// which only the last sectors have arrived.
func cuts(t *testing.T, before *disk, writes []Write, check func(name string, d *disk)) int {
	t.Helper()
	count := 0
	whole := before.clone()
	for i, w := range writes {
		data := w.Data
		if w.Zeros > 0 {
			data = make([]byte, w.Zeros)
		}
		n := len(data) / sectorSize
		for _, k := range slices.Compact([]int{0, min(1, n), min(8, n), n / 2, n - 1}) {
			for _, torn := range []bool{false, true} {
				if torn && k == 0 {
					continue // all of it
				}
				d, part, at := whole.clone(), data[:k*sectorSize], w.Offset
				if torn {
					part, at = data[k*sectorSize:], w.Offset+int64(k*sectorSize)
				}
				if _, err := d.WriteAt(part, at); err != nil {
					t.Fatal(err)
				}
				check(fmt.Sprintf("write %d (%s), sector %d, torn %v", i, w.What, k, torn), d)
				count++
			}
		}
		if err := w.apply(whole); err != nil {
			t.Fatal(err)
		}
	}
	return count
}

func TestACutInAChangeLeavesTheOldSecretOrTheNewOne(t *testing.T) {
	d, h, key := formatted(t, 0, random("old"))
	if w, err := h.Put(key, 5, random("other"), nil); err != nil || Apply(d, w) != nil {
		t.Fatal(err)
	}
	before := d.clone()
	writes, err := h.Put(key, 0, random("new"), noteOf(0, "second"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	n := cuts(t, before, writes, func(name string, d *disk) {
		got := opens(t, d, "old", "new", "other")
		seen[fmt.Sprint(got)] = true
		if (got[0] == 0) == (got[1] == 0) || got[2] != 5 {
			t.Errorf("%s: slots opened by old, new, other = %v; want 0 for one of the first two and 5", name, got)
		}
		// And the change can be made anew, after which nothing of the old is left.
		h, err := Read(d)
		if err != nil {
			t.Fatal(err)
		}
		w, err := h.Put(key, 0, random("newest"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Apply(d, w); err != nil {
			t.Fatal(err)
		}
		if w, err = h.Forget(d); err != nil {
			t.Fatal(err)
		}
		if err := Apply(d, w); err != nil {
			t.Fatal(err)
		}
		if got := opens(t, d, "old", "new", "newest", "other"); !slices.Equal(got, []int{-1, -1, 0, 5}) {
			t.Errorf("%s, and changed again: %v", name, got)
		}
		if h, err := Read(d); err != nil || h.Stale {
			t.Errorf("%s: the header after the change: stale %v, %v", name, h.Stale, err)
		}
	})
	if len(seen) != 2 {
		t.Errorf("outcomes %v; want both, or the harness cuts nothing", seen)
	}
	t.Logf("%d cuts", n)
}

func TestACutInAFormatLeavesNothingOrAVolume(t *testing.T) {
	h, key, err := New(Options{Cipher: aes256})
	if err != nil {
		t.Fatal(err)
	}
	writes, err := h.Format(key, 0, random("s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	none, whole := 0, 0
	cuts(t, newDisk(), writes, func(name string, d *disk) {
		h, err := Read(d)
		switch {
		case errors.Is(err, ErrNone):
			none++
		case err != nil:
			t.Errorf("%s: %v; want no header, or a whole one", name, err)
		default:
			whole++
			if _, err := h.Unlock(d, 0, []byte("s")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	if none == 0 || whole == 0 {
		t.Errorf("none %d, whole %d; want some of both", none, whole)
	}
}

func TestWhatADiskMayNotAskFor(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*metadata)
		want   error
	}{
		{"no encryption at all", func(m *metadata) { edit(m, func(s *segment) { s.Encryption = "cipher_null-ecb" }) }, errors.ErrUnsupported},
		{"re-encryption", func(m *metadata) { m.Config.Requirements = json.RawMessage(`{"mandatory":["online-reencrypt"]}`) }, errors.ErrUnsupported},
		{"two segments", func(m *metadata) { m.Segments["1"] = m.Segments["0"] }, errors.ErrUnsupported},
		{"integrity", func(m *metadata) { edit(m, func(s *segment) { s.Integrity = json.RawMessage(`{}`) }) }, errors.ErrUnsupported},
		{"data in the header", func(m *metadata) { edit(m, func(s *segment) { s.Offset = 4096 }) }, ErrDamaged},
		{"a slot in the data", func(m *metadata) {
			k := m.Keyslots["0"]
			k.Area.Offset = DataOffset
			m.Keyslots["0"] = k
		}, ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, h, _ := formatted(t, 0, random("s"))
			tc.change(&h.meta)
			w, err := h.commit(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := Apply(d, w); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(d); !errors.Is(err, tc.want) {
				t.Errorf("Read = %v; want %v", err, tc.want)
			}
		})
	}
	d, h, _ := formatted(t, 0, random("s"))
	k := h.meta.Keyslots["0"]
	k.KDF = kdf{Type: "argon2id", Time: 4, Memory: 8 << 20, CPUs: 4}
	h.meta.Keyslots["0"] = k
	if _, err := h.Unlock(d, 0, []byte("s")); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Unlock(8 GiB of Argon2id) = %v; want errors.ErrUnsupported", err)
	}
}

func edit(m *metadata, change func(*segment)) {
	s := m.Segments["0"]
	change(&s)
	m.Segments["0"] = s
}

func flip(d *disk, at int64) {
	b := make([]byte, 1)
	_, _ = d.ReadAt(b, at)
	b[0] ^= 1
	_, _ = d.WriteAt(b, at)
}

func TestDamage(t *testing.T) {
	d, _, _ := formatted(t, 0, random("s"))
	flip(d, 5000)
	if h, err := Read(d); err != nil || !h.Stale {
		t.Errorf("Read(first copy damaged) = %+v, %v; want the second", h, err)
	}
	flip(d, headerSize+5000)
	if _, err := Read(d); !errors.Is(err, ErrDamaged) {
		t.Errorf("Read(both damaged) = %v; want ErrDamaged", err)
	}
	if _, err := Read(newDisk()); !errors.Is(err, ErrNone) {
		t.Errorf("Read(nothing) = %v; want ErrNone", err)
	}
	if _, err := Read(bytes.NewReader(nil)); !errors.Is(err, ErrNone) {
		t.Errorf("Read(no bytes) = %v; want ErrNone", err)
	}
}

// cryptsetup runs the reference implementation; secret goes to its standard input.
func cryptsetup(t *testing.T, secret string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("cryptsetup")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI has to have cryptsetup (package cryptsetup-bin)")
		}
		t.Skip("cryptsetup is not installed (package cryptsetup-bin); CI has it")
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(secret)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestCryptsetupReadsWhatIsMadeHere(t *testing.T) {
	d, h, key := formatted(t, 0, random("one"))
	w, err := h.Put(key, 7, Secret{Bytes: []byte("two")}, noteOf(7, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Apply(d, w); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, d.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for secret, slot := range map[string]string{"one": "0", "two": "7"} {
		if out, err := cryptsetup(t, secret, "open", "--test-passphrase", "--key-file=-", "--key-slot", slot, file); err != nil {
			t.Errorf("open slot %s: %v: %s", slot, err, out)
		}
	}
	if out, err := cryptsetup(t, "three", "open", "--test-passphrase", "--key-file=-", file); err == nil {
		t.Errorf("a wrong secret opens it: %s", out)
	}
	out, err := cryptsetup(t, "", "luksDump", file)
	for _, want := range []string{"cipher: aes-xts-plain64", "7d4b1f5e-8a52-4f0f-9d5a-0a2b3c4d5e6f", "PBKDF:      argon2id", "0: test"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("luksDump: %v, want %q:\n%s", err, want, out)
		}
	}
}

func TestWhatCryptsetupMakesIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, make([]byte, diskSize), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := cryptsetup(t, "secret", "luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "1024",
		"--uuid", "7d4b1f5e-8a52-4f0f-9d5a-0a2b3c4d5e6f", "--sector-size", "4096", "--key-file=-", file)
	if err != nil {
		t.Fatalf("luksFormat: %v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk()
	_, _ = d.WriteAt(b, 0)
	h, err := Read(d)
	if err != nil {
		t.Fatal(err)
	}
	key, err := h.Unlock(d, 0, []byte("secret"))
	if err != nil || len(key) == 0 {
		t.Fatalf("Unlock = %d bytes, %v", len(key), err)
	}
	if m := h.Mapping(); m.SectorSize != 4096 || m.Offset != DataOffset || m.Cipher != aes256 {
		t.Errorf("Mapping = %+v", m)
	}
	w, err := h.Put(key, 1, random("ours"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := Apply(d, w); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, d.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for secret, slot := range map[string]string{"secret": "0", "ours": "1"} {
		if out, err := cryptsetup(t, secret, "open", "--test-passphrase", "--key-file=-", "--key-slot", slot, file); err != nil {
			t.Errorf("open slot %s: %v: %s", slot, err, out)
		}
	}
}

// FuzzRead looks for headers that make reading, or what follows a successful one, do anything but return.
func FuzzRead(f *testing.F) {
	h, key, err := New(Options{UUID: "7d4b1f5e-8a52-4f0f-9d5a-0a2b3c4d5e6f", Cipher: aes256})
	if err != nil {
		f.Fatal(err)
	}
	if _, _, err := h.set(key, 0, random("s"), noteOf(0, "x")); err != nil {
		f.Fatal(err)
	}
	for which := range copies {
		b, err := h.encode(which)
		if err != nil {
			f.Fatal(err)
		}
		body, _, _ := bytes.Cut(b[binarySize:], []byte{0})
		f.Add(b[:binarySize], body, which == 1)
	}
	f.Add([]byte(magics[0]), []byte(`{"keyslots":{"0":{"key_size":-1}}}`), false)
	f.Fuzz(func(t *testing.T, head, body []byte, second bool) {
		// The checksum is made right, or nothing behind it would ever be reached.
		b := make([]byte, 2*headerSize)
		at := 0
		if second {
			at = headerSize
		}
		one := b[at : at+headerSize]
		copy(one[:binarySize], head)
		copy(one[binarySize:], body)
		sum := checksum(one)
		copy(one[offChecksum:], sum[:])
		h, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, slot := range h.Slots() {
			h.Token(slot)
			k := h.meta.Keyslots[fmt.Sprint(slot)]
			if k.KDF.Type == "pbkdf2" && k.KDF.Iterations < 5000 && h.meta.Digests[only].Iterations < 5000 {
				if _, err := h.Unlock(bytes.NewReader(b), slot, []byte("s")); err == nil {
					t.Error("a header without material was opened")
				}
			}
		}
		h.Mapping()
		if _, err := h.commit(nil, nil); err != nil && !strings.Contains(err.Error(), "there is room for") {
			t.Errorf("a header that was read cannot be written: %v", err)
		}
	})
}
