package pe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
)

// Part is the content of a section that is added.
type Part struct {
	Name string // at most 8 bytes
	Data []byte
}

// pageSize is what the addresses of added sections are multiples of, in bytes: the firmware protects memory by pages.
const pageSize = 4096

// readOnlyData marks a section as initialised data that is only read.
const readOnlyData = 0x40000040

// Append writes the program stub with sections added behind its own, in the order given. What the file has behind its last section,
// as symbols for a debugger, is left out. The same arguments give the same bytes.
//
// It fails with ErrFormat for a stub that is no sound PE file, with fs.ErrExist for a section that is there already, and with
// fs.ErrInvalid for a stub that is signed, since the signature would be wrong, and for a section without name or content.
func Append(w io.Writer, stub []byte, parts []Part) error {
	f, err := Read(bytes.NewReader(stub))
	if err != nil {
		return fmt.Errorf("stub: %w", err)
	}
	if f.Signed {
		return fmt.Errorf("the stub is signed; take the one without signature: %w", fs.ErrInvalid)
	}
	b := builder{file: f, out: bytes.NewBuffer(nil)}
	if err := b.stub(stub, len(parts)); err != nil {
		return err
	}
	for _, p := range parts {
		if err := b.add(p); err != nil {
			return fmt.Errorf("section %s: %w", p.Name, err)
		}
	}
	b.finish()
	if _, err := w.Write(b.head); err != nil {
		return err
	}
	_, err = w.Write(b.out.Bytes())
	return err
}

type builder struct {
	file  *File
	head  []byte        // all before the first content
	out   *bytes.Buffer // contents
	count int           // of sections
	added uint32        // bytes of data in added sections
	end   uint64        // of the program in memory
}

// stub takes over the stub's sections. Their contents move in the file, by as much as the section table grows, and stay where they
// are in memory.
func (b *builder) stub(stub []byte, more int) error {
	f, le := b.file, binary.LittleEndian
	size := align(uint64(len(f.head)+more*sectionSize), uint64(f.align))
	b.head = make([]byte, size)
	copy(b.head, f.head)
	for i, s := range f.Sections {
		h := b.head[f.tableAt+i*sectionSize:]
		b.end = max(b.end, uint64(s.Address)+uint64(le.Uint32(h[8:])))
		if uint64(s.Address) < size {
			return fmt.Errorf("the stub's section %s is in memory where the headers would come to be: %w", s.Name, ErrFormat)
		}
		if f.raw[i] == 0 {
			continue
		}
		if uint64(s.Offset)+uint64(f.raw[i]) > uint64(len(stub)) {
			return fmt.Errorf("the stub ends within its section %s: %w", s.Name, ErrFormat)
		}
		le.PutUint32(h[sectionRawOffset:], uint32(b.offset()))
		b.out.Write(stub[s.Offset : s.Offset+f.raw[i]])
		b.pad()
	}
	b.count = len(f.Sections)
	return nil
}

// offset is where the next content comes to be in the file.
func (b *builder) offset() uint64 { return uint64(len(b.head)) + uint64(b.out.Len()) }

func (b *builder) pad() {
	b.out.Write(make([]byte, align(b.offset(), uint64(b.file.align))-b.offset()))
}

func (b *builder) add(p Part) error {
	if p.Name == "" || len(p.Name) > 8 || len(p.Data) == 0 {
		return fmt.Errorf("%d bytes under a name of %d: %w", len(p.Data), len(p.Name), fs.ErrInvalid)
	}
	le := binary.LittleEndian
	for i := range b.count {
		if string(bytes.TrimRight(b.head[b.file.tableAt+i*sectionSize:][:8], "\x00")) == p.Name {
			return fs.ErrExist
		}
	}
	h := b.head[b.file.tableAt+b.count*sectionSize:]
	b.count++
	address, raw := align(b.end, pageSize), align(uint64(len(p.Data)), uint64(b.file.align))
	if address+raw > math.MaxInt32 || b.offset()+raw > math.MaxInt32 {
		return fmt.Errorf("the image would have more than 2 GiB: %w", fs.ErrInvalid)
	}
	copy(h[:8], p.Name)
	le.PutUint32(h[8:], uint32(len(p.Data)))
	le.PutUint32(h[12:], uint32(address))
	le.PutUint32(h[sectionRawSize:], uint32(raw))
	le.PutUint32(h[sectionRawOffset:], uint32(b.offset()))
	le.PutUint32(h[36:], readOnlyData)
	b.out.Write(p.Data)
	b.pad()
	b.end, b.added = address+uint64(len(p.Data)), b.added+uint32(raw)
	return nil
}

// finish writes what the headers say of the whole. The checksum is left out: it is for drivers of another system.
func (b *builder) finish() {
	le := binary.LittleEndian
	coff, opt := b.head[b.file.optAt-coffSize:], b.head[b.file.optAt:]
	le.PutUint16(coff[2:], uint16(b.count))
	le.PutUint32(coff[8:], 0)  // no symbols: their place in the file is another
	le.PutUint32(coff[12:], 0) //
	le.PutUint32(opt[optInitialised:], le.Uint32(opt[optInitialised:])+b.added)
	le.PutUint32(opt[optImageSize:], uint32(align(b.end, max(uint64(le.Uint32(opt[optSectionAlign:])), 1))))
	le.PutUint32(opt[optHeadersSize:], uint32(len(b.head)))
	le.PutUint32(opt[optChecksum:], 0)
}

// align rounds n up to a multiple of to.
func align(n, to uint64) uint64 { return (n + to - 1) / to * to }
