package fat32

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// Limits of what is read. A file system of ours is far below them; one that is damaged must not keep a reader busy.
const (
	maxDirBytes = 1 << 20
	maxDepth    = 16
)

// ErrDamaged says that a file system contradicts itself, or is none of FAT32.
var ErrDamaged = errors.New("damaged FAT32 file system")

// FS is a file system that is there. Reading needs nothing but its source; an FS keeps the boot sector alone, and sees each change.
type FS struct {
	r        io.ReaderAt
	sector   int64
	cluster  int64 // bytes
	reserved int64 // bytes in front of the tables
	fats     int64
	fatBytes int64 // of one table
	clusters int64 // that hold data
	root     int64
	info     int64 // byte offset of the FSInfo sector; 0 if there is none
}

// Entry is a file or a directory.
type Entry struct {
	Name string
	Dir  bool
	Size int64
	// Cluster is the first one; 0 for an empty file.
	Cluster int64

	slots []int64 // offset of each 32-byte entry that belongs to it, in their order
	raw   [32]byte
}

// Open reads the boot sector. The error wraps ErrDamaged if there is no FAT32 file system.
func Open(r io.ReaderAt) (*FS, error) {
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("open FAT32: %w", err)
	}
	le := binary.LittleEndian
	f := &FS{r: r, sector: int64(le.Uint16(b[11:]))}
	f.cluster = int64(b[13]) * f.sector
	f.reserved = int64(le.Uint16(b[14:])) * f.sector
	f.fats = int64(b[16])
	f.fatBytes = int64(le.Uint32(b[36:])) * f.sector
	f.root = int64(le.Uint32(b[44:]))
	if n := int64(le.Uint16(b[48:])); n > 0 && n < int64(le.Uint16(b[14:])) {
		f.info = n * f.sector
	}
	size := int64(le.Uint32(b[32:])) * f.sector
	switch {
	case b[510] != 0x55 || b[511] != 0xaa || le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0:
		return nil, fmt.Errorf("open FAT32: %w: the boot sector is none", ErrDamaged)
	case f.sector != 512 && f.sector != 4096, b[13] == 0, b[13]&(b[13]-1) != 0, f.cluster > 65536, f.reserved == 0, f.fats < 1 || f.fats > 2:
		return nil, fmt.Errorf("open FAT32: %w: the boot sector makes no sense", ErrDamaged)
	}
	f.clusters = (size - f.reserved - f.fats*f.fatBytes) / f.cluster
	if f.clusters < minClusters || (f.clusters+rootCluster)*4 > f.fatBytes || !f.valid(f.root) {
		return nil, fmt.Errorf("open FAT32: %w: %d clusters, tables of %d bytes", ErrDamaged, f.clusters, f.fatBytes)
	}
	return f, nil
}

func (f *FS) valid(cluster int64) bool {
	return cluster >= rootCluster && cluster < f.clusters+rootCluster
}

// offset is where a cluster begins.
func (f *FS) offset(cluster int64) int64 {
	return f.reserved + f.fats*f.fatBytes + (cluster-rootCluster)*f.cluster
}

// chain returns the clusters of a chain, of which there may be at most most bytes.
func (f *FS) chain(first, most int64) ([]int64, error) {
	var out []int64
	b := make([]byte, 4)
	limit := (most + f.cluster - 1) / f.cluster
	for c := first; ; {
		if !f.valid(c) {
			return nil, fmt.Errorf("%w: cluster %d in the chain of cluster %d", ErrDamaged, c, first)
		}
		if int64(len(out)) == limit {
			return nil, fmt.Errorf("%w: the chain of cluster %d is longer than %d bytes", ErrDamaged, first, most)
		}
		out = append(out, c)
		if _, err := f.r.ReadAt(b, f.reserved+c*4); err != nil {
			return nil, fmt.Errorf("read FAT32: %w", err)
		}
		if c = int64(binary.LittleEndian.Uint32(b) & 0x0fffffff); c >= 0x0ffffff8 {
			return out, nil
		}
	}
}

// Lookup returns a file or directory. Names are compared without regard to case. The error wraps fs.ErrNotExist.
func (f *FS) Lookup(path string) (Entry, error) {
	at := Entry{Dir: true, Cluster: f.root}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		list, err := f.list(at)
		if err != nil {
			return Entry{}, err
		}
		found := false
		for _, e := range list {
			if strings.EqualFold(e.Name, name) {
				at, found = e, true
				break
			}
		}
		if !found {
			return Entry{}, &notFound{path}
		}
	}
	return at, nil
}

// List returns what is in a directory, in its order there.
func (f *FS) List(path string) ([]Entry, error) {
	e, err := f.Lookup(path)
	if err != nil {
		return nil, err
	}
	return f.list(e)
}

func (f *FS) list(dir Entry) ([]Entry, error) {
	if !dir.Dir {
		return nil, fmt.Errorf("list %s: it is no directory", dir.Name)
	}
	d, err := f.directory(dir.Cluster)
	if err != nil {
		return nil, err
	}
	return d.entries, nil
}

