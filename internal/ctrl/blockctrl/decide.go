package blockctrl

import (
	"fmt"
	"slices"
	"strings"

	"talos.internal/config/expr"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/resource/block"
)

// facts are what decisions are made from.
type facts struct {
	ready   bool   // all disks that were there at the start were looked at, and everything after our last change
	fresh   bool   // everything was looked at after our last change
	system  string // the disk of the system
	disks   map[string]block.Disk
	volumes []found // in the order of their names
	tables  map[string]*gpt.Table
	// taken has the devices that volumes of this pass have, and whose they are.
	taken map[string]string
	// status has the volumes that were decided on in this pass.
	status map[string]block.VolumeStatus
	// pending has the waves in which a volume is still to be made.
	pending map[int64]string
	// Of encrypted volumes: those that are open, and those that their keys do not open.
	opened   map[string]opened
	refused  map[string]refusal
	keys     bool // there is a place for their keys
	seals    bool // volumes are encrypted by the TPM by default
	salted   bool // the salt of STATE is known
	measured bool // STATE was measured
}

// found is what was discovered on a device.
type found struct {
	id string
	block.DiscoveredVolume
}

// action is what has to be done before a volume can be in its next phase.
type action struct {
	verb   verb
	device string // the disk to make a partition on or to grow one of, or what to format
	number int    // of the partition to grow
	size   int64  // of the partition that is made or grown
}

type verb string

const (
	nothing verb = ""
	create  verb = "create"
	format  verb = "format"
	grow    verb = "grow"
	encrypt verb = "encrypt" // make an encrypted volume, and open it
	unlock  verb = "unlock"
	resync  verb = "change keys" // of a volume that is open
)

// decide returns the status of a volume, and what is to be done for it. before is its last status, or the zero one.
func decide(id string, c block.VolumeConfig, f facts, before block.VolumeStatus) (block.VolumeStatus, action) {
	s := block.VolumeStatus{Type: c.Type, ParentID: c.ParentID, MountSpec: c.Mount, Symlink: c.Symlink, EncryptionProvider: block.EncryptionNone}
	if c.Encryption.Provider != block.EncryptionNone && !f.keys {
		return fail(s, before, "the config asks for encryption, and there is no place for keys of encrypted volumes; the volume is not made in clear instead")
	}
	if promotable[id] != "" && c.Type == block.VolumePartition {
		return fail(s, before, "this version does not make %s a volume of its own; it is a directory of EPHEMERAL", id)
	}
	switch c.Type {
	case block.VolumeDirectory:
		if f.status[c.ParentID].Phase != block.PhaseReady {
			return wait(s, "the volume %s, in which it is, is not ready", c.ParentID)
		}
		s.Phase, s.Location = block.PhaseReady, c.Mount.TargetPath
		return s, action{}
	case block.VolumeExternal:
		s.Phase, s.Location, s.Filesystem = block.PhaseReady, c.Provisioning.DiskSelector.External, c.Provisioning.FilesystemSpec.Type
		s.MountLocation = s.Location
		return s, action{}
	case block.VolumeDisk, block.VolumePartition:
	case block.VolumeTmpfs, block.VolumeSymlink, block.VolumeOverlay:
		fallthrough
	default:
		return fail(s, before, "volumes of type %s are not made here", c.Type)
	}
	at, why := locate(id, c, f)
	if why != "" {
		return fail(s, before, "%s", why)
	}
	if at == nil {
		return absent(id, c, f, s, before)
	}
	return present(id, c, f, s, before, *at)
}

// label is what a file system is called: XFS has at most 12 characters.
func label(id string) string { return id[:min(len(id), 12)] }

