package superblock

import (
	"encoding/binary"
	"fmt"
	"strings"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// has reports whether text stands at an offset.
func has(b []byte, at int, text string) bool {
	return len(b) >= at+len(text) && string(b[at:at+len(text)]) == text
}

// text returns a field that ends with a zero or spaces, without what cannot be printed.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// uuid formats 16 bytes; all zero is none.
func uuid(b []byte) string {
	if [16]byte(b[:16]) == [16]byte{} {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// power returns 1 << bits if that is a plausible size of a block, else 0.
func power(bits uint32) uint32 {
	if bits < 9 || bits > 20 {
		return 0
	}
	return 1 << bits
}

func powerOfTwo(n uint32) bool { return n != 0 && n&(n-1) == 0 }