// ReadFile returns all of a file of at most max bytes.
func (f *FS) ReadFile(path string, max int64) ([]byte, error) {
	e, err := f.Lookup(path)
	if err != nil {
		return nil, err
	}
	if e.Dir || e.Size > max {
		return nil, fmt.Errorf("read %s: it is a directory, or has more than %d bytes", path, max)
	}
	r, err := f.File(e)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	b := make([]byte, e.Size)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// File returns the contents of a file as they are on the medium now; its place is looked up once.
func (f *FS) File(e Entry) (*io.SectionReader, error) {
	if e.Size == 0 {
		return io.NewSectionReader(strings.NewReader(""), 0, 0), nil
	}
	chain, err := f.chain(e.Cluster, max(e.Size, f.cluster))
	if err != nil {
		return nil, err
	}
	if int64(len(chain))*f.cluster < e.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes and clusters for less", ErrDamaged, e.Name, e.Size)
	}
	return io.NewSectionReader(&chained{f, chain}, 0, e.Size), nil
}

type chained struct {
	f     *FS
	chain []int64
}

func (c *chained) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		i, in := (off+int64(n))/c.f.cluster, (off+int64(n))%c.f.cluster
		if i >= int64(len(c.chain)) {
			return n, io.EOF
		}
		run := int64(1) // clusters that follow each other are read at once
		for i+run < int64(len(c.chain)) && c.chain[i+run] == c.chain[i]+run && run*c.f.cluster-in < int64(len(b)-n) {
			run++
		}
		m, err := c.f.r.ReadAt(b[n:min(len(b), n+int(run*c.f.cluster-in))], c.f.offset(c.chain[i])+in)
		n += m
		if err != nil && !(errors.Is(err, io.EOF) && m > 0) {
			return n, err
		}
	}
	return n, nil
}

// directory is all of a directory.
type directory struct {
	entries []Entry
	data    []byte
	at      []int64 // offset of each cluster of data
	cluster int64   // bytes
}

// place is where a byte of the directory is on the medium.
func (d *directory) place(i int) int64 {
	return d.at[int64(i)/d.cluster] + int64(i)%d.cluster
}

func (f *FS) directory(first int64) (*directory, error) {
	chain, err := f.chain(first, maxDirBytes)
	if err != nil {
		return nil, err
	}
	d := &directory{cluster: f.cluster, data: make([]byte, int64(len(chain))*f.cluster)}
	for i, c := range chain {
		d.at = append(d.at, f.offset(c))
		if _, err := f.r.ReadAt(d.data[int64(i)*f.cluster:int64(i+1)*f.cluster], f.offset(c)); err != nil {
			return nil, fmt.Errorf("read FAT32: %w", err)
		}
	}
	d.parse()
	return d, nil
}

const (
	attrDir   = 0x10
	attrLabel = 0x08
	attrLong  = 0x0f
	deleted   = 0xe5
)

// parse finds the entries. A long name that does not belong to the short one that follows is ignored, as everybody does.
func (d *directory) parse() {
	var long []uint16
	var slots []int64
	sum, next := byte(0), 0
	reset := func() { long, slots, next = nil, nil, 0 }
	for i := 0; i+32 <= len(d.data); i += 32 {
		e := d.data[i : i+32]
		switch {
		case e[0] == 0:
			return
		case e[0] == deleted:
			reset()
		case e[11]&0x3f == attrLong:
			order := int(e[0] & 0x3f)
			switch {
			case e[0]&0x40 != 0 && order > 0:
				long, slots, sum, next = make([]uint16, order*13), nil, e[13], order
			case order == 0 || order != next-1 || e[13] != sum:
				reset()
				continue
			default:
				next = order
			}
			for j, at := range longOffsets {
				long[(order-1)*13+j] = binary.LittleEndian.Uint16(e[at:])
			}
			slots = append(slots, d.place(i))
		case e[11]&attrLabel != 0:
			reset()
		default:
			out := Entry{
				Dir: e[11]&attrDir != 0, Size: int64(binary.LittleEndian.Uint32(e[28:])), raw: [32]byte(e),
				Cluster: int64(binary.LittleEndian.Uint16(e[20:]))<<16 | int64(binary.LittleEndian.Uint16(e[26:])),
			}
			if next == 1 && sum == checksum([11]byte(e[:11])) {
				out.Name, out.slots = longName(long), slots
			} else {
				out.Name = plainName([11]byte(e[:11]), e[12])
			}
			out.slots = append(out.slots, d.place(i))
			reset()
			if out.Name != "." && out.Name != ".." {
				d.entries = append(d.entries, out)
			}
		}
	}
}

func longName(chars []uint16) string {
	for i, c := range chars {
		if c == 0 {
			chars = chars[:i]
			break
		}
	}
	return string(utf16.Decode(chars))
}

// plainName is a short name as people see it. lower is the byte in which Windows says that a part is in lower case.
func plainName(b [11]byte, lower byte) string {
	if b[0] == 0x05 {
		b[0] = deleted
	}
	stem, ext := strings.TrimRight(string(b[:8]), " "), strings.TrimRight(string(b[8:]), " ")
	if lower&0x08 != 0 {
		stem = strings.ToLower(stem)
	}
	if lower&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return stem
	}
	return stem + "." + ext
}