// locate returns the device that a volume is on, nil if there is none; why says what is wrong.
func locate(id string, c block.VolumeConfig, f facts) (at *found, why string) {
	var matches []found
	for _, v := range f.volumes {
		ok, err := matchVolume(c, f, v)
		if err != nil {
			return nil, fmt.Sprintf("its selector cannot be applied to %s: %v", v.id, err)
		}
		if ok && (f.taken[v.id] == "" || f.taken[v.id] == id) {
			matches = append(matches, v)
		}
	}
	if c.Type == block.VolumeDisk {
		// A disk that has the volume already comes first, whatever else matches.
		i := slices.IndexFunc(matches, func(v found) bool {
			return v.Label == label(id) && v.Name == c.Provisioning.FilesystemSpec.Type.String() || v.Label == id && v.Name == luksName
		})
		if i < 0 {
			i = slices.IndexFunc(matches, func(v found) bool { return v.Name == "" })
		}
		if i >= 0 {
			return &matches[i], ""
		}
		if len(matches) > 0 {
			return &matches[0], "" // it has someone else's data: present says so
		}
		return nil, ""
	}
	if len(matches) > 1 {
		if i := slices.IndexFunc(matches, func(v found) bool { return v.Parent == f.system }); i >= 0 && isMade(c) {
			return &matches[i], ""
		}
		return nil, fmt.Sprintf("%s match: it is not clear which is meant", strings.Join(ids(matches), " and "))
	}
	if len(matches) == 1 {
		return &matches[0], ""
	}
	return nil, ""
}

// isMade reports whether a volume that is not there is made.
func isMade(c block.VolumeConfig) bool {
	return c.Provisioning.DiskSelector.Match.Text != ""
}

func ids(list []found) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.id)
	}
	return out
}

func matchVolume(c block.VolumeConfig, f facts, v found) (bool, error) {
	if c.Type == block.VolumeDisk {
		d, ok := f.disks[v.id]
		if v.Type != typeDisk || !ok || v.id == f.system || d.Readonly || d.CDROM || isMapped(v.id) {
			return false, nil
		}
		return expr.DiskSelector(c.Locator.DiskMatch.Text).Match(exprDisk(d), false)
	}
	disk := v.Parent
	if disk == "" {
		disk = v.id
	}
	system := disk == f.system && f.system != ""
	// The locators that are made here need no CEL, which costs a start more than all the rest.
	switch label := c.Provisioning.PartitionSpec.Label; {
	case c.Locator.Match.Text == "":
		return false, nil
	case label != "" && c.Locator.Match.Text == onSystemDisk(label).Match.Text:
		return v.PartitionLabel == label && system, nil
	case label != "" && c.Locator.Match.Text == byLabel(label).Match.Text:
		return v.PartitionLabel == label, nil
	}
	return expr.VolumeSelector(c.Locator.Match.Text).Match(exprVolume(v), exprDisk(f.disks[disk]), system)
}

func exprDisk(d block.Disk) expr.Disk {
	return expr.Disk{
		Size: d.Size, PrettySize: d.PrettySize, IOSize: d.IOSize, SectorSize: d.SectorSize, Readonly: d.Readonly, Model: d.Model, Serial: d.Serial,
		Modalias: d.Modalias, WWID: d.WWID, UUID: d.UUID, BusPath: d.BusPath, SubSystem: d.SubSystem, Transport: d.Transport, Rotational: d.Rotational,
		CDROM: d.CDROM, DevPath: d.DevPath, SecondaryDisks: d.SecondaryDisks, Symlinks: d.Symlinks, FirmwareVersion: d.FirmwareVersion,
	}
}

func exprVolume(v found) expr.Volume {
	return expr.Volume{
		Size: v.Size, PrettySize: v.PrettySize, SectorSize: v.SectorSize, IOSize: v.IOSize, Name: v.Name, UUID: v.UUID, Label: v.Label, BlockSize: v.BlockSize,
		FilesystemBlockSize: v.FilesystemBlockSize, ProbedSize: v.ProbedSize, PartitionUUID: v.PartitionUUID, PartitionType: v.PartitionType,
		PartitionLabel: v.PartitionLabel, PartitionIndex: v.PartitionIndex, Type: v.Type, DevicePath: v.DevicePath, DevPath: v.DevPath, Parent: v.Parent,
		ParentDevPath: v.ParentDevPath, Offset: v.Offset,
	}
}

