package blockdoc

import "talos.internal/config/schema"

// RawVolumeConfig makes a partition, labelled r-<name>, that is neither formatted nor mounted: for a storage system that
// runs on the cluster.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: RawVolumeConfig
//	name: ceph
//	provisioning:
//	    diskSelector:
//	        match: '!system_disk'
//	    minSize: 100GiB
//	    grow: true
type RawVolumeConfig struct {
	// Name is the partition's label without the prefix r-: 1 to 34 letters, digits and hyphens.
	Name string `yaml:"name" required:"true"`
	// Provisioning says where the partition is made, and how large. It needs a disk selector and a size.
	Provisioning *Provisioning `yaml:"provisioning" required:"true"`
	// Encryption encrypts the partition. Left out, it is not encrypted.
	Encryption *Encryption `yaml:"encryption"`
}

// SwapVolumeConfig makes a partition, labelled s-<name>, that the kernel swaps to.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: SwapVolumeConfig
//	name: swap1
//	provisioning:
//	    diskSelector:
//	        match: disk.transport == "nvme"
//	    minSize: 3GiB
//	    maxSize: 4GiB
//	encryption:
//	    provider: luks2
//	    keys:
//	        - slot: 0
//	          tpm: {}
type SwapVolumeConfig struct {
	// Name is the partition's label without the prefix s-: 1 to 34 letters, digits and hyphens.
	Name string `yaml:"name" required:"true"`
	// Provisioning says where the partition is made, and how large. It needs a disk selector and a size.
	Provisioning *Provisioning `yaml:"provisioning" required:"true"`
	// Encryption encrypts the partition. Left out, it is not encrypted, and what pods had in memory can be read from the
	// disk.
	Encryption *Encryption `yaml:"encryption"`
}

// ZswapConfig turns on zswap: pages that are to be swapped out are compressed and kept in memory, and written to the swap
// volume only when the pool is full.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ZswapConfig
//	maxPoolPercent: 25
//	shrinkerEnabled: true
type ZswapConfig struct {
	// MaxPoolPercent is how much of the memory the compressed pages may take, from 1 to 100 percent. The default is 20.
	MaxPoolPercent *int `yaml:"maxPoolPercent"`
	// ShrinkerEnabled writes pages that were not used for long to the swap volume when memory is short, before the pool is
	// full. The default is false.
	ShrinkerEnabled bool `yaml:"shrinkerEnabled"`
}

// DocumentKind implements [schema.Document].
func (*RawVolumeConfig) DocumentKind() string { return "RawVolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *RawVolumeConfig) DocumentName() string { return c.Name }

// DocumentKind implements [schema.Document].
func (*SwapVolumeConfig) DocumentKind() string { return "SwapVolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *SwapVolumeConfig) DocumentName() string { return c.Name }

// DocumentKind implements [schema.Document].
func (*ZswapConfig) DocumentKind() string { return "ZswapConfig" }

// MaxPoolPercentOrDefault returns the share of the memory that the pool may take.
func (c *ZswapConfig) MaxPoolPercentOrDefault() int { return orDefault(c.MaxPoolPercent, 20) }

// Validate checks the name and that a disk and a size are there.
func (c *RawVolumeConfig) Validate(r *schema.Reporter) {
	checkVolumeName(r, c.Name)
	checkPartition(r.At("provisioning"), c.Provisioning)
}

// Validate checks the name and that a disk and a size are there.
func (c *SwapVolumeConfig) Validate(r *schema.Reporter) {
	checkVolumeName(r, c.Name)
	checkPartition(r.At("provisioning"), c.Provisioning)
}

// Validate checks the percentage.
func (c *ZswapConfig) Validate(r *schema.Reporter) {
	if p := c.MaxPoolPercentOrDefault(); p < 1 || p > 100 {
		r.At("maxPoolPercent").Errorf("expected 1 to 100 percent, got %d", p)
	}
}
