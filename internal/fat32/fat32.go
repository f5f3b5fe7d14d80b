// Package fat32 lays out FAT32 file systems (Microsoft's FAT32 specification of 2000; UEFI specification 2.10, section 13.3) with
// files in them, such as an EFI system partition.
//
// [Layout] makes one. The result is a list of extents, which is the same bytes for the same arguments; the contents of files are named in
// it and not held, so that a plan can hold it. Every file lies in one piece.
//
// [Open] reads one that is there. Its edits, again extents, are the few that an upgrade needs of an EFI partition that nobody has mounted, in
// steps of one sector: what a kernel would write, and when, is not known, and could not be tested at each cut of power.
//
// The package does no I/O but through the reader that it is given, and imports nothing of ours.
package fat32

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

const (
	reservedSectors = 32 // at least
	clusterBytes    = 4096
	minClusters     = 65525 // with fewer the file system would be FAT16
	maxFile         = 1<<32 - 1
	endOfChain      = 0x0fffffff
	rootCluster     = 2
)

// File is a file that is to be there, with its directories.
type File struct {
	Path string // with slashes, such as "EFI/BOOT/BOOTX64.EFI"
	Size int64
}

// Options are those of a file system.
type Options struct {
	Size       int64 // of the partition, in bytes
	Offset     int64 // of the partition on its disk, which the boot sector repeats
	SectorSize int   // 512 or 4096
	Label      string
	ID         uint32    // the volume's serial number
	Time       time.Time // of all files; before 1980 it is the beginning of 1980
	// ClusterSize is a power of two of at least SectorSize; zero is 4096. FAT32 has at least 65525 clusters, so it decides how small a
	// file system can be.
	ClusterSize int
	// Align is what the offset of each file is a multiple of, for who reads files without the file system; zero is ClusterSize.
	Align int64
}

// Extent is a part of the file system that has to be written. Exactly one of Zero, Data and File says with what.
type Extent struct {
	Offset int64
	Size   int64
	Zero   bool
	Data   string
	File   string // the path of a file, all of which goes here
}

// Layout returns the extents of a file system with files in it, in the order in which they should be written: the boot sector last.
func Layout(o Options, files []File) ([]Extent, error) {
	l, err := newLayout(o)
	if err != nil {
		return nil, fmt.Errorf("lay out FAT32: %w", err)
	}
	root := &node{}
	for _, f := range files {
		if err := root.add(strings.Split(strings.Trim(path.Clean("/"+f.Path), "/"), "/"), f); err != nil {
			return nil, fmt.Errorf("lay out FAT32: file %s: %w", f.Path, err)
		}
	}
	if err := l.place(root); err != nil {
		return nil, fmt.Errorf("lay out FAT32: %w", err)
	}
	var body []Extent
	if err := l.write(root, root, &body); err != nil {
		return nil, fmt.Errorf("lay out FAT32: %w", err)
	}
	fat := l.encodeFAT()
	reserved := l.reserved
	tables := []Extent{{Offset: 0, Size: reserved + 2*l.fatBytes, Zero: true}}
	for i := range int64(2) {
		tables = append(tables, Extent{Offset: reserved + i*l.fatBytes, Size: int64(len(fat)), Data: fat})
	}
	s := int64(o.SectorSize)
	info, boot := l.infoSector(), l.bootSector()
	for _, at := range []int64{6, 0} { // the backup, then the one that counts
		tables = append(tables, Extent{Offset: (at + 1) * s, Size: s, Data: info}, Extent{Offset: at * s, Size: s, Data: boot})
	}
	return append(body, tables...), nil
}

type layout struct {
	o        Options
	cluster  int64 // bytes
	reserved int64 // bytes in front of the tables
	clusters int64 // that hold data
	fatBytes int64 // of one table, in whole sectors
	chains   []chain
	next     int64 // first free cluster
}

// chain is a run of clusters that belongs to one file or directory.
type chain struct{ first, count int64 }

