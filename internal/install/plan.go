package install

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"talos.internal/internal/fat32"
	"talos.internal/internal/gpt"
	"talos.internal/internal/metastore"
	"talos.internal/internal/superblock"
)

// Causes why a disk is refused. Nothing was written to it.
var (
	ErrTooSmall = errors.New("the disk is too small")
	ErrHasData  = errors.New("the disk has data")
	ErrReadOnly = errors.New("the disk is read-only")
)

// Disk is what a plan has to know of a disk.
type Disk struct {
	Name       string // for messages
	Size       int64  // bytes
	SectorSize int    // 512 or 4096
	ReadOnly   bool
	// Found is what is on it; nil means that nothing was recognised.
	Found *superblock.Found
}

// Request is what is to be installed, and on what.
type Request struct {
	Disk Disk
	// Sizes of the assets in bytes; ImageCache is zero if there is none.
	UKI, Root, BootLoader, ImageCache int64
	// RootHash is that of the UKI: see ReadRootHash.
	RootHash RootHash
	// Seed is what GUIDs are made from; it should be random for each installation, and fixed for a reproducible image.
	Seed string
	// Time is what files on the EFI partition get.
	Time time.Time
	// Files are further small files of the EFI partition, as keys that the boot loader enrols, and LoaderConf further lines of its
	// configuration, each with a line break.
	Files      []File
	LoaderConf string
	// Meta is what META has at first.
	Meta metastore.Values
	// Wipe destroys what is on the disk. Without it a disk that has something is refused.
	Wipe bool
	// Image leaves out the room for EPHEMERAL, for a disk image that is written to a larger disk later.
	Image bool
}

// File is a small file of the EFI partition.
type File struct {
	Path string // from the partition's root, with slashes
	Data string
}

// Op is what a step does.
type Op string

// The operations.
const (
	OpZero  Op = "zero"  // write zeros
	OpWrite Op = "write" // write Data
	OpCopy  Op = "copy"  // write all of Asset
	OpFlush Op = "flush" // wait until all writes are on the medium
	OpCheck Op = "check" // read it back, and compare it with what was copied
	OpTable Op = "table" // give the partition Label the GUID Data, in the table as it is then, and wait for it
	OpMeta  Op = "meta"  // make the Changes Data to META as it is then, and wait for it
)

// Step is one step of a plan. Steps can be compared.
type Step struct {
	Do     Op
	What   string // for a person
	Offset int64  // bytes from the beginning of the disk
	Size   int64  // bytes
	Data   string
	Asset  Asset
	Label  string
}

// String returns the step as a log has it.
func (s Step) String() string {
	if s.Do == OpFlush {
		return "flush: " + s.What
	}
	return fmt.Sprintf("%s %s at %d: %s", s.Do, human(s.Size), s.Offset, s.What)
}

// Plan is what is done to a disk, in order.
type Plan struct {
	Disk  string
	Steps []Step
	// Table is the partition table that the disk has then; nil after a wipe of all.
	Table *gpt.Table
}

// edge is what is overwritten at the beginning and the end of a range, so that nothing is recognised there any more.
const edge = gpt.Align

// PlanInstall decides what is done to install. The error wraps one of the causes above, or says what is wrong with the request.
func PlanInstall(r Request) (Plan, error) {
	p, err := planInstall(r)
	if err != nil {
		return Plan{}, fmt.Errorf("install on %s: %w", r.Disk.Name, err)
	}
	return p, nil
}

func planInstall(r Request) (Plan, error) {
	if err := check(r); err != nil {
		return Plan{}, err
	}
	table, err := gpt.New(gpt.DeriveGUID(r.Seed, "disk"), r.Disk.Size, r.Disk.SectorSize)
	if err != nil {
		return Plan{}, err
	}
	b := builder{}
	b.edges("the old partition table", 0, table.Size)
	b.flush("the disk is empty")
	for _, l := range Layout(r.ImageCache) {
		guid := gpt.DeriveGUID(r.Seed, l.Label)
		if l.Label == LabelRootA {
			guid = r.RootHash.PartitionGUID()
		}
		p, err := table.Add(l.Label, l.Type, guid, l.Size)
		if err != nil {
			return Plan{}, err
		}
		if err := b.partition(r, p); err != nil {
			return Plan{}, err
		}
	}
	b.flush("contents of all partitions")
	b.table(table)
	return Plan{Disk: r.Disk.Name, Steps: b.steps, Table: table}, nil
}

// check refuses what cannot be, and what would destroy data.
func check(r Request) error {
	need := MinSize(r.ImageCache)
	if r.Image {
		need = ImageSize(r.ImageCache)
	}
	switch {
	case r.Seed == "":
		return errors.New("the request has no seed")
	case r.UKI <= 0 || r.Root <= 0 || r.BootLoader <= 0:
		return fmt.Errorf("the assets are not complete: a UKI of %d bytes, a root file system of %d, a boot loader of %d", r.UKI, r.Root, r.BootLoader)
	case r.Root > SizeRoot:
		return fmt.Errorf("the root file system has %s; its partition has %s", human(r.Root), human(SizeRoot))
	case r.RootHash == RootHash{}:
		return errors.New("the request has no root hash")
	case r.Disk.ReadOnly:
		return ErrReadOnly
	case r.Disk.Size < need:
		return fmt.Errorf("%w: it has %s, and %s are needed", ErrTooSmall, human(r.Disk.Size), human(need))
	case r.Disk.Found != nil && !r.Wipe:
		return fmt.Errorf("%w: %s. Ask for it to be wiped (provisioning.wipe) if nobody needs that", ErrHasData, r.Disk.Found)
	}
	return nil
}

