package blockdoc

import "talos.internal/config/schema"

// The types of user volumes.
const (
	TypePartition = "partition"
	TypeDisk      = "disk"
	TypeDirectory = "directory"
)

// UserVolumeConfig makes a volume for the user's data, mounted at /var/mnt/<name>, where pods and containers reach it.
// Its partition is labelled u-<name>. Removing the document unmounts the volume and keeps its data.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: UserVolumeConfig
//	name: data
//	provisioning:
//	    diskSelector:
//	        match: disk.transport == "nvme" && !system_disk
//	    minSize: 10GiB
//	    maxSize: 100GiB
//	filesystem:
//	    type: xfs
//	mount:
//	    disableAccessTime: true
type UserVolumeConfig struct {
	// Name is the last part of the mount point /var/mnt/<name>: 1 to 34 letters, digits and hyphens. No other volume that
	// is mounted there may have it.
	Name string `yaml:"name" required:"true"`
	// VolumeType is what the volume is made of: a partition of a disk that may hold more, a whole disk, or a directory on
	// EPHEMERAL. The default is partition. A disk has no sizes; a directory has neither provisioning nor filesystem,
	// encryption, trim or scrub.
	VolumeType string `yaml:"volumeType" enum:"directory|disk|partition"`
	// Provisioning says where the volume is made, and how large. A partition needs a disk selector and a size, a disk the
	// selector alone.
	Provisioning *Provisioning `yaml:"provisioning"`
	// Filesystem says how the volume is formatted. Left out, it is xfs.
	Filesystem *Filesystem `yaml:"filesystem"`
	// Encryption encrypts the volume. Left out, it is not encrypted.
	Encryption *Encryption `yaml:"encryption"`
	// Mount says how the volume is mounted.
	Mount *UserMount `yaml:"mount"`
	// Trim says whether and how often unused blocks are given back to the disk.
	Trim *Trim `yaml:"trim"`
	// Scrub says whether and how often the file system is verified; it needs xfs or btrfs.
	Scrub *Scrub `yaml:"scrub"`
}

// DocumentKind implements [schema.Document].
func (*UserVolumeConfig) DocumentKind() string { return "UserVolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *UserVolumeConfig) DocumentName() string { return c.Name }

// TypeOrDefault returns the volume's type.
func (c *UserVolumeConfig) TypeOrDefault() string {
	if c.VolumeType == "" {
		return TypePartition
	}
	return c.VolumeType
}

// Validate checks the name and that the type of the volume can have what is asked of it.
func (c *UserVolumeConfig) Validate(r *schema.Reporter) {
	checkVolumeName(r, c.Name)
	at := r.At("provisioning")
	switch c.TypeOrDefault() {
	case TypePartition:
		checkPartition(at, c.Provisioning)
	case TypeDisk:
		checkDisk(at, c.Provisioning)
		c.checkWhole(at)
	case TypeDirectory:
		c.checkDirectory(r)
		return
	}
	checkScrub(r, c.Scrub, c.Filesystem.TypeOrDefault())
}

// checkWhole reports sizes of a volume that is a whole disk. r is the place of provisioning.
func (c *UserVolumeConfig) checkWhole(r *schema.Reporter) {
	if c.Provisioning == nil {
		return
	}
	const hint = "leave it out, or use volumeType partition"
	if c.Provisioning.MinSize.Bytes > 0 {
		r.At("minSize").Hintf(hint, "expected nothing, as the volume is a whole disk, got a size")
	}
	if !c.Provisioning.MaxSize.IsZero() {
		r.At("maxSize").Hintf(hint, "expected nothing, as the volume is a whole disk, got a size")
	}
	if c.Provisioning.Grow != nil {
		r.At("grow").Hintf(hint, "expected nothing, as the volume is a whole disk, got %t", *c.Provisioning.Grow)
	}
}

// checkDirectory reports what a directory cannot have.
func (c *UserVolumeConfig) checkDirectory(r *schema.Reporter) {
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"provisioning", c.Provisioning != nil},
		{"filesystem", c.Filesystem != nil},
		{"encryption", c.Encryption != nil},
		{"trim", c.Trim != nil},
		{"scrub", c.Scrub != nil},
	} {
		if key.set {
			r.At(key.name).Hintf("leave it out, or use volumeType partition",
				"expected nothing, as the volume is a directory on EPHEMERAL, got a mapping")
		}
	}
}

// maxName is what a partition label (36 UTF-16 units, UEFI 2.10 table 5.6) leaves beside the prefix of two.
const maxName = 34

// checkVolumeName checks a name that becomes part of a partition's label or of a path.
func checkVolumeName(r *schema.Reporter, name string) {
	if len(name) < 1 || len(name) > maxName {
		r.At("name").Errorf("expected a name of 1 to %d characters, got %d", maxName, len(name))
		return
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			r.At("name").Errorf("expected letters, digits and hyphens, got %q", name)
			return
		}
	}
}
