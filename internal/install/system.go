package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/fat32"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install/sdboot"
)

// Slot is one of the two places for a version of the system: a UKI and a root file system, which the UKI names by its hash.
type Slot string

// The slots.
const (
	SlotA Slot = "A"
	SlotB Slot = "B"
)

// Other returns the other slot.
func (s Slot) Other() Slot {
	if s == SlotA {
		return SlotB
	}
	return SlotA
}

// RootLabel is the label of the slot's partition.
func (s Slot) RootLabel() string { return "ROOT-" + string(s) }

// Names of a slot's UKI in [dirUKIs], and patterns of loader.conf. The two patterns have the same length: one replaces the other within a
// sector, and whatever a torn sector leaves of them either matches a slot that is complete or nothing.
func (s Slot) file() string         { return "talos-" + string(s) + ".efi" }
func (s Slot) fileOnTrial() string  { return "talos-" + string(s) + "+1.efi" }
func (s Slot) always() string       { return "talos-" + strings.ToLower(string(s)) + "*.efi" }
func (s Slot) whileUntried() string { return "talos-" + strings.ToLower(string(s)) + "+1.e*" }

// owns reports whether a file is the slot's UKI, whatever its counter.
func (s Slot) owns(file string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(file), "talos-"+strings.ToLower(string(s)))
	return ok && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "+"))
}

// dirUKIs is where the boot loader looks for UKIs.
const dirUKIs = "EFI/Linux"

// confBytes limits loader.conf.
const confBytes = 4096

// Image is a UKI on the EFI partition.
type Image struct {
	sdboot.Entry
	Slot Slot // empty for one that is not ours
	Root RootHash
	Size int64

	entry fat32.Entry
}

// System is what an installed disk has for the boot loader.
type System struct {
	Table *gpt.Table
	// Images are the UKIs that the boot loader shows, in the order of the directory.
	Images []Image
	// Conf is loader.conf.
	Conf string

	efi   gpt.Partition
	fs    *fat32.FS
	files []fat32.Entry // all of dirUKIs
}

// ErrNotInstalled says that a disk does not have the system.
var ErrNotInstalled = errors.New("the system is not installed on the disk")

// ReadSystem reads what the boot loader will find on a disk. r is the disk; it is read again when a plan is made.
func ReadSystem(r io.ReaderAt, size int64, sectorSize int) (*System, error) {
	s, err := readSystem(r, size, sectorSize)
	if err != nil {
		return nil, fmt.Errorf("read what the machine starts from: %w", err)
	}
	return s, nil
}

func readSystem(r io.ReaderAt, size int64, sectorSize int) (*System, error) {
	table, err := gpt.Read(r, size, sectorSize)
	if errors.Is(err, gpt.ErrNone) {
		return nil, fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	if err != nil {
		return nil, err
	}
	s := &System{Table: table}
	var ok bool
	if s.efi, ok = table.Find(LabelEFI); !ok {
		return nil, fmt.Errorf("%w: there is no partition %s", ErrNotInstalled, LabelEFI)
	}
	if s.fs, err = fat32.Open(io.NewSectionReader(r, s.efi.Offset, s.efi.Size)); err != nil {
		return nil, err
	}
	conf, err := s.fs.ReadFile(PathLoaderConf, confBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.Conf = string(conf)
	if s.files, err = s.fs.List(dirUKIs); err != nil {
		return nil, err
	}
	for _, f := range s.files {
		if i, ok := s.image(f); ok {
			s.Images = append(s.Images, i)
		}
	}
	return s, nil
}

// ReadTable reads the partition table of a disk.
func ReadTable(r io.ReaderAt, size int64, sectorSize int) (*gpt.Table, error) {
	t, err := gpt.Read(r, size, sectorSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	return t, nil
}

// Release is what a UKI's section .osrel says.
type Release struct {
	Version string
	// ConfigFormat is up to which format of the machine config it understands ([buildinfo.ConfigFormat]); 1 if it does not say.
	ConfigFormat int
}

// ReadRelease reads what a UKI says of its version.
func ReadRelease(uki Blob) (Release, error) {
	text, err := section(uki, ".osrel")
	if err != nil {
		return Release{}, fmt.Errorf("read the version of a UKI: %w", err)
	}
	release := strings.TrimRight(string(text), "\x00")
	e, ok := sdboot.NewEntry("x.efi", release)
	if !ok {
		return Release{}, errors.New("read the version of a UKI: its os-release has no name")
	}
	r := Release{Version: e.Version, ConfigFormat: 1}
	for line := range strings.Lines(release) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), buildinfo.ConfigFormatKey+"="); ok {
			if r.ConfigFormat, err = strconv.Atoi(strings.Trim(v, `"`)); err != nil {
				return Release{}, fmt.Errorf("read the version of a UKI: %s: %w", buildinfo.ConfigFormatKey, err)
			}
		}
	}
	return r, nil
}

