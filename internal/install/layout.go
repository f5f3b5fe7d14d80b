package install

import (
	"fmt"

	"talos.internal/internal/gpt"
	"talos.internal/internal/metastore"
)

// The labels of the system's partitions.
const (
	LabelEFI        = "EFI"
	LabelRootA      = "ROOT-A"
	LabelRootB      = "ROOT-B"
	LabelMeta       = "META"
	LabelImageCache = "IMAGECACHE"
	LabelState      = "STATE"
	LabelEphemeral  = "EPHEMERAL"
)

// Sizes of partitions in bytes.
const (
	SizeEFI   = 512 << 20 // three UKIs: two slots and one that is being written
	SizeRoot  = 1 << 30
	SizeState = 100 << 20
	// MinEphemeral is what the system needs for EPHEMERAL, which is made on the first boot.
	MinEphemeral = 2 << 30
)

// Files of the EFI partition. The UKIs are in lower and upper case as the boot loader shows them.
const (
	PathBootLoader = "EFI/BOOT/BOOTX64.EFI"
	PathUKIA       = "EFI/Linux/talos-A.efi"
	PathUKIB       = "EFI/Linux/talos-B.efi"
	PathLoaderConf = "loader/loader.conf"
)

// LoaderConf is the boot loader's configuration (loader.conf(5)) after an installation: slot A, at once; whoever holds a key down at the
// start sees the menu, but cannot edit a command line. An upgrade replaces the pattern, in place and by one of the same length.
const LoaderConf = "default talos-a*.efi\ntimeout 0\neditor no\n"

// Partition is one of the system's partitions.
type Partition struct {
	Label string
	Type  gpt.GUID
	Size  int64
}

// Layout returns the partitions that an installation makes, in their order. imageCache is the size of the image cache; zero means that
// there is none.
func Layout(imageCache int64) []Partition {
	l := []Partition{
		{LabelEFI, gpt.TypeESP, SizeEFI},
		{LabelRootA, gpt.TypeRoot, SizeRoot},
		{LabelRootB, gpt.TypeRoot, SizeRoot},
		{LabelMeta, gpt.TypeLinux, metastore.Size},
	}
	if imageCache > 0 {
		l = append(l, Partition{LabelImageCache, gpt.TypeLinux, (imageCache + gpt.Align - 1) / gpt.Align * gpt.Align})
	}
	return append(l, Partition{LabelState, gpt.TypeLinux, SizeState})
}

// ImageSize is the least size of a disk image: all that is written, and nothing for EPHEMERAL, which is made where the image is put.
func ImageSize(imageCache int64) int64 {
	size := int64(2 * gpt.Align) // the tables
	for _, p := range Layout(imageCache) {
		size += p.Size
	}
	return size
}

// MinSize is the least size of a disk to install on.
func MinSize(imageCache int64) int64 { return ImageSize(imageCache) + MinEphemeral }

// human prints a size for a person.
func human(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
