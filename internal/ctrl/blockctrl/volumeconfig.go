package blockctrl

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"talos.internal/config/blockdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/effective"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/internal/sys/pcr"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// ids of volumes beside those of blockdoc.
const volumeMeta = install.LabelMeta

// Prefixes of ids, and of partition labels.
const (
	prefixUser     = "u-"
	prefixRaw      = "r-"
	prefixExisting = "e-"
	prefixExternal = "x-"
	prefixSwap     = "s-"
)

// Waves: volumes of a lower wave are made first.
const (
	waveState int64 = iota
	waveSystem
	waveUser
)

// requester is who asks for the volumes of the config to be mounted.
const requester = "block.VolumeConfigController"

// volume is a volume of the config, and how it is to be mounted; nil is not at all.
type volume struct {
	config block.VolumeConfig
	mount  *block.VolumeMountRequest
}

// volumeConfigController makes the volumes that the system has and those that the machine config asks for.
//
// Before META is read it says nothing of STATE: how that is opened is in META.
func volumeConfigController(keys *diskkey.Memory) controller.Controller {
	to := []controller.Output{controller.Exclusive[block.VolumeConfig](), controller.Shared[block.VolumeMountRequest]()}
	return effective.Pass(requester, to, func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
		var set schema.Set
		if c != nil {
			set = c.Set
		}
		_, loaded, err := state.Find[runtime.MetaLoaded](ctx, rt, runtime.MetaLoadedID)
		if err != nil {
			return err
		}
		all := volumes(set)
		stateVolume(all, loaded, keys)
		// STATE first: whoever sees another volume of a new config sees it as that config wants it.
		ids := slices.Sorted(maps.Keys(all))
		slices.SortStableFunc(ids, func(a, b string) int { return int(all[a].config.Provisioning.Wave - all[b].config.Provisioning.Wave) })
		for _, id := range ids {
			v := all[id]
			if err := controller.Put(ctx, rt, id, v.config); err != nil {
				return err
			}
			if v.mount == nil {
				continue
			}
			request := *v.mount
			request.VolumeID, request.Requester = id, requester
			if err := controller.Put(ctx, rt, requester+"-"+id, request); err != nil {
				return err
			}
		}
		return nil
	}, controller.Weak[runtime.MetaLoaded](), controller.Weak[runtime.MetaKey]())
}

// stateVolume completes STATE with what META says of it. What the config asks for goes before; what it does not ask for any more holds for as long as
// META has it, since a volume is not decrypted in place.
func stateVolume(all map[string]volume, loaded bool, keys *diskkey.Memory) {
	if !loaded {
		delete(all, blockdoc.State)
		return
	}
	v := all[blockdoc.State]
	if v.config.Encryption.Provider != block.EncryptionNone {
		return
	}
	e, there, err := keys.Get()
	if err != nil {
		// It is encrypted, by keys that are not known. Opening it says why.
		e, there = block.Encryption{Provider: block.EncryptionLUKS2}, true
	}
	if there {
		v.config.Encryption = e
		all[blockdoc.State] = v
	}
}

// The mount points of the system's volumes.
const (
	pointState     = "/system/state"
	pointEphemeral = "/var"
	pointUser      = "/var/mnt/"
)

// promotable are directories of EPHEMERAL that a config may ask to be volumes of their own.
var promotable = map[string]string{
	blockdoc.Etcd: "/var/lib/etcd", blockdoc.CRI: "/var/lib/containerd", blockdoc.Kubelet: "/var/lib/kubelet", blockdoc.Log: "/var/log",
}

