package blockdoc

import (
	"strings"

	"talos.internal/config/schema"
)

// RAIDArrayConfig joins disks or partitions into a software RAID array of the kernel (md).
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: RAIDArrayConfig
//	name: mirror
//	level: raid1
//	metadata: "1.2"
//	provisioning:
//	    volumeSelector:
//	        match: volume.partition_label in ["r-left", "r-right"]
type RAIDArrayConfig struct {
	// Name is the name of the array: 1 to 32 letters, digits and the characters _ . and -, not first a hyphen.
	Name string `yaml:"name" required:"true"`
	// Level is how data is spread over the members. The default is raid1, which is the only one: every member has all data.
	Level string `yaml:"level" enum:"raid1"`
	// Metadata is the version of the superblock, which decides where it lies: 1.0 at the end of each member, so that a
	// member reads as if there were no array, or 1.2 near its start. The default is 1.0.
	Metadata string `yaml:"metadata" enum:"1.0|1.2"`
	// Provisioning says what the array is made of.
	Provisioning *MemberProvisioning `yaml:"provisioning" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*RAIDArrayConfig) DocumentKind() string { return "RAIDArrayConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *RAIDArrayConfig) DocumentName() string { return c.Name }

// LevelOrDefault returns how data is spread over the members.
func (c *RAIDArrayConfig) LevelOrDefault() string {
	if c.Level == "" {
		return RAID1
	}
	return c.Level
}

// MetadataOrDefault returns the version of the superblock.
func (c *RAIDArrayConfig) MetadataOrDefault() string {
	if c.Metadata == "" {
		return "1.0"
	}
	return c.Metadata
}

// Validate checks the name, which the superblock has room for 32 bytes of (md(4)).
func (c *RAIDArrayConfig) Validate(r *schema.Reporter) {
	switch bad := strings.Trim(c.Name, nameCharacters); {
	case len(c.Name) < 1 || len(c.Name) > 32:
		r.At("name").Errorf("expected a name of 1 to 32 characters, got %d", len(c.Name))
	case bad != "" || strings.HasPrefix(c.Name, "-") || c.Name == "." || c.Name == "..":
		r.At("name").Errorf("expected letters, digits, _, . and -, not first a hyphen, got %q", c.Name)
	}
}