func newLayout(o Options) (*layout, error) {
	if o.SectorSize != 512 && o.SectorSize != 4096 {
		return nil, fmt.Errorf("sectors of %d bytes; expected 512 or 4096", o.SectorSize)
	}
	if o.ClusterSize == 0 {
		o.ClusterSize = clusterBytes
	}
	if o.ClusterSize < o.SectorSize || o.ClusterSize > 65536 || o.ClusterSize&(o.ClusterSize-1) != 0 {
		return nil, fmt.Errorf("clusters of %d bytes; expected a power of two from %d to 65536", o.ClusterSize, o.SectorSize)
	}
	s, c := int64(o.SectorSize), int64(o.ClusterSize)
	if o.Align == 0 {
		o.Align = s // it is no more than a cluster has
	}
	if o.Align < s || o.Align > 1<<20 || o.Align&(o.Align-1) != 0 {
		return nil, fmt.Errorf("files at multiples of %d bytes; expected a power of two from %d to %d", o.Align, s, 1<<20)
	}
	l := &layout{o: o, cluster: c, reserved: reservedSectors * s, next: rootCluster}
	// The tables need room themselves: reckon with all clusters first, which is never too little by more than a few.
	l.fatBytes = (((o.Size-l.reserved)/c+2)*4 + s - 1) / s * s
	l.reserved += (o.Align - (l.reserved+2*l.fatBytes)%o.Align) % o.Align
	l.clusters = (o.Size - l.reserved - 2*l.fatBytes) / c
	if l.clusters < minClusters {
		return nil, fmt.Errorf("a partition of %d bytes is too small: FAT32 has at least %d clusters of %d bytes", o.Size, minClusters, c)
	}
	if o.Size/s > 1<<32-1 {
		return nil, fmt.Errorf("a partition of %d bytes is too large", o.Size)
	}
	return l, nil
}

func (l *layout) take(bytes int64) (chain, error) {
	n := (bytes + l.cluster - 1) / l.cluster
	if n == 0 {
		return chain{}, nil
	}
	if over := (l.next - rootCluster) * l.cluster % l.o.Align; over != 0 {
		l.next += (l.o.Align - over + l.cluster - 1) / l.cluster
	}
	c := chain{l.next, n}
	if l.next+n > l.clusters+rootCluster {
		return chain{}, fmt.Errorf("the files do not fit: %d bytes are left, and %d are needed", (l.clusters+rootCluster-l.next)*l.cluster, bytes)
	}
	l.next += n
	l.chains = append(l.chains, c)
	return c, nil
}

// offset is where a cluster begins.
func (l *layout) offset(cluster int64) int64 {
	return l.reserved + 2*l.fatBytes + (cluster-rootCluster)*l.cluster
}