// volumes returns the volumes of a config by their ids. STATE and META are there always, since the config is in STATE; the others wait for
// a config that is whole.
func volumes(set schema.Set) map[string]volume {
	docs := map[string]*blockdoc.VolumeConfig{}
	for _, d := range schema.All[*blockdoc.VolumeConfig](set) {
		docs[d.Name] = d
	}
	out := map[string]volume{
		volumeMeta:          {config: foundPartition(volumeMeta)},
		blockdoc.ImageCache: {config: foundPartition(blockdoc.ImageCache)},
	}
	state := systemVolume(blockdoc.State, docs[blockdoc.State], pointState)
	state.config.Provisioning.Wave = waveState
	state.config.Provisioning.PartitionSpec.MinSize, state.config.Provisioning.PartitionSpec.MaxSize = install.SizeState, install.SizeState
	state.config.Mount.Secure, state.config.Mount.NoExec, state.config.Mount.FileMode = true, true, 0o700
	state.mount.Secure, state.mount.NoExec = true, true
	out[blockdoc.State] = state
	root, _, whole := rootdoc.Find(set)
	if !whole {
		// It is not made before it is known how: a config may want it encrypted.
		state.config.Provisioning.DiskSelector.Match.Text = ""
		out[blockdoc.State] = state
		return out
	}
	ephemeral := systemVolume(blockdoc.Ephemeral, docs[blockdoc.Ephemeral], pointEphemeral)
	if min := &ephemeral.config.Provisioning.PartitionSpec.MinSize; *min == 0 {
		*min = install.MinEphemeral
	}
	ephemeral.config.Mount.ProjectQuotaSupport = root.Machine != nil && root.Machine.Features != nil && root.Machine.Features.DiskQuotaSupport
	out[blockdoc.Ephemeral] = ephemeral
	for name, point := range promotable {
		if d := docs[name]; d != nil {
			out[name] = systemVolume(name, d, point)
			continue
		}
		out[name] = volume{config: block.VolumeConfig{
			Type: block.VolumeDirectory, ParentID: blockdoc.Ephemeral, Provisioning: block.Provisioning{Wave: waveUser}, Mount: block.Mount{TargetPath: point, ParentID: blockdoc.Ephemeral, FileMode: 0o755},
		}}
	}
	for _, d := range schema.All[*blockdoc.UserVolumeConfig](set) {
		out[prefixUser+d.Name] = userVolume(d)
	}
	for _, d := range schema.All[*blockdoc.RawVolumeConfig](set) {
		v := partitionVolume(prefixRaw+d.Name, gpt.TypeLinux, d.Provisioning, d.Encryption)
		out[prefixRaw+d.Name] = volume{config: v}
	}
	for _, d := range schema.All[*blockdoc.SwapVolumeConfig](set) {
		v := partitionVolume(prefixSwap+d.Name, gpt.TypeSwap, d.Provisioning, d.Encryption)
		v.Provisioning.FilesystemSpec.Type = block.FilesystemSwap
		out[prefixSwap+d.Name] = volume{config: v, mount: &block.VolumeMountRequest{}}
	}
	for _, d := range schema.All[*blockdoc.ExistingVolumeConfig](set) {
		out[prefixExisting+d.Name] = existingVolume(d)
	}
	for _, d := range schema.All[*blockdoc.ExternalVolumeConfig](set) {
		out[prefixExternal+d.Name] = externalVolume(d)
	}
	return out
}

// systemDiskOnly selects the disk of the system.
const systemDiskOnly = "system_disk"

// onSystemDisk finds a partition by its label on the disk of the system.
func onSystemDisk(label string) block.Locator {
	return block.Locator{Match: block.Expression{Text: fmt.Sprintf("volume.partition_label == %q && system_disk", label)}}
}

// foundPartition is a partition of the system disk that an installation makes, or not.
func foundPartition(label string) block.VolumeConfig {
	c := block.VolumeConfig{Locator: onSystemDisk(label)}
	c.Provisioning.PartitionSpec.Label = label
	return c
}

func byLabel(label string) block.Locator {
	return block.Locator{Match: block.Expression{Text: fmt.Sprintf("volume.partition_label == %q", label)}}
}

func systemVolume(name string, d *blockdoc.VolumeConfig, point string) volume {
	if d == nil {
		d = &blockdoc.VolumeConfig{Name: name}
	}
	c := partitionVolume(name, gpt.TypeLinux, d.Provisioning, d.Encryption)
	c.Provisioning.Wave = waveSystem
	c.Provisioning.PartitionSpec.Grow = d.GrowOrDefault()
	c.Provisioning.FilesystemSpec.Type = block.FilesystemXFS
	if d.Filesystem != nil && d.Filesystem.XFS != nil {
		c.Provisioning.FilesystemSpec.MinAllocationGroupSize = d.Filesystem.XFS.MinAllocationGroupSize.Bytes
	}
	if c.Provisioning.DiskSelector.Match.Text == "" {
		c.Provisioning.DiskSelector.Match.Text = systemDiskOnly
		c.Locator = onSystemDisk(name)
	}
	secure := d.Mount.SecureOrDefault()
	c.Mount = block.Mount{TargetPath: point, FileMode: 0o755, Secure: secure}
	return volume{config: c, mount: &block.VolumeMountRequest{Secure: secure, DisableAccessTime: d.Mount != nil && d.Mount.DisableAccessTime}}
}

// partitionVolume returns the config of a partition with that label and id.
func partitionVolume(label string, kind gpt.GUID, p *blockdoc.Provisioning, e *blockdoc.Encryption) block.VolumeConfig {
	c := block.VolumeConfig{Type: block.VolumePartition, Locator: byLabel(label), Encryption: encryption(e)}
	c.Provisioning.Wave = waveUser
	c.Provisioning.PartitionSpec = block.PartitionSpec{Label: label, TypeUUID: kind.String()}
	c.Provisioning.FilesystemSpec.Label = label
	if p == nil {
		return c
	}
	if p.DiskSelector != nil {
		c.Provisioning.DiskSelector.Match.Text = string(p.DiskSelector.Match)
	}
	spec := &c.Provisioning.PartitionSpec
	spec.Grow = p.Grow != nil && *p.Grow
	spec.MinSize = p.MinSize.Bytes
	spec.MaxSize, spec.RelativeMaxSize, spec.NegativeMaxSize = limit(p.MaxSize)
	return c
}