type builder struct {
	steps []Step
	conf  string // the default of loader.conf that the steps make, if they change it
}

func (b *builder) zero(what string, offset, size int64) {
	b.steps = append(b.steps, Step{Do: OpZero, What: what, Offset: offset, Size: size})
}

func (b *builder) write(what string, offset int64, data string) {
	b.steps = append(b.steps, Step{Do: OpWrite, What: what, Offset: offset, Size: int64(len(data)), Data: data})
}

func (b *builder) copy(what string, offset, size int64, a Asset) {
	b.steps = append(b.steps, Step{Do: OpCopy, What: what, Offset: offset, Size: size, Asset: a})
}

func (b *builder) flush(what string) {
	b.steps = append(b.steps, Step{Do: OpFlush, What: what})
}

// edges overwrites the beginning and the end of a range.
func (b *builder) edges(what string, offset, size int64) {
	if size <= 2*edge {
		b.zero(what, offset, size)
		return
	}
	b.zero(what, offset, edge)
	b.zero(what+", end", offset+size-edge, edge)
}

func (b *builder) table(t *gpt.Table) {
	for _, w := range t.Encode() {
		if w.Flush {
			b.flush("the backup partition table")
		}
		b.write(w.What, w.Offset, string(w.Data))
	}
	b.flush("the partition table")
}

// partition writes what a new partition begins with.
func (b *builder) partition(r Request, p gpt.Partition) error {
	switch p.Label {
	case LabelEFI:
		return b.esp(r, p)
	case LabelRootA:
		b.copy(p.Label, p.Offset, r.Root, AssetRoot)
	case LabelImageCache:
		b.copy(p.Label, p.Offset, r.ImageCache, AssetImageCache)
	case LabelMeta:
		b.zero(p.Label, p.Offset, p.Size)
		if len(r.Meta) == 0 {
			break
		}
		data, err := metastore.Encode(r.Meta, 1)
		if err != nil {
			return err
		}
		b.write("values of META", p.Offset, string(data))
	default:
		b.edges(p.Label, p.Offset, p.Size)
	}
	return nil
}

func (b *builder) esp(r Request, p gpt.Partition) error {
	id := sha256.Sum256([]byte(r.Seed + "\x00ESP"))
	assets := map[string]Asset{PathBootLoader: AssetBootLoader, PathUKIA: AssetUKI}
	texts := map[string]string{PathLoaderConf: LoaderConf + r.LoaderConf}
	files := []fat32.File{{Path: PathBootLoader, Size: r.BootLoader}, {Path: PathUKIA, Size: r.UKI}, {Path: PathLoaderConf, Size: int64(len(texts[PathLoaderConf]))}}
	for _, f := range r.Files {
		texts[f.Path] = f.Data
		files = append(files, fat32.File{Path: f.Path, Size: int64(len(f.Data))})
	}
	extents, err := fat32.Layout(fat32.Options{
		Size: p.Size, Offset: p.Offset, SectorSize: r.Disk.SectorSize, Label: p.Label, ID: binary.LittleEndian.Uint32(id[:]), Time: r.Time,
	}, files)
	if err != nil {
		return err
	}
	for _, e := range extents {
		at := p.Offset + e.Offset
		switch {
		case e.Zero:
			b.zero("EFI, tables", at, e.Size)
		case e.File == "":
			b.write("EFI, file system", at, e.Data)
		case assets[e.File] != "":
			b.copy("EFI, "+e.File, at, e.Size, assets[e.File])
		default:
			b.write("EFI, "+e.File, at, texts[e.File])
		}
	}
	return nil
}

// PlanWipe decides what is done to make partitions of a disk empty, by their labels; without labels the whole disk. The partitions stay
// in the table. It refuses a label that the disk does not have, and the whole plan with it.
func PlanWipe(d Disk, labels []string) (Plan, error) {
	if d.ReadOnly {
		return Plan{}, fmt.Errorf("wipe %s: %w", d.Name, ErrReadOnly)
	}
	var table *gpt.Table
	if d.Found != nil {
		table = d.Found.Table
	}
	b := builder{}
	if len(labels) == 0 {
		b.edges("the partition table", 0, d.Size)
		if table != nil {
			for _, p := range table.Partitions {
				b.edges(p.Label, p.Offset, p.Size)
			}
		}
		b.flush("the disk is empty")
		return Plan{Disk: d.Name, Steps: b.steps}, nil
	}
	if table == nil {
		return Plan{}, fmt.Errorf("wipe %s of %s: the disk has no partitions", strings.Join(labels, ", "), d.Name)
	}
	for _, l := range labels {
		p, ok := table.Find(l)
		if !ok {
			return Plan{}, fmt.Errorf("wipe %s of %s: the disk has no such partition; it has %s", l, d.Name, d.Found)
		}
		if l == LabelMeta {
			b.zero(l, p.Offset, p.Size)
		} else {
			b.edges(l, p.Offset, p.Size)
		}
	}
	b.flush("the partitions are empty")
	return Plan{Disk: d.Name, Steps: b.steps, Table: table}, nil
}
