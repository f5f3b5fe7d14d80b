package gpt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is a GUID in the order of its text. On a disk its first three groups are little-endian (UEFI specification, appendix A).
type GUID [16]byte

// Types of partitions (UEFI specification, table 5.7; Discoverable Partitions Specification).
var (
	TypeESP   = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	TypeLinux = mustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4") // data of any Linux file system
	TypeRoot  = mustGUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709") // a root file system for x86-64
	TypeSwap  = mustGUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")
	TypeBIOS  = mustGUID("21686148-6449-6e6f-744e-656564454649")
	TypeLVM   = mustGUID("e6d6d379-f507-44c2-a23c-238f2a3df928")
	TypeRAID  = mustGUID("a19d880f-05fc-4d3b-a006-743f0f84911e")
)

// mustGUID parses a constant of this file; a test looks at each of them.
func mustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		return GUID{}
	}
	return g
}

// ParseGUID parses a GUID in its usual form, in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("parse GUID %q: expected 8-4-4-4-12 hexadecimal digits", s)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != len(g) {
		return g, fmt.Errorf("parse GUID %q: expected 8-4-4-4-12 hexadecimal digits", s)
	}
	copy(g[:], b)
	return g, nil
}

// DeriveGUID returns the GUID that belongs to a name under a seed: always the same, and with the version (8) and variant of
// RFC 9562, section 5.8.
func DeriveGUID(seed, name string) GUID {
	sum := sha256.Sum256([]byte(seed + "\x00" + name))
	var g GUID
	copy(g[:], sum[:])
	g[6] = g[6]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}

// String returns g in lower case, as Linux prints it.
func (g GUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// IsZero reports whether g is all zero, which as a type means that an entry is not used.
func (g GUID) IsZero() bool { return g == GUID{} }

// swap turns the order of the text into that of the disk, and back.
func (g GUID) swap() GUID {
	g[0], g[1], g[2], g[3] = g[3], g[2], g[1], g[0]
	g[4], g[5] = g[5], g[4]
	g[6], g[7] = g[7], g[6]
	return g
}