func limit(l scalar.Limit) (size, percent uint64, negative bool) {
	return l.Size.Bytes, uint64(l.Percent), l.Negative
}

func encryption(e *blockdoc.Encryption) block.Encryption {
	if e == nil {
		return block.Encryption{}
	}
	out := block.Encryption{
		Provider: block.EncryptionLUKS2, Cipher: e.CipherOrDefault(), KeySize: uint64(e.KeySize), BlockSize: e.BlockSize, PerfOptions: e.Options, AllowDiscards: e.AllowDiscards,
	}
	for _, k := range e.Keys {
		key := block.EncryptionKey{Slot: int64(k.Slot), LockToState: k.LockToState}
		switch {
		case k.Static != nil:
			key.Type, key.StaticPassphrase = block.KeyStatic, []byte(k.Static.Passphrase)
		case k.NodeID != nil:
			key.Type = block.KeyNodeID
		case k.KMS != nil:
			key.Type, key.KMSEndpoint = block.KeyKMS, k.KMS.Endpoint.String()
		case k.TPM != nil:
			key.Type, key.TPMCheckSecurebootStatusOnEnroll, key.TPMPubKeyPCRs = block.KeyTPM, k.TPM.CheckSecureBootStatusOnEnroll, []int64{pcr.Image}
			for _, r := range k.TPM.BoundPCRs() {
				key.TPMPCRs = append(key.TPMPCRs, int64(r))
			}
		}
		out.Keys = append(out.Keys, key)
	}
	return out
}

var filesystems = map[string]block.FilesystemType{blockdoc.XFS: block.FilesystemXFS, blockdoc.Ext4: block.FilesystemExt4, blockdoc.Btrfs: block.FilesystemBtrfs}

func userVolume(d *blockdoc.UserVolumeConfig) volume {
	id := prefixUser + d.Name
	c := partitionVolume(id, gpt.TypeLinux, d.Provisioning, d.Encryption)
	c.Provisioning.FilesystemSpec.Type = filesystems[d.Filesystem.TypeOrDefault()]
	if d.Filesystem != nil && d.Filesystem.XFS != nil {
		c.Provisioning.FilesystemSpec.MinAllocationGroupSize = d.Filesystem.XFS.MinAllocationGroupSize.Bytes
	}
	switch d.TypeOrDefault() {
	case blockdoc.TypeDisk:
		c.Type = block.VolumeDisk
		c.Locator = block.Locator{DiskMatch: c.Provisioning.DiskSelector.Match}
		c.Provisioning.PartitionSpec = block.PartitionSpec{}
	case blockdoc.TypeDirectory:
		c = block.VolumeConfig{Type: block.VolumeDirectory, ParentID: blockdoc.Ephemeral, Provisioning: block.Provisioning{Wave: waveUser}}
	}
	secure := d.Mount.SecureOrDefault()
	c.Mount = block.Mount{TargetPath: pointUser + d.Name, ParentID: blockdoc.Ephemeral, FileMode: 0o755, Secure: secure, NoExec: secure,
		ProjectQuotaSupport: d.Filesystem != nil && d.Filesystem.ProjectQuotaSupport}
	return volume{config: c, mount: &block.VolumeMountRequest{Secure: secure, NoExec: secure, DisableAccessTime: d.Mount != nil && d.Mount.DisableAccessTime}}
}

func existingVolume(d *blockdoc.ExistingVolumeConfig) volume {
	secure := d.Mount.SecureOrDefault()
	c := block.VolumeConfig{Type: block.VolumePartition, Mount: block.Mount{TargetPath: pointUser + d.Name, ParentID: blockdoc.Ephemeral, FileMode: 0o755, Secure: secure, NoExec: secure}}
	c.Provisioning.Wave = waveUser
	if d.Discovery != nil {
		c.Locator.Match.Text = string(d.Discovery.VolumeSelector.Match)
	}
	request := &block.VolumeMountRequest{Secure: secure, NoExec: secure}
	if d.Mount != nil {
		request.ReadOnly, request.DisableAccessTime = d.Mount.ReadOnly, d.Mount.DisableAccessTime
	}
	return volume{config: c, mount: request}
}

func externalVolume(d *blockdoc.ExternalVolumeConfig) volume {
	secure := d.Mount.SecureOrDefault()
	c := block.VolumeConfig{Type: block.VolumeExternal, Mount: block.Mount{TargetPath: pointUser + d.Name, ParentID: blockdoc.Ephemeral, FileMode: 0o755, Secure: secure, NoExec: secure}}
	c.Provisioning.Wave = waveUser
	c.Provisioning.FilesystemSpec.Type = block.FilesystemVirtiofs
	request := &block.VolumeMountRequest{Secure: secure, NoExec: secure}
	if d.Mount != nil {
		request.ReadOnly, request.DisableAccessTime = d.Mount.ReadOnly, d.Mount.DisableAccessTime
		if d.Mount.Virtiofs != nil {
			c.Provisioning.DiskSelector.External = d.Mount.Virtiofs.Tag
		}
	}
	return volume{config: c, mount: request}
}
