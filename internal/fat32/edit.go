package fat32

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Edits change a file system that nobody has mounted. Each returns what has to be written and writes nothing itself.
//
// What is promised when power is cut: a change of a directory is one write of one sector, in which the bytes of all other entries stay what
// they are. A medium that writes sectors whole has the directory from before or from after; one that tears a sector still has every entry
// that is not part of the change. [FS.Place] touches no cluster and no table entry of any file that is there.

// tableOf reads the first table.
func (f *FS) tableOf() ([]byte, error) {
	b := make([]byte, f.fatBytes)
	if _, err := f.r.ReadAt(b, f.reserved); err != nil {
		return nil, fmt.Errorf("read FAT32: %w", err)
	}
	return b, nil
}

// used returns which clusters belong to a file or directory that can be reached, but for those in except.
func (f *FS) used(except []Entry) (map[int64]bool, error) {
	taken := map[int64]bool{}
	take := func(first, most int64) error {
		chain, err := f.chain(first, most)
		for _, c := range chain {
			taken[c] = true
		}
		return err
	}
	var walk func(cluster int64, depth int) error
	walk = func(cluster int64, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("%w: more than %d directories below each other", ErrDamaged, maxDepth)
		}
		if err := take(cluster, maxDirBytes); err != nil {
			return err
		}
		d, err := f.directory(cluster)
		if err != nil {
			return err
		}
		for _, e := range d.entries {
			switch {
			case slices.ContainsFunc(except, func(x Entry) bool { return slices.Equal(x.slots, e.slots) }):
			case e.Dir && taken[e.Cluster]:
				return fmt.Errorf("%w: directory %s is in itself", ErrDamaged, e.Name)
			case e.Dir:
				if err := walk(e.Cluster, depth+1); err != nil {
					return err
				}
			case e.Cluster != 0:
				if err := take(e.Cluster, maxFile); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return taken, walk(f.root, 0)
}

// Place finds size bytes of free space in one piece. offset is where in the file system they are, first the cluster for [FS.Put]; the
// extents are what has to be written for them to be taken: tables, and the free count.
//
// Free is what no file or directory has: clusters of files in except, which are to be removed before, and what an interrupted edit left
// behind. Nothing refers to the clusters until Put does.
func (f *FS) Place(size int64, except []Entry) (first, offset int64, extents []Extent, err error) {
	taken, err := f.used(except)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("find %d bytes of space: %w", size, err)
	}
	old, err := f.tableOf()
	if err != nil {
		return 0, 0, nil, err
	}
	le := binary.LittleEndian
	table := bytes.Clone(old)
	get := func(c int64) uint32 { return le.Uint32(table[c*4:]) & 0x0fffffff }
	put := func(c int64, v uint32) { le.PutUint32(table[c*4:], le.Uint32(table[c*4:])&0xf0000000|v) }
	const bad = 0x0ffffff7
	need, run, free := (size+f.cluster-1)/f.cluster, int64(0), int64(0)
	for c := int64(rootCluster); c < f.clusters+rootCluster; c++ {
		if taken[c] || get(c) == bad {
			run = 0
			continue
		}
		put(c, 0)
		free++
		if run++; run == need && first == 0 {
			first = c - need + 1
		}
	}
	if need <= 0 || first == 0 {
		return 0, 0, nil, fmt.Errorf("find %d bytes of space: there is no free piece of that size; %d bytes are free in all", size, free*f.cluster)
	}
	for c := first; c < first+need-1; c++ {
		put(c, uint32(c+1))
	}
	put(first+need-1, endOfChain)
	for i := f.fats - 1; i >= 0; i-- {
		extents = append(extents, f.changed(old, table, f.reserved+i*f.fatBytes)...)
	}
	if f.info > 0 {
		b := make([]byte, f.sector)
		if _, err := f.r.ReadAt(b, f.info); err != nil {
			return 0, 0, nil, fmt.Errorf("read FAT32: %w", err)
		}
		le.PutUint32(b[488:], uint32(free-need))
		le.PutUint32(b[492:], uint32(first+need))
		extents = append(extents, Extent{Offset: f.info, Size: f.sector, Data: string(b)})
	}
	return first, f.offset(first), extents, nil
}

// changed returns the sectors of b that differ from a, as few extents as possible.
func (f *FS) changed(a, b []byte, at int64) []Extent {
	var out []Extent
	for i := int64(0); i < int64(len(b)); i += f.sector {
		if bytes.Equal(a[i:i+f.sector], b[i:i+f.sector]) {
			continue
		}
		data := string(b[i : i+f.sector])
		if n := len(out); n > 0 && out[n-1].Offset+out[n-1].Size == at+i {
			out[n-1].Data += data
			out[n-1].Size += f.sector
			continue
		}
		out = append(out, Extent{Offset: at + i, Size: f.sector, Data: data})
	}
	return out
}

// New is an entry that is to be made.
type New struct {
	Name    string
	Size    int64
	Cluster int64 // from [FS.Place], or of the entry that this one replaces
	Time    time.Time
}

// Put makes an entry for a file in a directory, and removes others, in one write of one sector. If those that are removed are in another
// sector, it is two extents, each of one sector: the new entry first. Without a new entry (nil) it only removes.
//
// The directory is not made longer: it is an error if it has no room.
func (f *FS) Put(dir string, n *New, remove []Entry) ([]Extent, error) {
	e, err := f.Lookup(dir)
	if err != nil {
		return nil, err
	}
	d, err := f.directory(e.Cluster)
	if err != nil {
		return nil, err
	}
	after := bytes.Clone(d.data)
	gone := map[int64]bool{}
	for _, r := range remove {
		for _, s := range r.slots {
			gone[s] = true
		}
	}
	end := len(after) // where the directory ends
	names := map[[11]byte]bool{}
	for i := 0; i < len(after); i += 32 {
		if after[i] == 0 {
			end = i
			break
		}
		if gone[d.place(i)] {
			after[i] = deleted
		} else if after[i] != deleted && after[i+11]&0x3f != attrLong {
			names[[11]byte(after[i:])] = true
		}
	}
	if n != nil {
		if err := f.insert(after, end, *n, names); err != nil {
			return nil, fmt.Errorf("make %s in %s: %w", n.Name, dir, err)
		}
	}
	var made, only []Extent
	for i := int64(0); i < int64(len(after)); i += f.sector {
		was, is := d.data[i:i+f.sector], after[i:i+f.sector]
		if bytes.Equal(was, is) {
			continue
		}
		x := Extent{Offset: d.place(int(i)), Size: f.sector, Data: string(is)}
		if adds(was, is) {
			made = append(made, x)
		} else {
			only = append(only, x)
		}
	}
	return append(made, only...), nil
}

// adds reports whether a sector has an entry that it had not before.
func adds(was, is []byte) bool {
	for i := 0; i < len(is); i += 32 {
		if !bytes.Equal(was[i:i+32], is[i:i+32]) && is[i] != deleted && is[i] != 0 {
			return true
		}
	}
	return false
}

// insert writes the entries of n to a run of free ones within one sector. Entries from end on are unused.
func (f *FS) insert(data []byte, end int, n New, names map[[11]byte]bool) error {
	if err := checkName(n.Name); err != nil {
		return err
	}
	short, exact, err := shortName(n.Name, names)
	if err != nil {
		return err
	}
	var entries [][]byte
	if !exact {
		entries = longEntries(n.Name, short)
	}
	l := &layout{o: Options{Time: n.Time}}
	entries = append(entries, l.entry(short, 0x20, chain{first: n.Cluster}, n.Size))
	free := func(i int) bool { return i >= end || data[i] == deleted }
	perSector := int(f.sector)
	for i := 0; i < len(data); i += 32 {
		last := i + len(entries)*32
		if i > end || last > len(data) || i/perSector != (last-1)/perSector {
			continue // it would leave a gap behind the end, or need two sectors
		}
		fits := true
		for j := i; j < last; j += 32 {
			fits = fits && free(j)
		}
		if !fits {
			continue
		}
		if last >= end {
			// The end moves. It has to be in the same sector, or be where the directory's clusters end or nothing is.
			switch {
			case last%perSector != 0:
				clear(data[last : (last/perSector+1)*perSector])
			case last < len(data) && data[last] != 0:
				continue
			}
		}
		for k, e := range entries {
			copy(data[i+k*32:], e)
		}
		return nil
	}
	return fmt.Errorf("the directory has no %d free entries in one sector", len(entries))
}

// Overwrite replaces bytes of a file in place: old, which has to be in its first sector once, by new, which is as long. It is one write of one
// sector.
func (f *FS) Overwrite(path, old, new string) ([]Extent, error) {
	e, err := f.Lookup(path)
	if err != nil {
		return nil, err
	}
	if e.Dir || e.Size == 0 || len(old) != len(new) || !f.valid(e.Cluster) {
		return nil, fmt.Errorf("change %s in place: it is no file with contents, or the new ones are longer", path)
	}
	b := make([]byte, f.sector)
	at := f.offset(e.Cluster)
	if _, err := f.r.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("change %s in place: %w", path, err)
	}
	text := string(b[:min(e.Size, f.sector)])
	if strings.Count(text, old) != 1 {
		return nil, fmt.Errorf("change %s in place: expected %q once in its first %d bytes", path, old, f.sector)
	}
	copy(b[strings.Index(text, old):], new)
	return []Extent{{Offset: at, Size: f.sector, Data: string(b)}}, nil
}
