package pe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFormat is the error for what is no PE file for 64 bits, or a broken one.
var ErrFormat = errors.New("not a sound PE file")

// Section is a section of a PE file.
type Section struct {
	Name    string // at most 8 bytes: .cmdline
	Address uint32 // where it comes to be in memory, from the program's beginning
	Size    uint32 // of its content, in bytes
	Offset  uint32 // of its content in the file
}

// File is what the headers of a PE file say.
type File struct {
	Machine  uint16 // 0x8664 is x86-64
	Sections []Section
	Signed   bool // there is a signature; it was not checked

	certsAt, certsSize uint32 // the attribute certificate table in the file; size 0 is none

	head    []byte // up to the end of the section table
	optAt   int    // where the optional header begins
	tableAt int    // where the section table begins
	raw     []uint32
	align   uint32 // of contents in the file
	r       io.ReaderAt
}

// The parts of the headers, in bytes.
const (
	coffSize    = 20
	optSize     = 240 // of the optional header of PE32+ with 16 directories
	sectionSize = 40
	maxSections = 96 // the format's limit
)

// Offsets in the optional header.
const (
	optInitialised   = 8
	optSectionAlign  = 32
	optFileAlign     = 36
	optImageSize     = 56
	optHeadersSize   = 60
	optChecksum      = 64
	optDirectories   = 108
	optCertificates  = 112 + 4*8
	magicPE32Plus    = 0x20b
	peSignature      = "PE\x00\x00"
	dosSize          = 64
	dosNewHeader     = 60
	maxHeaderOffset  = 1 << 16
	sectionRawSize   = 16
	sectionRawOffset = 20
)

// Read reads the headers of a PE file. Contents are read later: see [File.Section].
func Read(r io.ReaderAt) (*File, error) {
	f, err := read(r)
	if err != nil {
		return nil, fmt.Errorf("read PE headers: %w", err)
	}
	return f, nil
}

func read(r io.ReaderAt) (*File, error) {
	le := binary.LittleEndian
	dos := make([]byte, dosSize)
	if err := readAt(r, dos, 0); err != nil {
		return nil, err
	}
	at := le.Uint32(dos[dosNewHeader:])
	if dos[0] != 'M' || dos[1] != 'Z' || at < dosSize || at > maxHeaderOffset {
		return nil, fmt.Errorf("no MS-DOS header: %w", ErrFormat)
	}
	fixed := int(at) + len(peSignature) + coffSize + optSize
	head := make([]byte, fixed)
	if err := readAt(r, head, 0); err != nil {
		return nil, err
	}
	coff := head[int(at)+len(peSignature):]
	f := &File{Machine: le.Uint16(coff), optAt: int(at) + len(peSignature) + coffSize, tableAt: fixed, r: r}
	opt := head[f.optAt:]
	n := int(le.Uint16(coff[2:]))
	switch {
	case string(head[at:int(at)+len(peSignature)]) != peSignature:
		return nil, fmt.Errorf("no PE signature: %w", ErrFormat)
	case le.Uint16(coff[16:]) != optSize || le.Uint16(opt) != magicPE32Plus || le.Uint32(opt[optDirectories:]) != 16:
		return nil, fmt.Errorf("not for 64 bits, or with an unusual number of directories: %w", ErrFormat)
	case n > maxSections:
		return nil, fmt.Errorf("%d sections; at most %d: %w", n, maxSections, ErrFormat)
	}
	f.align = le.Uint32(opt[optFileAlign:])
	if f.align < 512 || f.align > 65536 || f.align&(f.align-1) != 0 {
		return nil, fmt.Errorf("contents aligned to %d bytes: %w", f.align, ErrFormat)
	}
	f.certsAt, f.certsSize = le.Uint32(opt[optCertificates:]), le.Uint32(opt[optCertificates+4:])
	f.Signed = f.certsSize != 0
	f.head = make([]byte, fixed+n*sectionSize)
	if err := readAt(r, f.head, 0); err != nil {
		return nil, err
	}
	for i := range n {
		h := f.head[f.tableAt+i*sectionSize:]
		s := Section{
			Name: string(bytes.TrimRight(h[:8], "\x00")), Size: le.Uint32(h[8:]), Address: le.Uint32(h[12:]),
			Offset: le.Uint32(h[sectionRawOffset:]),
		}
		raw := le.Uint32(h[sectionRawSize:])
		s.Size = min(s.Size, raw) // what is more is zeros in memory, and not in the file
		f.Sections, f.raw = append(f.Sections, s), append(f.raw, raw)
	}
	return f, nil
}

// readAt reads all of b. A file that ends before is no sound one.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("it ends after %d bytes: %w", at+int64(n), ErrFormat)
	}
	return err
}

// Find returns the section of that name; ok is false if there is none.
func (f *File) Find(name string) (s Section, ok bool) {
	for _, s := range f.Sections {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// Reader reads the content of a section.
func (f *File) Reader(s Section) *io.SectionReader {
	return io.NewSectionReader(f.r, int64(s.Offset), int64(s.Size))
}

// Content returns the content of the section of that name. It fails with ErrFormat if there is none, if it has more than limit
// bytes, or if the file ends within it.
func (f *File) Content(name string, limit int) ([]byte, error) {
	s, ok := f.Find(name)
	if !ok {
		return nil, fmt.Errorf("no section %s: %w", name, ErrFormat)
	}
	if int64(s.Size) > int64(limit) {
		return nil, fmt.Errorf("section %s has %d bytes; at most %d: %w", name, s.Size, limit, ErrFormat)
	}
	data := make([]byte, s.Size)
	if err := readAt(f.r, data, int64(s.Offset)); err != nil {
		return nil, fmt.Errorf("section %s: %w", name, err)
	}
	return data, nil
}
