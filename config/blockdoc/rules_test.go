package blockdoc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/blockdoc"
	"talos.internal/config/schema"
)

func TestRules(t *testing.T) {
	const (
		disk  = "provisioning: {diskSelector: {match: system_disk}, minSize: 1GiB}"
		group = "provisioning: {volumeGroup: pool, minSize: 1GiB}"
		found = "provisioning: {volumeSelector: {match: system_disk}}"
	)
	raw := func(rest string) string { return "{kind: RawVolumeConfig, name: a, " + rest + "}" }
	user := func(rest string) string { return "{kind: UserVolumeConfig, name: a, " + rest + "}" }
	key := func(rest string) string { return raw(disk + ", encryption: {keys: [" + rest + "]}") }
	for _, tc := range []struct {
		name, text string
		want       string // the report; empty for a valid document
	}{
		{"unknown system volume", "{kind: VolumeConfig, name: EPHEMERALS}",
			"line 1: name: expected one of STATE, EPHEMERAL, IMAGECACHE, ETCD, CRI, KUBELET, LOG, got \"EPHEMERALS\"; did you mean \"EPHEMERAL\"?\n"},
		{"STATE with encryption", "{kind: VolumeConfig, name: STATE, encryption: {keys: [{nodeID: {}}]}}", ""},
		{"STATE cannot be provisioned", "{kind: VolumeConfig, name: STATE, provisioning: {minSize: 1GiB}}",
			"line 1: provisioning: expected nothing, as the place and size of STATE are fixed, got a mapping; leave provisioning out\n"},
		{"STATE has its own file system", "{kind: VolumeConfig, name: STATE, filesystem: {}}",
			"line 1: filesystem: expected nothing, as the file system of STATE is fixed, got a mapping; leave filesystem out\n"},
		{"STATE cannot be locked to itself", "{kind: VolumeConfig, name: STATE, encryption: {keys: [{nodeID: {}, lockToState: true}]}}",
			"line 1: encryption.keys[0].lockToState: expected false, as what unlocks the key would lie on STATE itself, got true; leave lockToState out\n"},
		{"IMAGECACHE is ext4", "{kind: VolumeConfig, name: IMAGECACHE, filesystem: {xfs: {}}}",
			"line 1: filesystem: expected nothing, as the file system of IMAGECACHE is ext4, got a mapping; leave filesystem out\n"},
		{"IMAGECACHE cannot be scrubbed", "{kind: VolumeConfig, name: IMAGECACHE, scrub: {interval: 1h}}",
			"line 1: scrub: expected a file system that can be scrubbed (xfs or btrfs), got ext4; leave scrub out\n"},
		{"scrub that is off is fine", "{kind: VolumeConfig, name: IMAGECACHE, scrub: {enabled: false}}", ""},

		{"minimum above maximum", "{kind: VolumeConfig, name: LOG, provisioning: {minSize: 2GiB, maxSize: 1GB}}",
			"line 1: provisioning.minSize: expected at most maxSize (1GB), got 2GiB; make minSize smaller or maxSize larger\n"},
		{"minimum and a percentage", "{kind: VolumeConfig, name: LOG, provisioning: {minSize: 2GiB, maxSize: 1%}}", ""},
		{"minimum and what to leave free", "{kind: VolumeConfig, name: LOG, provisioning: {minSize: 2GiB, maxSize: -1GiB}}", ""},
		{"minimum of zero", "{kind: VolumeConfig, name: LOG, provisioning: {minSize: 0}}",
			"line 1: provisioning.minSize: expected a size above zero, got 0; leave the key out if there is no limit\n"},
		{"maximum of zero", "{kind: VolumeConfig, name: LOG, provisioning: {maxSize: 0MiB}}",
			"line 1: provisioning.maxSize: expected a size above zero, got 0MiB; leave the key out if there is no limit\n"},
		{"disk selector that is no expression", "{kind: VolumeConfig, name: LOG, provisioning: {diskSelector: {match: disk.sise > 1u}}}",
			"line 1: provisioning.diskSelector.match: expected a CEL disk selector such as disk.size > 100u * GiB && !disk.rotational, got \"disk.sise > 1u\": column 5: undefined field 'sise'\n"},
		{"disk selector without match", "{kind: VolumeConfig, name: LOG, provisioning: {diskSelector: {}}}",
			"line 1: provisioning.diskSelector: the key \"match\" is required\n"},

		{"partition without anything", "{kind: UserVolumeConfig, name: a}",
			"line 1: provisioning.diskSelector: expected a selector of the disk, got nothing; such as: match: disk.transport == \"nvme\"\n" +
				"line 1: provisioning: expected minSize, maxSize or both, got neither; for all that is free, write minSize and grow: true\n"},
		{"partition of any size that grows", raw("provisioning: {diskSelector: {match: system_disk}, grow: true}"), ""},
		{"raw volume without provisioning", "{kind: RawVolumeConfig, name: a}", "line 1: the key \"provisioning\" is required\n"},
		{"swap without a size", "{kind: SwapVolumeConfig, name: a, provisioning: {diskSelector: {match: system_disk}}}",
			"line 1: provisioning: expected minSize, maxSize or both, got neither; for all that is free, write minSize and grow: true\n"},
		{"disk without a selector", user("volumeType: disk"),
			"line 1: provisioning.diskSelector: expected a selector of the disk, got nothing; such as: match: disk.transport == \"nvme\"\n"},
		{"disk with sizes", user("volumeType: disk, provisioning: {diskSelector: {match: system_disk}, minSize: 1GiB, maxSize: 50%, grow: true}"),
			"line 1: provisioning.minSize: expected nothing, as the volume is a whole disk, got a size; leave it out, or use volumeType partition\n" +
				"line 1: provisioning.maxSize: expected nothing, as the volume is a whole disk, got a size; leave it out, or use volumeType partition\n" +
				"line 1: provisioning.grow: expected nothing, as the volume is a whole disk, got true; leave it out, or use volumeType partition\n"},
		{"directory", user("volumeType: directory, mount: {secure: false}"), ""},
		{"directory with what only devices have", user("volumeType: directory, provisioning: {}, filesystem: {}, encryption: {keys: [{nodeID: {}}]}, trim: {}, scrub: {}"),
			"line 1: provisioning: expected nothing, as the volume is a directory on EPHEMERAL, got a mapping; leave it out, or use volumeType partition\n" +
				"line 1: filesystem: expected nothing, as the volume is a directory on EPHEMERAL, got a mapping; leave it out, or use volumeType partition\n" +
				"line 1: encryption: expected nothing, as the volume is a directory on EPHEMERAL, got a mapping; leave it out, or use volumeType partition\n" +
				"line 1: trim: expected nothing, as the volume is a directory on EPHEMERAL, got a mapping; leave it out, or use volumeType partition\n" +
				"line 1: scrub: expected nothing, as the volume is a directory on EPHEMERAL, got a mapping; leave it out, or use volumeType partition\n"},
		{"unknown volume type", user("volumeType: dir, " + disk),
			"line 1: volumeType: expected one of directory, disk, partition, got \"dir\"\n"},
		{"name of 34 characters", "{kind: RawVolumeConfig, name: a234567890b234567890c234567890d234, " + disk + "}", ""},
		{"name of 35 characters", "{kind: RawVolumeConfig, name: a234567890b234567890c234567890d2345, " + disk + "}",
			"line 1: name: expected a name of 1 to 34 characters, got 35\n"},
		{"empty name", "{kind: SwapVolumeConfig, name: '', " + disk + "}",
			"line 1: name: expected a name of 1 to 34 characters, got 0\n"},
		{"name with other characters", "{kind: ExistingVolumeConfig, name: a_b, discovery: {volumeSelector: {match: system_disk}}}",
			"line 1: name: expected letters, digits and hyphens, got \"a_b\"\n"},

		{"project quota on ext4", user(disk + ", filesystem: {type: ext4, projectQuotaSupport: true, xfs: {}}"),
			"line 1: filesystem.projectQuotaSupport: expected false, as ext4 volumes have no project quotas, got true; use type xfs, or leave projectQuotaSupport out\n" +
				"line 1: filesystem.xfs: expected no options of xfs with type ext4, got some; use type xfs, or leave xfs out\n"},
		{"project quota on the default", user(disk + ", filesystem: {projectQuotaSupport: true}"), ""},
		{"scrub of ext4", user(disk + ", filesystem: {type: ext4}, scrub: {enabled: true}"),
			"line 1: scrub: expected a file system that can be scrubbed (xfs or btrfs), got ext4; leave scrub out\n"},
		{"allocation group too small", user(disk + ", filesystem: {xfs: {minAllocationGroupSize: 1MiB}}"),
			"line 1: filesystem.xfs.minAllocationGroupSize: expected a size from 16MiB to 1TiB, got 1MiB\n"},

		{"trim too often", "{kind: FilesystemTrimConfig, interval: 9s}",
			"line 1: interval: expected at least 10s, got 9s; such as 168h for a week\n"},
		{"trim all the time", "{kind: FilesystemTrimConfig, interval: 0s}",
			"line 1: interval: expected at least 10s, got 0s; such as 168h for a week\n"},
		{"scrub too often", "{kind: FilesystemScrubConfig, interval: 9.9s}",
			"line 1: interval: expected at least 10s, got 9.9s; such as 168h for a week\n"},
		{"trim of a volume too often", "{kind: VolumeConfig, name: LOG, trim: {interval: 1s}, scrub: {interval: 1s}}",
			"line 1: trim.interval: expected at least 10s, got 1s; such as 168h for a week\n" +
				"line 1: scrub.interval: expected at least 10s, got 1s; such as 168h for a week\n"},

		{"pool of nothing", "{kind: ZswapConfig, maxPoolPercent: 0}", "line 1: maxPoolPercent: expected 1 to 100 percent, got 0\n"},
		{"pool of more than all", "{kind: ZswapConfig, maxPoolPercent: 101}", "line 1: maxPoolPercent: expected 1 to 100 percent, got 101\n"},

		{"share without a tag", "{kind: ExternalVolumeConfig, name: a, filesystemType: virtiofs, mount: {}}",
			"line 1: mount.virtiofs: expected the tag of the share, got nothing; write the tag that the hypervisor gave the share, such as virtiofs: {tag: shared}\n"},
		{"share with an empty tag", "{kind: ExternalVolumeConfig, name: a, filesystemType: virtiofs, mount: {virtiofs: {tag: ''}}}",
			"line 1: mount.virtiofs.tag: expected a tag of 1 to 36 bytes, got 0\n"},
		{"share of another type", "{kind: ExternalVolumeConfig, name: a, filesystemType: nfs, mount: {virtiofs: {tag: a}}}",
			"line 1: filesystemType: expected one of virtiofs, got \"nfs\"\n"},

		{"no keys", key(""), "line 1: encryption.keys: expected at least one key, got an empty list; such as: - slot: 0, with nodeID: {} below it\n"},
		{"keys are required", raw(disk + ", encryption: {}"), "line 1: encryption: the key \"keys\" is required\n"},
		{"key without a source", key("{slot: 1}"),
			"line 1: encryption.keys[0]: expected one of static, nodeID, kms and tpm, got none; for a key in the TPM, write tpm: {}\n"},
		{"key with two sources", key("{tpm: {}, static: {passphrase: placeholder}}"),
			"line 1: encryption.keys[0]: expected one of static, nodeID, kms and tpm, got static and tpm; put each in a key of its own, with its own slot\n"},
		{"two keys in a slot", key("{nodeID: {}}, {slot: 1, tpm: {}}, {slot: 0, tpm: {}}"),
			"line 1: encryption.keys[2].slot: expected a slot that no other key has, got 0, which keys[0] has; give each key a slot of its own\n"},
		{"slot beyond the header", key("{slot: 32, tpm: {}}"), "line 1: encryption.keys[0].slot: expected a slot from 0 to 31, got 32\n"},
		{"slot below zero", key("{slot: -1, tpm: {}}"), "line 1: encryption.keys[0].slot: expected a slot from 0 to 31, got -1\n"},
		{"empty passphrase", key("{static: {passphrase: ''}}"),
			"line 1: encryption.keys[0].static.passphrase: expected a passphrase, got an empty string\n"},
		{"a passphrase is not shown", key("{static: {passphrase: [placeholder]}}"),
			"line 1: encryption.keys[0].static.passphrase: expected a string\n"},
		{"key server without an endpoint", key("{kms: {}}"), "line 1: encryption.keys[0].kms: the key \"endpoint\" is required\n"},
		{"registers", key("{tpm: {options: {pcrs: [24, -1, 7, 7]}}}"),
			"line 1: encryption.keys[0].tpm.options.pcrs[0]: expected a register from 0 to 23, got 24\n" +
				"line 1: encryption.keys[0].tpm.options.pcrs[1]: expected a register from 0 to 23, got -1\n" +
				"line 1: encryption.keys[0].tpm.options.pcrs[3]: expected each register once, got 7 again\n"},
		{"sizes of encryption", raw(disk + ", encryption: {keys: [{tpm: {}}], keySize: 100, blockSize: 1000}"),
			"line 1: encryption.keySize: expected a multiple of 8 bits, got 100; such as 256 or 512\n" +
				"line 1: encryption.blockSize: expected 512, 1024, 2048 or 4096 bytes, got 1000\n"},
		{"options of encryption", raw(disk + ", encryption: {keys: [{tpm: {}}], options: [same_cpu]}"),
			"line 1: encryption.options[0]: expected one of no_read_workqueue, no_write_workqueue, same_cpu_crypt, got \"same_cpu\"\n"},
		{"provider", raw(disk + ", encryption: {provider: luks1, keys: [{tpm: {}}]}"),
			"line 1: encryption.provider: expected one of luks2, got \"luks1\"; did you mean \"luks2\"?\n"},

		{"group with a slash", "{kind: LVMVolumeGroupConfig, name: a/b, " + found + "}",
			"line 1: name: expected letters, digits, +, _, . and -, not first a hyphen, got \"a/b\"\n"},
		{"group named as a path", "{kind: LVMVolumeGroupConfig, name: .., " + found + "}",
			"line 1: name: expected a name that is no path, got \"..\"\n"},
		{"group without members", "{kind: LVMVolumeGroupConfig, name: a, provisioning: {}}",
			"line 1: provisioning: the key \"volumeSelector\" is required\n"},
		{"volume selector", "{kind: LVMVolumeGroupConfig, name: a, provisioning: {volumeSelector: {match: volume.size}}}",
			"line 1: provisioning.volumeSelector.match: expected a CEL volume selector such as volume.partition_label == \"DATA\", got \"volume.size\": its result is a uint, not a bool\n"},
		{"linear", "{kind: LVMLogicalVolumeConfig, name: a, " + group + "}", ""},
		{"linear with mirrors and stripes", "{kind: LVMLogicalVolumeConfig, name: a, mirrors: 1, stripes: 2, " + group + "}",
			"line 1: mirrors: expected nothing, as type linear has no mirrors, got 1; leave it out, or change the type\n" +
				"line 1: stripes: expected nothing, as type linear has no stripes, got 2; leave it out, or change the type\n"},
		{"raid0 with mirrors", "{kind: LVMLogicalVolumeConfig, name: a, type: raid0, mirrors: 1, stripes: 2, " + group + "}",
			"line 1: mirrors: expected nothing, as type raid0 has no mirrors, got 1; leave it out, or change the type\n"},
		{"raid1 with stripes", "{kind: LVMLogicalVolumeConfig, name: a, type: raid1, mirrors: 2, stripes: 2, " + group + "}",
			"line 1: stripes: expected nothing, as type raid1 has no stripes, got 2; leave it out, or change the type\n"},
		{"raid10 with too few", "{kind: LVMLogicalVolumeConfig, name: a, type: raid10, mirrors: 0, stripes: 1, " + group + "}",
			"line 1: mirrors: expected at least 1, got 0\nline 1: stripes: expected at least 2, got 1\n"},
		{"logical volume without a size", "{kind: LVMLogicalVolumeConfig, name: a, provisioning: {volumeGroup: pool}}",
			"line 1: provisioning: expected minSize, maxSize or both, got neither; for the whole group, write maxSize: 100%\n"},
		{"logical volume with LVM's own name", "{kind: LVMLogicalVolumeConfig, name: a_rimage_0, " + group + "}",
			"line 1: name: expected a name that LVM does not use itself, got \"a_rimage_0\", which has \"_rimage\" in it; choose another name\n"},
		{"logical volume with LVM's own prefix", "{kind: LVMLogicalVolumeConfig, name: pvmove1, " + group + "}",
			"line 1: name: expected a name that LVM does not use itself, got \"pvmove1\", which starts with \"pvmove\"; choose another name\n"},

		{"array of another level", "{kind: RAIDArrayConfig, name: a, level: raid5, " + found + "}",
			"line 1: level: expected one of raid1, got \"raid5\"; did you mean \"raid1\"?\n"},
		{"array of old metadata", "{kind: RAIDArrayConfig, name: a, metadata: 0.90, " + found + "}",
			"line 1: metadata: expected one of 1.0, 1.2, got 0.90\n"},
		{"array with a long name", "{kind: RAIDArrayConfig, name: a234567890b234567890c234567890123, " + found + "}",
			"line 1: name: expected a name of 1 to 32 characters, got 33\n"},
		{"array with a space", "{kind: RAIDArrayConfig, name: a b, " + found + "}",
			"line 1: name: expected letters, digits, _, . and -, not first a hyphen, got \"a b\"\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, report := decode(t, tc.text)
			if diff := cmp.Diff(tc.want, report.String()); diff != "" {
				t.Errorf("report of %s (-want +got):\n%s", tc.text, diff)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	const (
		userData     = "{kind: UserVolumeConfig, name: data, volumeType: directory}\n---\n"
		existingData = "{kind: ExistingVolumeConfig, name: data, discovery: {volumeSelector: {match: system_disk}}}\n---\n"
		externalData = "{kind: ExternalVolumeConfig, name: data, filesystemType: virtiofs, mount: {virtiofs: {tag: a}}}\n---\n"
		rawData      = "{kind: RawVolumeConfig, name: data, provisioning: {diskSelector: {match: system_disk}, minSize: 1GiB}}\n---\n"
		pool         = "{kind: LVMVolumeGroupConfig, name: pool, provisioning: {volumeSelector: {match: system_disk}}}\n---\n"
	)
	logical := func(group string) string {
		return "{kind: LVMLogicalVolumeConfig, name: a, provisioning: {volumeGroup: " + group + ", minSize: 1GiB}}\n---\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"labels of different kinds differ", userData + rawData, ""},
		{"two kinds at one mount point", userData + existingData + externalData,
			"line 3: ExistingVolumeConfig data: name: expected a name of its own, got \"data\", whose mount point /var/mnt/data UserVolumeConfig data has; give one of them another name\n" +
				"line 5: ExternalVolumeConfig data: name: expected a name of its own, got \"data\", whose mount point /var/mnt/data UserVolumeConfig data has; give one of them another name\n"},
		{"group is there", logical("pool") + pool, ""},
		{"no group at all", logical("pool"),
			"line 1: LVMLogicalVolumeConfig a: provisioning.volumeGroup: expected the name of an LVMVolumeGroupConfig, got \"pool\"; add an LVMVolumeGroupConfig of that name\n"},
		{"misspelt group", logical("pol") + pool,
			"line 1: LVMLogicalVolumeConfig a: provisioning.volumeGroup: expected the name of an LVMVolumeGroupConfig, got \"pol\"; did you mean pool?\n"},
		{"another group", logical("tank") + pool,
			"line 1: LVMLogicalVolumeConfig a: provisioning.volumeGroup: expected the name of an LVMVolumeGroupConfig, got \"tank\"; known groups: pool\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set, report := decode(t, tc.text)
			if len(report) > 0 {
				t.Fatalf("decode reports %s; want nothing", report)
			}
			blockdoc.Check(&schema.Check{Set: set, Report: &report})
			if diff := cmp.Diff(tc.want, report.String()); diff != "" {
				t.Errorf("Check (-want +got):\n%s", diff)
			}
		})
	}
}
