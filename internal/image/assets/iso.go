package assets

import (
	"context"
	"fmt"
	"io"
	"os"

	"talos.internal/internal/fat32"
	"talos.internal/internal/gpt"
	"talos.internal/internal/image/iso"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/install"
)

// ISO is the name of the ISO image, and ISOLabel its label, by which the initramfs knows the medium.
const (
	ISO      = "talos.iso"
	ISOLabel = "TALOS"
)

// medium is the plan of an ISO image: one EFI system partition with all files, which the firmware reads as FAT and we as ISO 9660.
// Nothing is there twice.
//
// The partition is in a partition table too, so that the image boots when it is copied to a USB stick.
type medium struct {
	size   int64
	fat    []fat32.Extent // offsets from fatAt
	layout *iso.Layout
	table  []gpt.Write
	small  map[string]string // contents of small files, by their paths in the EFI partition
}

const (
	fatAt = gpt.Align // where the partition begins
	// gptBackup is the room of the backup table at the end: 33 sectors, rounded up to what the medium has.
	gptBackup = 34 * 512
)

// isoFiles are the names in the EFI partition of the files of the medium's root.
func isoFiles() map[string]string {
	return map[string]string{
		UKI: "EFI/Linux/talos.efi", BootLoader: "EFI/BOOT/BOOTX64.EFI", Root: Root, ImageCache: ImageCache,
	}
}

// planISO plans a medium with files of those sizes, by their names in the root, and small files in the EFI partition only. id makes the
// medium's GUIDs and serial number.
func planISO(sizes map[string]int64, small []install.File, id [32]byte) (*medium, error) {
	m := &medium{small: map[string]string{}}
	var files []fat32.File
	for _, f := range small {
		m.small[f.Path] = f.Data
		files = append(files, fat32.File{Path: f.Path, Size: int64(len(f.Data))})
	}
	var total int64
	for _, name := range []string{UKI, BootLoader, Root, ImageCache} { // in this order, so that it is the same each time
		if size, ok := sizes[name]; ok {
			files = append(files, fat32.File{Path: isoFiles()[name], Size: size})
			total += size
		}
	}
	o := fat32.Options{
		SectorSize: 512, Align: iso.SectorSize, Offset: fatAt, Label: "TALOS-EFI", Time: rootfs.Epoch,
		ID: uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3]),
	}
	// FAT32 has a least number of clusters, so the smaller the files, the smaller they are.
	const clusters = 66_000
	for o.ClusterSize = 4096; o.ClusterSize > 512 && total/int64(o.ClusterSize) < clusters; {
		o.ClusterSize /= 2
	}
	c := int64(o.ClusterSize)
	n := max(total/c+int64(len(files)+8)*max(iso.SectorSize/c, 1)*2, clusters)
	o.Size = roundUp(n*c+2*4*(n+2)+64*512+2*iso.SectorSize, iso.SectorSize)
	var err error
	if m.fat, err = fat32.Layout(o, files); err != nil {
		return nil, err
	}
	m.size = roundUp(fatAt+o.Size+gptBackup, iso.SectorSize)
	if m.table, err = isoTable(m.size, o.Size, id); err != nil {
		return nil, err
	}
	var named []iso.File
	for name, inFAT := range isoFiles() {
		for _, e := range m.fat {
			if _, ok := sizes[name]; ok && e.File == inFAT {
				named = append(named, iso.File{Name: name, Size: e.Size, Offset: fatAt + e.Offset})
			}
		}
	}
	m.layout, err = iso.New(iso.Options{Label: ISOLabel, Size: m.size, Boot: fatAt}, named)
	return m, err
}

// isoTable is the partition table: one partition.
func isoTable(size, partition int64, id [32]byte) ([]gpt.Write, error) {
	seed := fmt.Sprintf("%x", id)
	table, err := gpt.New(gpt.DeriveGUID(seed, "disk"), size, 512)
	if err != nil {
		return nil, err
	}
	// Add would round the size up to a MiB.
	table.Partitions = []gpt.Partition{{
		Number: 1, Label: "EFI", Type: gpt.TypeESP, GUID: gpt.DeriveGUID(seed, "EFI"), Offset: fatAt, Size: partition,
	}}
	return table.Encode(), nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// WriteISO makes an ISO image of the parts in the builder's folder, with the image cache if cache is true.
func (b *Builder) WriteISO(ctx context.Context, cache bool) error {
	a, done, err := b.assets(cache)
	if err != nil {
		return err
	}
	defer done()
	blobs := map[string]install.Blob{UKI: a.UKI, BootLoader: a.BootLoader, Root: a.Root}
	if cache {
		blobs[ImageCache] = a.ImageCache
	}
	sizes, contents := map[string]int64{}, map[string]io.Reader{}
	for name, blob := range blobs {
		sizes[name] = blob.Size
		contents[isoFiles()[name]] = io.NewSectionReader(blob.Reader, 0, blob.Size)
	}
	small := append([]install.File{{Path: install.PathLoaderConf, Data: b.Secure.isoConf()}}, b.Secure.files()...)
	m, err := planISO(sizes, small, a.UKI.SHA256)
	if err != nil {
		return fmt.Errorf("plan %s: %w", ISO, err)
	}
	return b.create(ISO, func(f *os.File) error { return m.write(ctx, f, contents) })
}

// write writes the medium to a new file.
func (m *medium) write(ctx context.Context, f *os.File, contents map[string]io.Reader) error {
	if err := f.Truncate(m.size); err != nil {
		return err
	}
	for _, e := range m.layout.Extents {
		if _, err := f.WriteAt(e.Data, e.Offset); err != nil {
			return err
		}
	}
	for _, w := range m.table {
		if _, err := f.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
	}
	for _, e := range m.fat {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		text, isSmall := m.small[e.File]
		switch {
		case isSmall:
			_, err = f.WriteAt([]byte(text), fatAt+e.Offset)
		case e.File != "":
			_, err = io.Copy(io.NewOffsetWriter(f, fatAt+e.Offset), contents[e.File])
		case !e.Zero: // a new file is zero
			_, err = f.WriteAt([]byte(e.Data), fatAt+e.Offset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
