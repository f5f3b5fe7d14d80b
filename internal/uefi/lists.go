package uefi

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"talos.internal/internal/gpt"
)

// ErrFormat is the error for bytes that are no such structure.
var ErrFormat = errors.New("not a sound structure of UEFI")

// Types of signatures (section 32.4.1).
var (
	TypeX509   = mustGUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072") // a certificate in DER
	TypeSHA256 = mustGUID("c1c41626-504c-4092-aca9-41f936934328") // the hash of a program
)

// mustGUID parses a GUID of this package; a wrong one is zero, and a test looks for that.
func mustGUID(s string) gpt.GUID {
	g, _ := gpt.ParseGUID(s)
	return g
}

// Signature is one entry of a list.
type Signature struct {
	Type  gpt.GUID
	Owner gpt.GUID // who put it there; nothing depends on it
	Data  []byte   // of TypeX509 a certificate, of TypeSHA256 a hash
}

// Signatures are the entries of all lists of a variable.
type Signatures []Signature

// Certificate returns an entry that trusts a certificate.
func Certificate(owner gpt.GUID, cert *x509.Certificate) Signature {
	return Signature{TypeX509, owner, cert.Raw}
}

const (
	guidSize   = 16
	listHeader = guidSize + 3*4
)

// wire is a GUID as structures have it: its first three groups are little-endian. It is its own inverse.
func wire(g gpt.GUID) gpt.GUID {
	return gpt.GUID{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

// Encode returns the lists as a variable holds them, and files *.esl. Certificates, which differ in size, have a list each; hashes that
// follow each other share one.
func (s Signatures) Encode() []byte {
	le := binary.LittleEndian
	var out []byte
	for i := 0; i < len(s); {
		n := 1
		for i+n < len(s) && s[i].Type != TypeX509 && s[i+n].Type == s[i].Type && len(s[i+n].Data) == len(s[i].Data) {
			n++
		}
		kind, size := wire(s[i].Type), guidSize+len(s[i].Data)
		out = append(out, kind[:]...)
		out = le.AppendUint32(out, uint32(listHeader+n*size))
		out = le.AppendUint32(out, 0)
		out = le.AppendUint32(out, uint32(size))
		for _, e := range s[i : i+n] {
			owner := wire(e.Owner)
			out = append(append(out, owner[:]...), e.Data...)
		}
		i += n
	}
	return out
}

// ParseSignatures reads lists. Lists of types that are not named above are read like the others. It fails with ErrFormat.
func ParseSignatures(b []byte) (Signatures, error) {
	le := binary.LittleEndian
	var all Signatures
	for len(b) > 0 {
		if len(b) < listHeader {
			return nil, fmt.Errorf("parse a signature list: %d bytes are left: %w", len(b), ErrFormat)
		}
		size, header, each := int64(le.Uint32(b[guidSize:])), int64(le.Uint32(b[guidSize+4:])), int64(le.Uint32(b[guidSize+8:]))
		body := size - listHeader - header
		if size > int64(len(b)) || body < 0 || each < guidSize || body%each != 0 {
			return nil, fmt.Errorf("parse a signature list: %d bytes with a header of %d and entries of %d, where %d bytes are left: %w", size, header, each, len(b), ErrFormat)
		}
		kind := wire(gpt.GUID(b[:guidSize]))
		for e := b[listHeader+header : size]; len(e) > 0; e = e[each:] {
			all = append(all, Signature{kind, wire(gpt.GUID(e[:guidSize])), bytes.Clone(e[guidSize:each])})
		}
		b = b[size:]
	}
	return all, nil
}

// Certificates returns the certificates that are trusted. Entries that are no certificate which Go can read are left out.
func (s Signatures) Certificates() []*x509.Certificate {
	var all []*x509.Certificate
	for _, e := range s {
		if e.Type != TypeX509 {
			continue
		}
		if c, err := x509.ParseCertificate(e.Data); err == nil {
			all = append(all, c)
		}
	}
	return all
}

// Hash returns an entry that trusts a program by its SHA-256, which is that of what a signature would cover.
func Hash(owner gpt.GUID, sum [sha256.Size]byte) Signature {
	return Signature{TypeSHA256, owner, sum[:]}
}
