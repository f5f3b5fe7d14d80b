package metastore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// partition is META in memory. It stops writing after limit bytes.
type partition struct {
	b     []byte
	limit int
	syncs int
}

func newPartition() *partition { return &partition{b: make([]byte, Size), limit: 1 << 30} }

func (p *partition) ReadAt(b []byte, off int64) (int, error) {
	return bytes.NewReader(p.b).ReadAt(b, off)
}

func (p *partition) WriteAt(b []byte, off int64) (int, error) {
	n := copy(p.b[off:], b[:min(len(b), p.limit)])
	if n < len(b) {
		return n, errors.New("power was cut")
	}
	return n, nil
}

func (p *partition) Sync() error { p.syncs++; return nil }

func set(k Key, v string) func(Values) { return func(m Values) { m[k] = v } }

func read(t *testing.T, p *partition) Values {
	t.Helper()
	c, _, err := Read(p)
	if err != nil {
		t.Fatal(err)
	}
	return c.Values
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	p := newPartition()
	if got := read(t, p); len(got) != 0 {
		t.Errorf("a new META has %v", got)
	}
	want := Values{}
	for i := range 10 {
		k, v := Key(i%4+6), strings.Repeat(fmt.Sprint(i), i*1000)
		want[k] = v
		if got, err := Update(p, set(k, v)); err != nil || !cmp.Equal(got, want) {
			t.Fatalf("Update = %v, %v; want %v", got, err, want)
		}
		if diff := cmp.Diff(want, read(t, p)); diff != "" {
			t.Fatalf("change %d (-want +got):\n%s", i, diff)
		}
	}
	delete(want, 6)
	if _, err := Update(p, func(m Values) { delete(m, 6) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read(t, p)); diff != "" {
		t.Errorf("after removal (-want +got):\n%s", diff)
	}
	syncs := p.syncs
	if _, err := Update(p, func(Values) {}); err != nil || p.syncs != syncs {
		t.Errorf("a change that changes nothing was written, or failed: %v", err)
	}
}

// TestATornWriteLosesNothing cuts the write of a change after every number of bytes that makes a difference.
func TestATornWriteLosesNothing(t *testing.T) {
	p := newPartition()
	old := Values{6: "the old entry", 0xa: strings.Repeat("network ", 1000)}
	for range 2 { // both copies are in use
		if _, err := Update(p, func(m Values) { m[0xb] += "x"; m[6], m[0xa] = old[6], old[0xa] }); err != nil {
			t.Fatal(err)
		}
	}
	old = read(t, p)
	start := bytes.Clone(p.b)
	states := 0
	for limit := 0; limit < 10<<10; limit += 97 {
		p.b, p.limit = bytes.Clone(start), limit
		got, err := Update(p, set(6, "the new entry"))
		p.limit = 1 << 30
		now := read(t, p)
		if whole := now[6] == "the new entry"; !whole && !cmp.Equal(now, old) {
			t.Fatalf("cut after %d bytes: META has %v", limit, now)
		} else if err == nil && (!whole || got[6] != now[6]) {
			t.Fatalf("cut after %d bytes: Update says that it is done, META has %q", limit, now[6])
		}
		// The next change works on whatever is there.
		if got, err := Update(p, set(7, "later")); err != nil || got[6] != now[6] || read(t, p)[7] != "later" {
			t.Fatalf("change after a cut at %d bytes: %v, %v", limit, got, err)
		}
		states++
	}
	t.Logf("%d states", states)
}

func TestAFullMetaIsRefusedAndStays(t *testing.T) {
	p := newPartition()
	if _, err := Update(p, set(6, "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := Update(p, set(7, strings.Repeat("x", copySize))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Update = %v; want ErrTooLarge", err)
	}
	if diff := cmp.Diff(Values{6: "x"}, read(t, p)); diff != "" {
		t.Error(diff)
	}
	if _, err := Update(p, set(7, strings.Repeat("x", maxEntries-5-6))); err != nil {
		t.Errorf("the largest value: %v", err)
	}
}

func TestDamageIsTold(t *testing.T) {
	p := newPartition()
	for _, v := range []string{"a", "b"} {
		if _, err := Update(p, set(6, v)); err != nil {
			t.Fatal(err)
		}
	}
	p.b[copySize+60]++
	c, damaged, err := Read(p)
	if err != nil || !damaged || c.Values[6] != "a" {
		t.Errorf("Read = %v, damaged %v, %v; want the older copy, damaged", c, damaged, err)
	}
}

func TestKeys(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Key
	}{{"0xa", 10}, {"0x0a", 10}, {"12", 12}, {"0", 0}, {"0x100", 0}, {"", 0}, {"x", 0}} {
		got, err := ParseKey(tc.text)
		if got != tc.want || (err == nil) != (tc.want != 0) {
			t.Errorf("ParseKey(%q) = %v, %v; want %v", tc.text, got, err, tc.want)
		}
	}
	if got := MetalNetworkPlatform.String(); got != "0x0a" {
		t.Errorf("String = %s; want 0x0a", got)
	}
}

func FuzzRead(f *testing.F) {
	whole, err := Encode(Values{6: "A", 0xa: "network"}, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, false)
	f.Add(whole[headerSize:headerSize+20], true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix { // b are the entries: give them a header, so that they are looked at
			h := append([]byte(magic), make([]byte, headerSize-len(magic))...)
			h[8], h[16], h[17] = 1, byte(len(b)), byte(len(b)>>8)
			sum := checksum(h[:24], b[:min(len(b), 65535)])
			copy(h[24:], sum[:])
			b = append(h, b...)
		}
		values, generation, state := decode(b)
		if state != copyValid {
			return
		}
		again, err := Encode(values, generation)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if got, _, state := decode(again); state != copyValid || !cmp.Equal(got, values) {
			t.Errorf("%v was read again as %v", values, got)
		}
	})
}
