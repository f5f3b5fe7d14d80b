package blockdoc

import (
	"talos.internal/config/expr"
	"talos.internal/config/schema"
)

// ExistingVolumeConfig mounts a volume that is already there, with its data, at /var/mnt/<name>. It is never formatted.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ExistingVolumeConfig
//	name: archive
//	discovery:
//	    volumeSelector:
//	        match: volume.partition_label == "ARCHIVE" && disk.serial == "S1"
//	mount:
//	    readOnly: true
type ExistingVolumeConfig struct {
	// Name is the last part of the mount point /var/mnt/<name>: 1 to 34 letters, digits and hyphens. No other volume that
	// is mounted there may have it.
	Name string `yaml:"name" required:"true"`
	// Discovery says how the volume is found.
	Discovery *Discovery `yaml:"discovery" required:"true"`
	// Mount says how the volume is mounted.
	Mount *ExistingMount `yaml:"mount"`
	// Trim says whether and how often unused blocks are given back to the disk.
	Trim *Trim `yaml:"trim"`
	// Scrub says whether and how often the file system is verified. A file system other than xfs and btrfs is not.
	Scrub *Scrub `yaml:"scrub"`
}

// Discovery says how a volume is found among those that are on the machine's disks.
type Discovery struct {
	// VolumeSelector chooses the volume. It must be one that is not of the system, and only one may match.
	//
	// Example:
	//
	//	volumeSelector:
	//	    match: volume.label == "archive"
	VolumeSelector VolumeSelector `yaml:"volumeSelector" required:"true"`
}

// VolumeSelector chooses disks or partitions by what was found on them.
type VolumeSelector struct {
	// Match is a CEL expression that is true for what is meant. It sees volume (name, label, uuid, size, partition_label,
	// partition_uuid, dev_path, parent_dev_path and more), disk, which is the disk that it is on, system_disk, which is
	// true if that disk has the system, and units such as GiB.
	//
	// Example:
	//
	//	match: volume.name == "xfs" && volume.size > 10u * GiB && !system_disk
	Match expr.VolumeSelector `yaml:"match" required:"true"`
}

// ExternalVolumeConfig mounts a volume that the hypervisor offers at /var/mnt/<name>.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ExternalVolumeConfig
//	name: shared
//	filesystemType: virtiofs
//	mount:
//	    virtiofs:
//	        tag: shared
type ExternalVolumeConfig struct {
	// Name is the last part of the mount point /var/mnt/<name>: 1 to 34 letters, digits and hyphens. No other volume that
	// is mounted there may have it.
	Name string `yaml:"name" required:"true"`
	// FilesystemType is how the volume is offered. The only one is virtiofs, a directory that the hypervisor shares.
	FilesystemType string `yaml:"filesystemType" required:"true" enum:"virtiofs"`
	// Mount says what is mounted, and how.
	Mount *ExternalMount `yaml:"mount" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*ExistingVolumeConfig) DocumentKind() string { return "ExistingVolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *ExistingVolumeConfig) DocumentName() string { return c.Name }

// DocumentKind implements [schema.Document].
func (*ExternalVolumeConfig) DocumentKind() string { return "ExternalVolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *ExternalVolumeConfig) DocumentName() string { return c.Name }

// Validate checks the name.
func (c *ExistingVolumeConfig) Validate(r *schema.Reporter) { checkVolumeName(r, c.Name) }

// Validate checks the name and that the share is named.
func (c *ExternalVolumeConfig) Validate(r *schema.Reporter) {
	checkVolumeName(r, c.Name)
	if c.Mount == nil || c.Mount.Virtiofs == nil {
		r.At("mount").At("virtiofs").Hintf("write the tag that the hypervisor gave the share, such as virtiofs: {tag: shared}",
			"expected the tag of the share, got nothing")
	}
}
