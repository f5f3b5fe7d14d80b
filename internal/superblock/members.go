package superblock

import (
	"errors"
	"fmt"
	"io"
)

// luks: LUKS2 On-Disk Format Specification, section 2.1; LUKS1, figure 1. A header whose first copy is lost is found by the second.
func luks(b []byte) (Found, bool) {
	if len(b) < 512 {
		return Found{}, false
	}
	f := Found{Name: "luks"}
	switch {
	case has(b, 0, "LUKS\xba\xbe") && be.Uint16(b[6:]) == 2:
		f.Label, f.UUID = text(b[24:72]), text(b[168:208])
	case has(b, 0, "LUKS\xba\xbe") && be.Uint16(b[6:]) == 1:
		f.UUID = text(b[168:208])
	default:
		for at := 16 << 10; at+512 <= len(b); at *= 2 {
			if has(b, at, "SKUL\xba\xbe") {
				f.Label, f.UUID = text(b[at+24:at+72]), text(b[at+168:at+208])
				return f, true
			}
		}
		return f, false
	}
	return f, true
}

// lvm recognises a physical volume (LVM2's lib/format_text/layout.h): a label in one of the first four sectors.
func lvm(b []byte) (Found, bool) {
	for at := 0; at+512 <= min(len(b), 2048); at += 512 {
		s := b[at : at+512]
		if !has(s, 0, "LABELONE") || !has(s, 24, "LVM2 001") {
			continue
		}
		f := Found{Name: "lvm2-pv"}
		if o := le.Uint32(s[20:]); o <= 512-40 {
			f.Size = le.Uint64(s[o+32:])
			id := s[o : o+32]
			for i, n := range []int{6, 4, 4, 4, 4, 4, 6} {
				if i > 0 {
					f.UUID += "-"
				}
				f.UUID += text(id[:n])
				id = id[n:]
			}
		}
		return f, true
	}
	return Found{}, false
}

// raid recognises a member of a software array (md(4)): versions 1.1 and 1.2 at the beginning, 1.0 and 0.90 at the end.
func raid(r io.ReaderAt, head []byte, size int64) (Found, bool, error) {
	const magic = "\xfc\x4e\x2b\xa9"
	v1 := func(b []byte, at int64) (Found, bool) {
		if int64(len(b)) < at+256 || !has(b, int(at), magic) || le.Uint32(b[at+4:]) != 1 {
			return Found{}, false
		}
		return Found{Name: "linux_raid_member", UUID: uuid(b[at+16:]), Label: text(b[at+32 : at+64])}, true
	}
	for _, at := range []int64{0, 4096} {
		if f, ok := v1(head, at); ok {
			return f, true, nil
		}
	}
	for _, at := range []int64{(size - 8192) &^ 4095, size&^65535 - 65536} {
		if at < 0 || at+4096 > size {
			continue
		}
		b := make([]byte, 4096)
		if _, err := r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return Found{}, false, fmt.Errorf("read 4096 bytes at %d: %w", at, err)
		}
		if f, ok := v1(b, 0); ok {
			return f, true, nil
		}
		if has(b, 0, magic) && le.Uint32(b[4:]) == 0 {
			id := append(append([]byte{}, b[20:24]...), b[52:64]...)
			return Found{Name: "linux_raid_member", UUID: uuid(id)}, true, nil
		}
	}
	return Found{}, false, nil
}

// bluestore: a disk of Ceph.
func bluestore(b []byte) (Found, bool) {
	const mark = "bluestore block device\n"
	if !has(b, 0, mark) {
		return Found{}, false
	}
	f := Found{Name: "bluestore"}
	if len(b) >= len(mark)+36 {
		f.UUID = text(b[len(mark) : len(mark)+36])
	}
	return f, true
}

// meta: package metastore.
func meta(b []byte) (Found, bool) {
	return Found{Name: "talosmeta"}, has(b, 0, "TALOSKV1")
}
