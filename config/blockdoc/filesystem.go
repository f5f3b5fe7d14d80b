package blockdoc

import (
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// The file systems of volumes.
const (
	XFS   = "xfs"
	Ext4  = "ext4"
	Btrfs = "btrfs"
)

// SystemFilesystem tunes the file system of a system volume, whose type is fixed.
type SystemFilesystem struct {
	// XFS tunes an XFS file system.
	XFS *XFSOptions `yaml:"xfs"`
}

// Filesystem says how a user volume is formatted. It is decided when the volume is made.
type Filesystem struct {
	// Type is the file system. The default is xfs.
	Type string `yaml:"type" enum:"ext4|xfs|btrfs"`
	// ProjectQuotaSupport turns on project quotas, by which the kubelet measures and limits what pods write. It needs xfs.
	// The default is false.
	ProjectQuotaSupport bool `yaml:"projectQuotaSupport"`
	// XFS tunes an XFS file system; with another type it is not allowed.
	XFS *XFSOptions `yaml:"xfs"`
}

// XFSOptions tune an XFS file system when it is made.
type XFSOptions struct {
	// MinAllocationGroupSize is the least size of an allocation group, from 16MiB to 1TiB. Fewer and larger groups suit a
	// volume that will grow much. Left out, mkfs.xfs decides from the size of the volume.
	//
	// Example:
	//
	//	minAllocationGroupSize: 4GiB
	MinAllocationGroupSize scalar.Size `yaml:"minAllocationGroupSize"`
}

// TypeOrDefault returns the file system's type; f may be nil.
func (f *Filesystem) TypeOrDefault() string {
	if f == nil || f.Type == "" {
		return XFS
	}
	return f.Type
}

// Validate checks that what only XFS has is asked of XFS.
func (f *Filesystem) Validate(r *schema.Reporter) {
	if f.TypeOrDefault() == XFS {
		return
	}
	if f.ProjectQuotaSupport {
		r.At("projectQuotaSupport").Hintf("use type xfs, or leave projectQuotaSupport out",
			"expected false, as %s volumes have no project quotas, got true", f.Type)
	}
	if f.XFS != nil {
		r.At("xfs").Hintf("use type xfs, or leave xfs out", "expected no options of xfs with type %s, got some", f.Type)
	}
}

// Validate checks the size against the bounds of XFS (mkfs.xfs(8), agsize).
func (x *XFSOptions) Validate(r *schema.Reporter) {
	if s := x.MinAllocationGroupSize; s != (scalar.Size{}) && (s.Bytes < 16<<20 || s.Bytes > 1<<40) {
		r.At("minAllocationGroupSize").Errorf("expected a size from 16MiB to 1TiB, got %s", s)
	}
}
