package blockdoc

import (
	"talos.internal/config/expr"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Provisioning says where a volume is made, and how large.
type Provisioning struct {
	// DiskSelector chooses the disk. The first disk that matches and has room is taken. A system volume without it is made
	// on the disk that the system is installed on; all other volumes need it.
	//
	// Example:
	//
	//	diskSelector:
	//	    match: disk.transport == "nvme" && !system_disk
	DiskSelector *DiskSelector `yaml:"diskSelector"`
	// Grow lets the partition grow at each boot, up to maxSize, into free space that follows it. The default is true for
	// EPHEMERAL and false for all other volumes.
	Grow *bool `yaml:"grow"`
	// MinSize is the least size with which the partition is made; a disk with less room is not taken. Left out, any room
	// that is enough for the file system will do.
	//
	// Example:
	//
	//	minSize: 10GiB
	MinSize scalar.Size `yaml:"minSize"`
	// MaxSize is the most that the partition may have: a size, a share of the disk in percent, or with a minus sign what is
	// to be left free on the disk. Left out, it may have the whole disk.
	//
	// Example:
	//
	//	maxSize: 80%
	MaxSize scalar.Limit `yaml:"maxSize"`
}

// DiskSelector chooses a disk by its properties.
type DiskSelector struct {
	// Match is a CEL expression that is true for the disk. It sees disk (size, model, serial, wwid, transport, rotational,
	// readonly, dev_path, bus_path and more), system_disk, which is true for the disk that the system is installed on, and
	// units such as GiB.
	//
	// Example:
	//
	//	match: disk.size > 100u * GiB && disk.size < 1u * TiB
	Match expr.DiskSelector `yaml:"match" required:"true"`
}

// Validate checks the sizes.
func (p *Provisioning) Validate(r *schema.Reporter) { checkSizes(r, p.MinSize, p.MaxSize) }

// checkSizes reports sizes of zero, and a minimum above the maximum where both are in bytes.
func checkSizes(r *schema.Reporter, least scalar.Size, most scalar.Limit) {
	const leaveOut = "leave the key out if there is no limit"
	if least != (scalar.Size{}) && least.Bytes == 0 {
		r.At("minSize").Hintf(leaveOut, "expected a size above zero, got %s", least)
	}
	switch {
	case most.IsZero() || most.Percent > 0:
	case most.Size.Bytes == 0:
		r.At("maxSize").Hintf(leaveOut, "expected a size above zero, got %s", most.Size)
	case !most.Negative && least.Bytes > most.Size.Bytes:
		r.At("minSize").Hintf("make minSize smaller or maxSize larger",
			"expected at most maxSize (%s), got %s", most.Size, least)
	}
}

// checkPartition reports what p, which r is the place of, lacks to make a partition on a disk of the user's choice.
func checkPartition(r *schema.Reporter, p *Provisioning) {
	if p == nil {
		p = &Provisioning{}
	}
	checkDisk(r, p)
	if p.MinSize == (scalar.Size{}) && p.MaxSize.IsZero() && !orDefault(p.Grow, false) {
		r.Hintf("for all that is free, write minSize and grow: true", "expected minSize, maxSize or both, got neither")
	}
}

func checkDisk(r *schema.Reporter, p *Provisioning) {
	if p == nil || p.DiskSelector == nil {
		r.At("diskSelector").Hintf("such as: match: disk.transport == \"nvme\"",
			"expected a selector of the disk, got nothing")
	}
}