// present decides on a volume whose device is there.
func present(id string, c block.VolumeConfig, f facts, s, before block.VolumeStatus, v found) (block.VolumeStatus, action) {
	s.Location, s.MountLocation, s.ParentLocation, s.PartitionIndex = v.DevPath, v.DevPath, v.ParentDevPath, int64(v.PartitionIndex)
	s.UUID, s.PartitionUUID, s.Size, s.PrettySize = v.UUID, v.PartitionUUID, v.Size, v.PrettySize
	want := c.Provisioning.FilesystemSpec.Type
	have, known := filesystemOf(v.Name)
	switch {
	case v.Name == unreadable:
		return fail(s, before, "%s cannot be read", v.id)
	case id == install.LabelState && !isMade(c) && v.Name == "":
		s.Location, s.MountLocation = "", ""
		s.Phase, s.ErrorMessage = block.PhaseMissing, "it is empty, and is made when there is a machine config"
		return s, action{}
	case c.Encryption.Provider == block.EncryptionLUKS2:
		return encrypted(id, c, f, s, before, v)
	case !isMade(c) && c.Mount.TargetPath != "" && id != install.LabelState: // existing: it is what it is
		if !known || have == block.FilesystemSwap {
			return fail(s, before, "%s has %s, which cannot be mounted", v.id, describe(v))
		}
		s.Filesystem = have
	case want == block.FilesystemNone:
		s.Filesystem = have
	case v.Name == "":
		s.Phase, s.Filesystem = block.PhaseLocated, want
		if c.Type == block.VolumeDisk && f.system == "" {
			return wait(s, "the system is not installed on a disk yet")
		}
		return s, action{verb: format, device: v.id, size: int64(v.Size)}
	case v.Name != want.String():
		return fail(s, before, "%s has %s, and the volume is to have %s: it is not overwritten; wipe it (talosctl wipe disk %s) if nobody needs what is there", v.id, describe(v), want, v.id)
	default:
		s.Filesystem = want
	}
	s.Phase = block.PhaseReady
	return s, growth(c, f, v)
}

// growth returns what lets a partition grow, if it should and there is room.
func growth(c block.VolumeConfig, f facts, v found) action {
	if spec := c.Provisioning.PartitionSpec; spec.Grow && c.Type == block.VolumePartition {
		if t := f.tables[v.Parent]; t != nil {
			size := min(t.Room(int(v.PartitionIndex)), maxSize(spec, int64(f.disks[v.Parent].Size)))
			if size >= int64(v.Size)+gpt.Align {
				return action{verb: grow, device: v.Parent, number: int(v.PartitionIndex), size: size}
			}
		}
	}
	return action{}
}

func describe(v found) string {
	if v.Name == "" {
		return "nothing that is recognised"
	}
	if v.Label != "" {
		return fmt.Sprintf("%s %q", v.Name, v.Label)
	}
	return v.Name
}

func filesystemOf(name string) (block.FilesystemType, bool) {
	for _, t := range []block.FilesystemType{block.FilesystemXFS, block.FilesystemVFAT, block.FilesystemExt4, block.FilesystemISO9660, block.FilesystemSwap, block.FilesystemBtrfs} {
		if name == t.String() {
			return t, true
		}
	}
	return block.FilesystemNone, false
}

// onlyOnSystemDisk reports whether a volume can be nowhere but on the disk of the system, which is there: no other disk need be waited for.
func onlyOnSystemDisk(c block.VolumeConfig, f facts) bool {
	return f.system != "" && f.tables[f.system] != nil && c.Provisioning.DiskSelector.Match.Text == systemDiskOnly
}

// absent decides on a volume whose device is not there.
func absent(id string, c block.VolumeConfig, f facts, s, before block.VolumeStatus) (block.VolumeStatus, action) {
	switch {
	case before.Location != "" && (before.Phase == block.PhaseReady || before.PreFailPhase == block.PhaseReady):
		s.Location, s.MountLocation, s.ParentLocation = before.Location, before.MountLocation, before.ParentLocation
		before.Phase = block.PhaseReady
		return fail(s, before, "%s, which it was on, is gone; it is not made anew on another disk before the next boot", before.Location)
	case !f.ready && !(f.fresh && onlyOnSystemDisk(c, f)):
		return wait(s, "the disks are still being looked at")
	case f.system == "" && id == install.LabelState:
		s.Phase, s.ErrorMessage = block.PhaseMissing, "the system is not installed on a disk"
		return s, action{}
	case !isMade(c):
		s.Phase, s.ErrorMessage = block.PhaseMissing, "no disk or partition matches"
		return s, action{}
	case f.system == "": // the disk that it would be made on may become that of the system
		return wait(s, "the system is not installed on a disk yet")
	}
	// The table is read before the partitions are looked at, one by one. To make it a second time failed, and with it a start.
	if t := f.tables[f.system]; t != nil && c.Type == block.VolumePartition {
		if p, ok := t.Find(c.Provisioning.PartitionSpec.Label); ok {
			return wait(s, "partition %d of %s is still being looked at", p.Number, f.system)
		}
	}
	// The other volumes of earlier waves have their space first.
	for wave, other := range f.pending {
		if wave < c.Provisioning.Wave {
			return wait(s, "the volume %s is to be made first", other)
		}
	}
	if c.Type == block.VolumeDisk {
		return wait(s, "no disk matches %s", c.Locator.DiskMatch.Text)
	}
	disk, size, why := choose(c, f)
	if disk == "" {
		return wait(s, "%s", why)
	}
	s.Phase = block.PhaseWaiting
	return s, action{verb: create, device: disk, size: size}
}

