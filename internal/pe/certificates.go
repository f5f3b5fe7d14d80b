package pe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Offsets of what a signature does not cover, as it changes with the signature.
const (
	checksumSize     = 4
	certificatesSize = 8 // of the directory entry: offset in the file, size
)

// The attribute certificate table: WIN_CERTIFICATE with PKCS #7 SignedData.
const (
	certHeader     = 8
	certAlign      = 8
	certRevision   = 0x0200
	certPKCS       = 2
	maxCertificate = 1 << 20 // of the whole table
)

// Authenticode writes to w what a signature of the file covers: all of it but the checksum, and where the signatures are, and these.
// size is that of the file.
//
// The format would allow contents that no signature covers: between sections, and behind the certificates. A file that has such, or
// has sections one over another, is refused with ErrFormat, and so the order of the file is that of the format.
func (f *File) Authenticode(w io.Writer, size int64) error {
	if err := f.authenticode(w, size); err != nil {
		return fmt.Errorf("read what a signature of a PE file covers: %w", err)
	}
	return nil
}

func (f *File) authenticode(w io.Writer, size int64) error {
	end, err := f.contentEnd()
	if err != nil {
		return err
	}
	if f.certsSize != 0 {
		if int64(f.certsAt) < end || int64(f.certsAt)+int64(f.certsSize) != size || f.certsAt%certAlign != 0 {
			return fmt.Errorf("certificates of %d bytes at %d, in a file of %d whose sections end at %d: %w", f.certsSize, f.certsAt, size, end, ErrFormat)
		}
		size = int64(f.certsAt)
	}
	if size < end {
		return fmt.Errorf("it ends after %d bytes, within its sections: %w", size, ErrFormat)
	}
	checksum, directory := int64(f.optAt+optChecksum), int64(f.optAt+optCertificates)
	for _, r := range [][2]int64{{0, checksum}, {checksum + checksumSize, directory}, {directory + certificatesSize, size}} {
		n, err := io.Copy(w, io.NewSectionReader(f.r, r[0], r[1]-r[0]))
		if err == nil && n < r[1]-r[0] {
			err = fmt.Errorf("it ends after %d bytes: %w", r[0]+n, ErrFormat)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// contentEnd returns where the last section's content ends in the file. Headers and contents have to follow each other without gaps.
func (f *File) contentEnd() (int64, error) {
	headers := binary.LittleEndian.Uint32(f.head[f.optAt+optHeadersSize:])
	if int64(headers) < int64(len(f.head)) {
		return 0, fmt.Errorf("headers of %d bytes end before the section table does, at %d: %w", headers, len(f.head), ErrFormat)
	}
	order := make([]int, 0, len(f.Sections))
	for i := range f.Sections {
		if f.raw[i] != 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return int(int64(f.Sections[a].Offset) - int64(f.Sections[b].Offset)) })
	end := int64(headers)
	for _, i := range order {
		if int64(f.Sections[i].Offset) != end {
			return 0, fmt.Errorf("section %s is at %d; what is before it ends at %d: %w", f.Sections[i].Name, f.Sections[i].Offset, end, ErrFormat)
		}
		end += int64(f.raw[i])
	}
	return end, nil
}

// Certificates returns the signatures that the file has: each is PKCS #7 SignedData, in DER, possibly with up to seven zeros behind
// it. Attribute certificates of other types are left out. A file without has none, and that is no error; a broken table is ErrFormat.
func (f *File) Certificates() ([][]byte, error) {
	if f.certsSize == 0 {
		return nil, nil
	}
	if f.certsSize > maxCertificate {
		return nil, fmt.Errorf("certificates of %d bytes; at most %d: %w", f.certsSize, maxCertificate, ErrFormat)
	}
	table := make([]byte, f.certsSize)
	if err := readAt(f.r, table, int64(f.certsAt)); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	le := binary.LittleEndian
	var all [][]byte
	for len(table) > 0 {
		if len(table) < certHeader {
			return nil, fmt.Errorf("%d bytes behind the last certificate: %w", len(table), ErrFormat)
		}
		n := le.Uint32(table)
		if n < certHeader || int64(n) > int64(len(table)) {
			return nil, fmt.Errorf("a certificate of %d bytes where %d are left: %w", n, len(table), ErrFormat)
		}
		if le.Uint16(table[4:]) == certRevision && le.Uint16(table[6:]) == certPKCS {
			all = append(all, table[certHeader:n:n])
		}
		table = table[min(align(uint64(n), certAlign), uint64(len(table))):]
	}
	return all, nil
}

// WithCertificates returns a copy of a PE file with these signatures, instead of those that it has. A file whose size is no multiple
// of eight gets zeros at its end, which a signature covers: to sign a file, take what a signature covers of WithCertificates(image),
// without certificates, and then call WithCertificates with the signature.
func WithCertificates(image []byte, certificates ...[]byte) ([]byte, error) {
	f, err := Read(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	if f.Signed {
		if int64(f.certsAt)+int64(f.certsSize) != int64(len(image)) || int(f.certsAt) < len(f.head) {
			return nil, fmt.Errorf("the certificates are not at the file's end: %w", ErrFormat)
		}
		image = image[:f.certsAt]
	}
	le := binary.LittleEndian
	out := pad(bytes.Clone(image), certAlign)
	at := len(out)
	for _, c := range certificates {
		out = le.AppendUint32(out, uint32(certHeader+len(c)))
		out = le.AppendUint16(out, certRevision)
		out = le.AppendUint16(out, certPKCS)
		out = pad(append(out, c...), certAlign)
	}
	entry := out[f.optAt+optCertificates:]
	le.PutUint32(entry, 0)
	le.PutUint32(entry[4:], 0)
	if len(out) > at {
		le.PutUint32(entry, uint32(at))
		le.PutUint32(entry[4:], uint32(len(out)-at))
	}
	return out, nil
}

func pad(b []byte, to int) []byte {
	return append(b, make([]byte, int(align(uint64(len(b)), uint64(to)))-len(b))...)
}