// place gives clusters to the directory n and all below it.
func (l *layout) place(n *node) error {
	entries := int64(2) // . and ..; in the root the label and the end
	for _, c := range n.children {
		entries += 1 + int64(len(longEntries(c.name, [11]byte{})))
	}
	var err error
	if n.at, err = l.take((entries + 1) * 32); err != nil {
		return err
	}
	for _, c := range n.children {
		if c.dir {
			err = l.place(c)
		} else if c.at, err = l.take(c.file.Size); err != nil {
			err = fmt.Errorf("file %s: %w", c.file.Path, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write appends the extents of the directory n and all below it, files first.
func (l *layout) write(n, parent *node, out *[]Extent) error {
	var b []byte
	if n == parent {
		b = append(b, l.entry(padded(strings.ToUpper(l.o.Label)), 0x08, chain{}, 0)...)
	} else {
		up := parent.at
		if parent.root() {
			up = chain{} // the root is 0 here, whatever its cluster
		}
		b = append(b, l.entry(padded("."), 0x10, n.at, 0)...)
		b = append(b, l.entry(padded(".."), 0x10, up, 0)...)
	}
	short := map[[11]byte]bool{}
	for _, c := range n.children {
		name, exact, err := shortName(c.name, short)
		if err != nil {
			return err
		}
		if !exact {
			for _, e := range longEntries(c.name, name) {
				b = append(b, e...)
			}
		}
		if c.dir {
			if err := l.write(c, n, out); err != nil {
				return err
			}
			b = append(b, l.entry(name, 0x10, c.at, 0)...)
			continue
		}
		b = append(b, l.entry(name, 0x20, c.at, c.file.Size)...)
		if c.file.Size > 0 {
			*out = append(*out, Extent{Offset: l.offset(c.at.first), Size: c.file.Size, File: c.file.Path})
		}
	}
	size := n.at.count * l.cluster
	b = append(b, make([]byte, size-int64(len(b)))...)
	*out = append(*out, Extent{Offset: l.offset(n.at.first), Size: size, Data: string(b)})
	return nil
}

// entry encodes a directory entry.
func (l *layout) entry(name [11]byte, attributes byte, at chain, size int64) []byte {
	b := make([]byte, 32)
	le := binary.LittleEndian
	copy(b, name[:])
	b[11] = attributes
	date, clock := dosTime(l.o.Time)
	le.PutUint16(b[14:], clock)
	le.PutUint16(b[16:], date)
	le.PutUint16(b[18:], date)
	le.PutUint16(b[20:], uint16(at.first>>16))
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(at.first))
	le.PutUint32(b[28:], uint32(size))
	return b
}

func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 || t.Year() > 2107 {
		return 1<<5 | 1, 0
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	return date, uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// encodeFAT returns the used beginning of a table.
func (l *layout) encodeFAT() string {
	b := make([]byte, l.next*4)
	put := func(cluster, value int64) { binary.LittleEndian.PutUint32(b[cluster*4:], uint32(value)) }
	put(0, 0x0ffffff8)
	put(1, endOfChain)
	for _, c := range l.chains {
		for i := c.first; i < c.first+c.count-1; i++ {
			put(i, i+1)
		}
		put(c.first+c.count-1, endOfChain)
	}
	return string(b)
}

func (l *layout) bootSector() string {
	b := make([]byte, l.o.SectorSize)
	le := binary.LittleEndian
	copy(b, []byte{0xeb, 0x58, 0x90})
	copy(b[3:], "MSWIN4.1") // what every implementation accepts
	le.PutUint16(b[11:], uint16(l.o.SectorSize))
	b[13] = byte(l.cluster / int64(l.o.SectorSize))
	le.PutUint16(b[14:], uint16(l.reserved/int64(l.o.SectorSize)))
	b[16] = 2
	b[21] = 0xf8
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(min(l.o.Offset/int64(l.o.SectorSize), 1<<32-1)))
	le.PutUint32(b[32:], uint32(l.o.Size/int64(l.o.SectorSize)))
	le.PutUint32(b[36:], uint32(l.fatBytes/int64(l.o.SectorSize)))
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], 1) // FSInfo
	le.PutUint16(b[50:], 6) // the backup
	b[64] = 0x80
	b[66] = 0x29
	le.PutUint32(b[67:], l.o.ID)
	label := padded(strings.ToUpper(l.o.Label))
	copy(b[71:], label[:])
	copy(b[82:], "FAT32   ")
	b[510], b[511] = 0x55, 0xaa
	return string(b)
}

func (l *layout) infoSector() string {
	b := make([]byte, l.o.SectorSize)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	free := l.clusters // those that were passed over to align a file are free too
	for _, c := range l.chains {
		free -= c.count
	}
	le.PutUint32(b[488:], uint32(free))
	le.PutUint32(b[492:], uint32(l.next))
	b[510], b[511] = 0x55, 0xaa
	return string(b)
}

// node is a file or a directory. Children are sorted by name.
type node struct {
	name     string
	dir      bool
	file     File
	children []*node
	at       chain
}

func (n *node) root() bool { return n.name == "" }

func (n *node) add(names []string, f File) error {
	name := names[0]
	if err := checkName(name); err != nil {
		return err
	}
	if f.Size < 0 || f.Size > maxFile {
		return fmt.Errorf("%d bytes; a file has at most %d", f.Size, int64(maxFile))
	}
	i, found := slices.BinarySearchFunc(n.children, name, func(c *node, s string) int {
		return strings.Compare(strings.ToUpper(c.name), strings.ToUpper(s))
	})
	last := len(names) == 1
	if found && (last || !n.children[i].dir) {
		return fmt.Errorf("%s is there twice", name)
	}
	if !found {
		n.children = slices.Insert(n.children, i, &node{name: name, dir: !last})
	}
	if last {
		n.children[i].file = f
		return nil
	}
	return n.children[i].add(names[1:], f)
}

func checkName(s string) error {
	if s == "" || s == "." || s == ".." || len(utf16.Encode([]rune(s))) > 255 || strings.ContainsAny(s, `"*/:<>?\|`) || strings.TrimRight(s, " .") != s {
		return fmt.Errorf("%q is no name on FAT", s)
	}
	for _, r := range s {
		if r < ' ' {
			return fmt.Errorf("%q is no name on FAT", s)
		}
	}
	return nil
}
