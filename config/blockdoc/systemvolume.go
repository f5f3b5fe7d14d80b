package blockdoc

import "talos.internal/config/schema"

// The names of the system volumes.
const (
	State      = "STATE"
	Ephemeral  = "EPHEMERAL"
	ImageCache = "IMAGECACHE"
	Etcd       = "ETCD"
	CRI        = "CRI"
	Kubelet    = "KUBELET"
	Log        = "LOG"
)

// VolumeConfig tunes a volume of the system.
//
// STATE holds the config and the identity of the node; EPHEMERAL is /var; IMAGECACHE holds the image cache. ETCD, CRI,
// KUBELET and LOG are directories of EPHEMERAL, each of which becomes a partition of its own once it has a
// VolumeConfig. That is decided when the machine is installed: a directory that holds data does not become a
// partition later, nor the other way round.
//
// Where STATE is made, and how, is fixed; the other volumes are made on the disk that the system is installed on
// unless provisioning says otherwise.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: VolumeConfig
//	name: EPHEMERAL
//	provisioning:
//	    diskSelector:
//	        match: disk.transport == "nvme"
//	    minSize: 20GiB
//	    maxSize: 80%
//	encryption:
//	    provider: luks2
//	    keys:
//	        - slot: 0
//	          tpm: {}
//	mount:
//	    secure: true
type VolumeConfig struct {
	// Name is the volume that is meant.
	Name string `yaml:"name" required:"true" enum:"STATE|EPHEMERAL|IMAGECACHE|ETCD|CRI|KUBELET|LOG"`
	// Provisioning says where the volume is made, and how large. STATE cannot have it: it is where the config is found again.
	Provisioning *Provisioning `yaml:"provisioning"`
	// Filesystem tunes the file system when it is made. STATE and IMAGECACHE cannot have it.
	Filesystem *SystemFilesystem `yaml:"filesystem"`
	// Encryption encrypts the volume. Left out, it is not encrypted.
	Encryption *Encryption `yaml:"encryption"`
	// Mount says how the volume is mounted.
	Mount *Mount `yaml:"mount"`
	// Trim says whether and how often unused blocks are given back to the disk.
	Trim *Trim `yaml:"trim"`
	// Scrub says whether and how often the file system is verified. IMAGECACHE, which is ext4, cannot have it.
	Scrub *Scrub `yaml:"scrub"`
}

// DocumentKind implements [schema.Document].
func (*VolumeConfig) DocumentKind() string { return "VolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *VolumeConfig) DocumentName() string { return c.Name }

// FilesystemType returns the type of the volume's file system, which is fixed.
func (c *VolumeConfig) FilesystemType() string {
	if c.Name == ImageCache {
		return Ext4
	}
	return XFS
}

// GrowOrDefault reports whether the volume's partition grows into free space.
func (c *VolumeConfig) GrowOrDefault() bool {
	if c.Provisioning == nil {
		return c.Name == Ephemeral
	}
	return orDefault(c.Provisioning.Grow, c.Name == Ephemeral)
}

// Validate checks that the volume can have what is asked of it.
func (c *VolumeConfig) Validate(r *schema.Reporter) {
	switch c.Name {
	case State:
		if c.Provisioning != nil {
			r.At("provisioning").Hintf("leave provisioning out",
				"expected nothing, as the place and size of STATE are fixed, got a mapping")
		}
		if c.Filesystem != nil {
			r.At("filesystem").Hintf("leave filesystem out",
				"expected nothing, as the file system of STATE is fixed, got a mapping")
		}
		c.checkLocks(r)
	case ImageCache:
		if c.Filesystem != nil {
			r.At("filesystem").Hintf("leave filesystem out",
				"expected nothing, as the file system of IMAGECACHE is ext4, got a mapping")
		}
	}
	checkScrub(r, c.Scrub, c.FilesystemType())
}

// checkLocks reports keys of STATE that would be locked to STATE, and so could never open it.
func (c *VolumeConfig) checkLocks(r *schema.Reporter) {
	if c.Encryption == nil {
		return
	}
	for i, k := range c.Encryption.Keys {
		if k.LockToState {
			r.At("encryption").At("keys").Item(i).At("lockToState").Hintf("leave lockToState out",
				"expected false, as what unlocks the key would lie on STATE itself, got true")
		}
	}
}
