package fat32

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// padded returns the first 11 bytes of s, filled with spaces.
func padded(s string) [11]byte {
	var b [11]byte
	n := copy(b[:], s)
	for ; n < len(b); n++ {
		b[n] = ' '
	}
	return b
}

// shortName returns the name of 8 and 3 characters for s, and whether it is s itself. taken has those of the directory, to which it is
// added.
func shortName(s string, taken map[[11]byte]bool) (name [11]byte, exact bool, err error) {
	stem, ext := s, ""
	if i := strings.LastIndexByte(s, '.'); i > 0 {
		stem, ext = s[:i], s[i+1:]
	}
	legal := func(s string) string {
		var b strings.Builder
		for _, r := range strings.ToUpper(s) {
			switch {
			case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r < 0x80 && strings.ContainsRune("$%'-_@~`!(){}^#&", r):
				b.WriteRune(r)
			case r == '.' || r == ' ':
			default:
				b.WriteByte('_')
			}
		}
		return b.String()
	}
	shortStem, shortExt := legal(stem), legal(ext)
	if shortStem == stem && shortExt == ext && len(stem) <= 8 && len(ext) <= 3 {
		name = join(stem, ext)
		if !taken[name] {
			taken[name] = true
			return name, true, nil
		}
	}
	for i := 1; i < 1000000; i++ {
		tail := fmt.Sprintf("~%d", i)
		name = join(shortStem[:min(len(shortStem), 8-len(tail))]+tail, shortExt[:min(len(shortExt), 3)])
		if !taken[name] {
			taken[name] = true
			return name, false, nil
		}
	}
	return name, false, fmt.Errorf("no short name is left for %s", s)
}

func join(stem, ext string) [11]byte {
	name := padded(stem)
	copy(name[8:], "   ")
	copy(name[8:], ext)
	return name
}

// longEntries returns the entries that hold the name s, in their order on the disk, before the entry with the short name. Each has 13
// characters in UTF-16; the first on the disk has the last of them.
func longEntries(s string, short [11]byte) [][]byte {
	sum := checksum(short)
	chars := utf16.Encode([]rune(s))
	n := (len(chars) + 12) / 13
	var out [][]byte
	for i := n; i >= 1; i-- {
		e := make([]byte, 32)
		e[0] = byte(i)
		if i == n {
			e[0] |= 0x40
		}
		e[11], e[13] = 0x0f, sum
		for j := range 13 {
			c := uint16(0xffff)
			switch at := (i-1)*13 + j; {
			case at < len(chars):
				c = chars[at]
			case at == len(chars):
				c = 0
			}
			binary.LittleEndian.PutUint16(e[longOffsets[j]:], c)
		}
		out = append(out, e)
	}
	return out
}

// checksum is what the entries of a long name have of the short one.
func checksum(short [11]byte) byte {
	var sum byte
	for _, c := range short {
		sum = (sum&1)<<7 + sum>>1 + c
	}
	return sum
}

var longOffsets = [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