// image reads a UKI. One that the boot loader would not show is none.
func (s *System) image(f fat32.Entry) (Image, bool) {
	if f.Dir {
		return Image{}, false
	}
	r, err := s.fs.File(f)
	if err != nil {
		return Image{}, false
	}
	b := Blob{Reader: r, Size: f.Size}
	release, err := section(b, ".osrel")
	if err != nil {
		return Image{}, false
	}
	e, ok := sdboot.NewEntry(f.Name, strings.TrimRight(string(release), "\x00"))
	if !ok {
		return Image{}, false
	}
	i := Image{Entry: e, Size: f.Size, entry: f}
	for _, slot := range []Slot{SlotA, SlotB} {
		if slot.owns(f.Name) {
			i.Slot = slot
		}
	}
	// One without a root hash is started all the same; it has no partition then.
	i.Root, _ = ReadRootHash(b)
	return i, true
}

// Next returns the image that the boot loader starts next, and false if there is none.
func (s *System) Next() (Image, bool) {
	list := make([]sdboot.Entry, len(s.Images))
	for i := range s.Images {
		list[i] = s.Images[i].Entry
	}
	chosen, ok := sdboot.Choose(s.Conf, list)
	for _, i := range s.Images {
		if ok && i.File == chosen.File {
			return i, true
		}
	}
	return Image{}, false
}

// Slot returns the image of a slot.
func (s *System) Slot(slot Slot) (Image, bool) {
	for _, i := range s.Images {
		if i.Slot == slot {
			return i, true
		}
	}
	return Image{}, false
}

// Open returns the contents of a slot's UKI, which has to be in s, as they are on the disk.
func (s *System) Open(i Image) (Blob, error) {
	r, err := s.fs.File(i.entry)
	if err != nil {
		return Blob{}, err
	}
	return Blob{Reader: r, Size: i.Size}, nil
}

// Running returns the slot of a system that has the root hash. It is an error if no slot has it.
func (s *System) Running(h RootHash) (Slot, error) {
	for _, slot := range []Slot{SlotA, SlotB} {
		if p, ok := s.Table.Find(slot.RootLabel()); ok && p.GUID == h.PartitionGUID() {
			return slot, nil
		}
	}
	return "", fmt.Errorf("%w: neither %s nor %s is the root that runs", ErrNotInstalled, SlotA.RootLabel(), SlotB.RootLabel())
}

// Root returns the partition with the root file system that an image names.
func (s *System) Root(i Image) (gpt.Partition, bool) {
	for _, p := range s.Table.Partitions {
		if p.GUID == i.Root.PartitionGUID() {
			return p, true
		}
	}
	return gpt.Partition{}, false
}

// owned returns all files that are a slot's UKI by their names, whether the boot loader shows them or not.
func (s *System) owned(slot Slot) []fat32.Entry {
	var out []fat32.Entry
	for _, f := range s.files {
		if !f.Dir && slot.owns(f.Name) {
			out = append(out, f)
		}
	}
	return out
}
