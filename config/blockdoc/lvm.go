package blockdoc

import (
	"fmt"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// The types of logical volumes.
const (
	Linear = "linear"
	RAID0  = "raid0"
	RAID1  = "raid1"
	RAID10 = "raid10"
)

// LVMVolumeGroupConfig joins disks or partitions into an LVM volume group, from which LVMLogicalVolumeConfig takes its
// volumes. What is selected becomes a physical volume of the group; it must be empty, or already part of it.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: LVMVolumeGroupConfig
//	name: pool
//	provisioning:
//	    volumeSelector:
//	        match: disk.transport == "nvme" && !system_disk
type LVMVolumeGroupConfig struct {
	// Name is the name of the volume group: 1 to 127 letters, digits and the characters + _ . and -, not first a hyphen.
	Name string `yaml:"name" required:"true"`
	// Provisioning says what the group is made of.
	Provisioning *MemberProvisioning `yaml:"provisioning" required:"true"`
}

// MemberProvisioning says which disks or partitions become members of a volume group or an array.
type MemberProvisioning struct {
	// VolumeSelector chooses the members: all that match.
	//
	// Example:
	//
	//	volumeSelector:
	//	    match: volume.partition_label.startsWith("r-pool")
	VolumeSelector VolumeSelector `yaml:"volumeSelector" required:"true"`
}

// LVMLogicalVolumeConfig makes a logical volume in an LVM volume group.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: LVMLogicalVolumeConfig
//	name: database
//	type: raid1
//	mirrors: 1
//	provisioning:
//	    volumeGroup: pool
//	    minSize: 10GiB
//	    maxSize: 50%
type LVMLogicalVolumeConfig struct {
	// Name is the name of the logical volume: 1 to 127 letters, digits and the characters + _ . and -, not first a hyphen.
	// Names that LVM uses for parts of volumes, such as those with _rimage in them, are not allowed.
	Name string `yaml:"name" required:"true"`
	// Type is how the volume lies on the members of its group: linear, one after the other; raid0, striped over several;
	// raid1, mirrored; raid10, stripes of mirrors. The default is linear.
	Type string `yaml:"type" enum:"linear|raid0|raid1|raid10"`
	// Mirrors is the number of copies beside the first, at least 1, for raid1 and raid10. The default is 1.
	Mirrors *int `yaml:"mirrors"`
	// Stripes is the number of members that the volume is striped over, at least 2, for raid0 and raid10. Left out, LVM
	// chooses.
	Stripes *int `yaml:"stripes"`
	// Provisioning says where the volume is made, and how large.
	Provisioning *LogicalProvisioning `yaml:"provisioning" required:"true"`
}

// LogicalProvisioning says in which group a logical volume is made, and how large. It needs minSize, maxSize or both.
type LogicalProvisioning struct {
	// VolumeGroup is the name of an LVMVolumeGroupConfig.
	VolumeGroup string `yaml:"volumeGroup" required:"true"`
	// MinSize is the least size with which the volume is made.
	//
	// Example:
	//
	//	minSize: 10GiB
	MinSize scalar.Size `yaml:"minSize"`
	// MaxSize is the most that the volume may have: a size, a share of the group in percent, or with a minus sign what is to
	// be left free in the group. Left out, it has minSize.
	//
	// Example:
	//
	//	maxSize: 50%
	MaxSize scalar.Limit `yaml:"maxSize"`
}

// DocumentKind implements [schema.Document].
func (*LVMVolumeGroupConfig) DocumentKind() string { return "LVMVolumeGroupConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *LVMVolumeGroupConfig) DocumentName() string { return c.Name }

// DocumentKind implements [schema.Document].
func (*LVMLogicalVolumeConfig) DocumentKind() string { return "LVMLogicalVolumeConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *LVMLogicalVolumeConfig) DocumentName() string { return c.Name }

// TypeOrDefault returns how the volume lies on the members of its group.
func (c *LVMLogicalVolumeConfig) TypeOrDefault() string {
	if c.Type == "" {
		return Linear
	}
	return c.Type
}

// MirrorsOrDefault returns the number of copies beside the first: none for the types without.
func (c *LVMLogicalVolumeConfig) MirrorsOrDefault() int {
	if t := c.TypeOrDefault(); t != RAID1 && t != RAID10 {
		return 0
	}
	return orDefault(c.Mirrors, 1)
}

// Validate checks the name.
func (c *LVMVolumeGroupConfig) Validate(r *schema.Reporter) { checkLVMName(r, c.Name) }

// Validate checks the name, and mirrors and stripes against the type.
func (c *LVMLogicalVolumeConfig) Validate(r *schema.Reporter) {
	checkLVMName(r, c.Name)
	checkReserved(r, c.Name)
	t := c.TypeOrDefault()
	checkCount(r.At("mirrors"), c.Mirrors, 1, "type "+t+" has no mirrors", t == RAID1 || t == RAID10)
	checkCount(r.At("stripes"), c.Stripes, 2, "type "+t+" has no stripes", t == RAID0 || t == RAID10)
}

func checkCount(r *schema.Reporter, n *int, least int, why string, allowed bool) {
	switch {
	case n == nil:
	case !allowed:
		r.Hintf("leave it out, or change the type", "expected nothing, as %s, got %d", why, *n)
	case *n < least:
		r.Errorf("expected at least %d, got %d", least, *n)
	}
}

// Validate checks the sizes.
func (p *LogicalProvisioning) Validate(r *schema.Reporter) {
	checkSizes(r, p.MinSize, p.MaxSize)
	if p.MinSize == (scalar.Size{}) && p.MaxSize.IsZero() {
		r.Hintf("for the whole group, write maxSize: 100%", "expected minSize, maxSize or both, got neither")
	}
}

// checkLVMName checks the name of a group or a volume (lvm(8), VALID NAMES).
func checkLVMName(r *schema.Reporter, name string) {
	at := r.At("name")
	switch bad := strings.Trim(name, nameCharacters+"+"); {
	case len(name) < 1 || len(name) > 127:
		at.Errorf("expected a name of 1 to 127 characters, got %d", len(name))
	case bad != "" || strings.HasPrefix(name, "-"):
		at.Errorf("expected letters, digits, +, _, . and -, not first a hyphen, got %q", name)
	case name == "." || name == "..":
		at.Errorf("expected a name that is no path, got %q", name)
	}
}

// nameCharacters are those that LVM and md allow in names, but for +, which only LVM does.
const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

// checkReserved reports a name that LVM uses itself (lvm(8), VALID NAMES).
func checkReserved(r *schema.Reporter, name string) {
	reserved := ""
	for _, prefix := range []string{"snapshot", "pvmove"} {
		if strings.HasPrefix(name, prefix) {
			reserved = fmt.Sprintf("starts with %q", prefix)
		}
	}
	for _, part := range []string{
		"_cdata", "_cmeta", "_corig", "_iorig", "_mlog", "_mimage", "_pmspare",
		"_rimage", "_rmeta", "_tdata", "_tmeta", "_vorigin", "_vdata",
	} {
		if strings.Contains(name, part) {
			reserved = fmt.Sprintf("has %q in it", part)
		}
	}
	if reserved != "" {
		r.At("name").Hintf("choose another name", "expected a name that LVM does not use itself, got %q, which %s", name, reserved)
	}
}
