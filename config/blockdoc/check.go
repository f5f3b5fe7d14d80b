package blockdoc

import (
	"slices"
	"strings"

	"talos.internal/config/schema"
)

// Check reports what is wrong between documents of this package: two volumes that would be mounted at one place, and
// logical volumes of a group that is not there.
func Check(c *schema.Check) {
	checkMountPoints(c)
	checkGroups(c)
}

// checkMountPoints holds that the names of volumes under /var/mnt differ across kinds. Two documents of one kind and name
// are not looked at: no config has them.
func checkMountPoints(c *schema.Check) {
	first := map[string]schema.Entry{}
	for _, e := range c.Set {
		name := ""
		switch d := e.Value.(type) {
		case *UserVolumeConfig:
			name = d.Name
		case *ExistingVolumeConfig:
			name = d.Name
		case *ExternalVolumeConfig:
			name = d.Name
		}
		if name == "" {
			continue
		}
		other, taken := first[name]
		if !taken {
			first[name] = e
			continue
		}
		if other.Value.DocumentKind() != e.Value.DocumentKind() {
			c.Reporter(e).At("name").Hintf("give one of them another name",
				"expected a name of its own, got %q, whose mount point /var/mnt/%s %s has", name, name, other.Title())
		}
	}
}

func checkGroups(c *schema.Check) {
	var names []string
	for _, g := range schema.All[*LVMVolumeGroupConfig](c.Set) {
		names = append(names, g.Name)
	}
	schema.Each(c, func(v *LVMLogicalVolumeConfig, r *schema.Reporter) {
		if v.Provisioning == nil || slices.Contains(names, v.Provisioning.VolumeGroup) {
			return
		}
		hint := "add an LVMVolumeGroupConfig of that name"
		if near := schema.Nearest(v.Provisioning.VolumeGroup, names); near != "" {
			hint = "did you mean " + near + "?"
		} else if len(names) > 0 {
			hint = "known groups: " + strings.Join(names, ", ")
		}
		r.At("provisioning").At("volumeGroup").Hintf(hint,
			"expected the name of an LVMVolumeGroupConfig, got %q", v.Provisioning.VolumeGroup)
	})
}
