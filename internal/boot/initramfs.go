package boot

import (
	"fmt"
	"strings"
	"time"

	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/proc"
)

// Names of the start of a machine that others need.
const (
	// NewRoot is where the initramfs mounts the root file system before it becomes the root.
	NewRoot = "/root"
	// Medium is where the medium is mounted that the machine started from, if it is a medium: an ISO 9660 file system with a
	// label that begins with MediumLabel.
	Medium      = "/run/medium"
	MediumLabel = "TALOS"
	// RootImage is the root file system as a file, with its hash tree: on a medium, or in the initramfs of a machine that
	// starts from the network.
	RootImage = "/rootfs.img"
	// RootDevice is the name of the mapped device that is the root file system.
	RootDevice = "root"
	// InitramfsConfig is the machine config that may be built into an initramfs; the node finds it at EmbeddedConfig.
	InitramfsConfig = "/config.yaml"
	EmbeddedConfig  = "/run/initramfs/config.yaml"
)

// rootWait is how long the root is looked for. Slow disks and USB sticks show up within some tens of seconds.
const rootWait = 90 * time.Second

// InitramfsPlan returns the steps of the initramfs: they make of the kernel's command line a root file system that is checked
// block by block, at "/", with /dev, /proc, /sys and /run in it. What follows is to execute the root's own program.
//
// The error says what the command line lacks and wraps EINVAL.
func InitramfsPlan(cmdline []proc.Param) ([]Step, error) {
	value := func(key string) string {
		v := ""
		for _, p := range cmdline {
			if p.Key == key {
				v = p.Value // the last one holds, as it does for the kernel
			}
		}
		return v
	}
	spec, err := dm.ParseVerity(value("roothash"), value("talos.verity"))
	if err != nil {
		return nil, fmt.Errorf("plan the initramfs: the kernel's command line: %w", err)
	}
	// A corrupted block is an attack or a dying disk: the machine starts again and, with two slots, from the other one.
	spec.OnCorruption = "panic_on_corruption"
	moved := []string{"/dev", mount.ProcPoint, mount.SysPoint, "/run"}
	return []Step{
		{Name: "say to the TPM that the initramfs has begun", Do: Measure(pcr.EnterInitrd), MayFail: lostMeasure},
		{Name: "keep what the image was signed with for the TPM", Do: KeepFile{stubSignatures, PolicySignatures}, MayFail: lostMeasure},
		{Name: "keep the key of that", Do: KeepFile{stubKey, PolicyKey}, MayFail: lostMeasure},
		{Name: "keep the config that is built in", Do: KeepFile{InitramfsConfig, EmbeddedConfig}, MayFail: "the machine looks for a config elsewhere"},
		{Name: "have what the root is checked and read with", Do: Modules{"dm_verity"}, Limit: 30 * time.Second},
		{Name: "have the instructions for that of the processor", Do: Modules{"sha256_ssse3"}, MayFail: "the root is read more slowly"},
		{Name: "find the root", Do: FindRoot{spec}, Limit: rootWait},
		{Name: "mount the root", Do: MountRoot{}, Limit: 30 * time.Second},
		{Name: "say to the TPM that the initramfs ends", Do: Measure(pcr.LeaveInitrd), MayFail: lostMeasure},
		{Name: "leave the initramfs", Do: SwitchRoot{NewRoot, moved}},
	}, nil
}

// FirstMounts are the pseudo file systems without which nothing can be looked at. They come before any plan, as the facts for
// that come from them.
func FirstMounts() []mount.Call {
	const safe = mount.NoSuid | mount.NoDev | mount.NoExec
	return []mount.Call{
		{Source: "proc", Target: mount.ProcPoint, Type: "proc", Flags: safe},
		{Source: "sysfs", Target: mount.SysPoint, Type: "sysfs", Flags: safe},
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs", Flags: mount.NoSuid | mount.NoExec, Data: "mode=0755"},
		{Source: "tmpfs", Target: "/run", Type: "tmpfs", Flags: safe, Data: "mode=0755"},
	}
}

// place is where the root may be.
type place struct {
	device string // a block device, or
	medium string // a block device with a file system that has the file, or
	file   string // a file of the initramfs
}

// String says where.
func (p place) String() string {
	switch {
	case p.medium != "":
		return "file " + RootImage + " on the medium " + p.medium
	case p.file != "":
		return "file " + p.file + " of the initramfs"
	}
	return "partition " + p.device
}

// blockFacts are what is known of the block devices.
type blockFacts struct {
	// UUIDs are the unique GUIDs of partitions, by the paths of those; Labels those of ISO 9660 file systems.
	UUIDs, Labels map[string]string
	// Names are all that was seen, for people.
	Names []string
	// Image says that the initramfs has the file.
	Image bool
}

// places decides where the root may be, the best first: the partition of a slot, a medium, the initramfs itself.
func places(f blockFacts, uuid string) []place {
	var partitions, media, out []place
	for _, name := range f.Names {
		if f.UUIDs[name] == uuid {
			partitions = append(partitions, place{device: name})
		}
		if strings.HasPrefix(f.Labels[name], MediumLabel) {
			media = append(media, place{medium: name})
		}
	}
	out = append(out, partitions...)
	out = append(out, media...)
	if f.Image {
		out = append(out, place{file: RootImage})
	}
	return out
}