func wait(s block.VolumeStatus, why string, args ...any) (block.VolumeStatus, action) {
	s.Phase, s.ErrorMessage = block.PhaseWaiting, fmt.Sprintf(why, args...)
	return s, action{}
}

func fail(s, before block.VolumeStatus, why string, args ...any) (block.VolumeStatus, action) {
	s.PreFailPhase = before.Phase
	if before.Phase == block.PhaseFailed {
		s.PreFailPhase = before.PreFailPhase
	}
	s.Phase, s.ErrorMessage = block.PhaseFailed, fmt.Sprintf(why, args...)
	return s, action{}
}

// leastPartition is what a partition has at least if the config says nothing: enough for any of the file systems.
const leastPartition = xfsLeast

// maxSize returns the limit of a partition on a disk of size bytes.
func maxSize(spec block.PartitionSpec, size int64) int64 {
	limit := int64(spec.MaxSize)
	if spec.RelativeMaxSize > 0 {
		limit = size / 100 * int64(spec.RelativeMaxSize)
	}
	switch {
	case limit == 0:
		return 1<<63 - 1
	case spec.NegativeMaxSize:
		return max(size-limit, 0)
	}
	return max(limit, int64(spec.MinSize))
}

// selects reports whether a selector takes a disk.
func selects(selector string, d block.Disk, system bool) (bool, error) {
	if selector == systemDiskOnly {
		return system, nil
	}
	return expr.DiskSelector(selector).Match(exprDisk(d), system)
}

// choose returns the disk on which a partition is made, and its size; why says why there is none.
func choose(c block.VolumeConfig, f facts) (disk string, size int64, why string) {
	spec := c.Provisioning.PartitionSpec
	least := int64(spec.MinSize)
	if least == 0 {
		least = min(leastPartition, maxSize(spec, 1<<62))
	}
	matched := 0
	var reasons []string
	for _, v := range f.volumes {
		d, ok := f.disks[v.id]
		if v.Type != typeDisk || !ok || isMapped(v.id) {
			continue
		}
		match, err := selects(c.Provisioning.DiskSelector.Match.Text, d, v.id == f.system && f.system != "")
		if err != nil {
			return "", 0, fmt.Sprintf("its disk selector cannot be applied to %s: %v", v.id, err)
		}
		if !match {
			continue
		}
		matched++
		free := int64(0)
		switch t := f.tables[v.id]; {
		case d.Readonly || d.CDROM:
			reasons = append(reasons, v.id+" is read-only")
			continue
		case f.taken[v.id] != "":
			reasons = append(reasons, fmt.Sprintf("%s is the volume %s", v.id, f.taken[v.id]))
			continue
		case t != nil:
			for _, r := range t.Free() {
				free = max(free, r.Size)
			}
		case v.Name == "":
			free = int64(d.Size) - 2*gpt.Align
		case v.Name == unreadable:
			reasons = append(reasons, v.id+" cannot be read")
			continue
		default:
			reasons = append(reasons, fmt.Sprintf("%s has %s, which is not overwritten", v.id, describe(v)))
			continue
		}
		size := min(free, maxSize(spec, int64(d.Size)))
		if size < least || size <= 0 {
			reasons = append(reasons, fmt.Sprintf("%s has %s free in one piece, and %s are needed", v.id, pretty(max(free, 0)), pretty(least)))
			continue
		}
		return v.id, size, ""
	}
	if matched == 0 {
		return "", 0, "no disk matches " + c.Provisioning.DiskSelector.Match.Text
	}
	return "", 0, strings.Join(reasons, "; ")
}
