package rootdoc

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Install says where and with which image the system is installed.
type Install struct {
	// Disk is the device that the system is installed on, such as /dev/sda or a path below /dev/disk.
	Disk string `yaml:"disk"`
	// DiskSelector chooses the disk by its properties. It excludes disk.
	//
	// Example:
	//
	//	diskSelector:
	//	    size: '>= 100GB'
	//	    type: nvme
	DiskSelector *InstallDiskSelector `yaml:"diskSelector"`
	// ExtraKernelArgs are added to the kernel's command line. An image whose command line is signed does not take any:
	// build them into the image.
	ExtraKernelArgs []string `yaml:"extraKernelArgs" deprecated:"nothing: build them into the image"`
	// Image is the installer's image. Default: that of the running version.
	Image scalar.Image `yaml:"image"`
	// Extensions were system extensions to install. They are part of the image now; the value is ignored.
	Extensions []InstallExtension `yaml:"extensions" deprecated:"nothing: build them into the image"`
	// Wipe erases the disk before the system is installed. Default: false.
	Wipe *bool `yaml:"wipe"`
	// Bootloader was whether to install a boot loader. One always is; the value is ignored.
	Bootloader *bool `yaml:"bootloader" deprecated:"nothing: a boot loader is always installed"`
	// LegacyBIOSSupport marked the partition for old BIOSes. The value is ignored.
	LegacyBIOSSupport *bool `yaml:"legacyBIOSSupport" deprecated:"nothing: the image decides"`
	// GrubUseUKICmdline took the command line from the image. It always is; the value is ignored.
	GrubUseUKICmdline *bool `yaml:"grubUseUKICmdline" deprecated:"nothing: the image decides"`
}

// InstallExtension is a system extension.
type InstallExtension struct {
	// Image is the extension's image.
	Image scalar.Image `yaml:"image" required:"true"`
}

// InstallDiskSelector chooses a disk: all properties that are given must agree. An asterisk in a text stands for any
// characters.
type InstallDiskSelector struct {
	// Size is a size, or a comparison with one.
	//
	// Example:
	//
	//	size: '<= 2TB'
	Size SizeCondition `yaml:"size"`
	// Name was the name that the device has in /sys/block/DEVICE/device/name. It is compared with the model.
	Name string `yaml:"name"`
	// Model is the disk's model.
	Model string `yaml:"model"`
	// Serial is its serial number.
	Serial string `yaml:"serial"`
	// Modalias is the kernel's alias for the device.
	Modalias string `yaml:"modalias"`
	// UUID is the device's UUID.
	UUID string `yaml:"uuid"`
	// WWID is the disk's world-wide identifier.
	WWID string `yaml:"wwid"`
	// Type is the kind of disk: ssd, hdd, nvme, or sd for a memory card.
	Type string `yaml:"type" enum:"ssd|hdd|nvme|sd"`
	// BusPath is the place on the bus, such as /pci0000:00/0000:00:17.0/ata1/*.
	BusPath string `yaml:"busPath"`
}

// Validate implements [schema.Validator].
func (i *Install) Validate(r *schema.Reporter) {
	if i.Disk != "" && i.DiskSelector != nil {
		r.At("diskSelector").Hintf("keep one", "disk and diskSelector exclude each other")
	}
	if i.Disk != "" && !strings.HasPrefix(i.Disk, "/dev/") {
		r.At("disk").Errorf("expected a device such as /dev/sda, got %q", i.Disk)
	}
	if len(i.Extensions) > 0 {
		r.At("extensions").Warnf("use an installer image that holds them", "extensions are not installed from here")
	}
	if len(i.ExtraKernelArgs) > 0 {
		r.At("extraKernelArgs").Warnf("use an installer image that has them", "a signed command line takes no extra arguments")
	}
	for j, arg := range i.ExtraKernelArgs {
		if strings.TrimSpace(arg) == "" {
			r.At("extraKernelArgs").Item(j).Errorf("expected an argument such as console=ttyS0, got %q", arg)
		}
	}
}

// Validate implements [schema.Validator].
func (s *InstallDiskSelector) Validate(r *schema.Reporter) {
	if *s == (InstallDiskSelector{}) {
		r.Hintf("give at least one of size, name, model, serial, modalias, uuid, wwid, type, busPath", "the selector is empty")
	}
	if s.Name != "" {
		r.At("name").Warnf("use model", "a disk has no name of its own any more: it is compared with the model")
	}
}

// Disk is a disk besides the system's that is partitioned and mounted.
type Disk struct {
	// Device is the disk, such as /dev/sdb.
	Device string `yaml:"device" required:"true"`
	// Partitions are the partitions in their order.
	Partitions []Partition `yaml:"partitions"`
}

// Partition is one partition of a disk, formatted with XFS.
type Partition struct {
	// Size is its size. Only the last partition may leave it out: it has the rest of the disk.
	Size scalar.Size `yaml:"size"`
	// Mountpoint is where it is mounted, below /var.
	Mountpoint string `yaml:"mountpoint" required:"true"`
}

// Validate implements [schema.Validator].
func (d *Disk) Validate(r *schema.Reporter) {
	if !strings.HasPrefix(d.Device, "/dev/") {
		r.At("device").Errorf("expected a device such as /dev/sdb, got %q", d.Device)
	}
	for i, p := range d.Partitions {
		at := r.At("partitions").Item(i)
		if !below(p.Mountpoint, "/var") {
			at.At("mountpoint").Hintf("only /var can be written to", "expected a path below /var, got %q", p.Mountpoint)
		}
		if p.Size.Bytes == 0 && i < len(d.Partitions)-1 {
			at.Hintf("only the last partition may have the rest of the disk", "the key \"size\" is required")
		}
	}
	unique(r.At("partitions"), "mountpoint", d.Partitions, func(p Partition) string { return p.Mountpoint })
}

// below reports whether file is a clean absolute path inside dir.
func below(file, dir string) bool {
	return path.Clean(file) == file && strings.HasPrefix(file, dir+"/")
}

// SystemDiskEncryption encrypts the system's partitions.
type SystemDiskEncryption struct {
	// State encrypts the partition that holds the machine's config and identity.
	State *Encryption `yaml:"state"`
	// Ephemeral encrypts the partition that holds /var.
	Ephemeral *Encryption `yaml:"ephemeral"`
}

// Encryption encrypts one partition.
type Encryption struct {
	// Provider is the format: luks2.
	Provider string `yaml:"provider" enum:"luks2"`
	// Keys are the keys, each of which opens the partition; they are tried in this order.
	//
	// Example:
	//
	//	keys:
	//	    - slot: 0
	//	      nodeID: {}
	Keys []EncryptionKey `yaml:"keys"`
	// Cipher is the cipher. Default: aes-xts-plain64.
	Cipher string `yaml:"cipher" enum:"aes-xts-plain64|xchacha12,aes-adiantum-plain64|xchacha20,aes-adiantum-plain64"`
	// KeySize is the size of the volume's key in bits. Default: what the cipher needs.
	KeySize uint32 `yaml:"keySize"`
	// BlockSize is the size of an encrypted sector in bytes: 512, 1024, 2048 or 4096. Default: 4096.
	BlockSize uint64 `yaml:"blockSize"`
	// Options tune the device: no_read_workqueue, no_write_workqueue, same_cpu_crypt.
	Options []string `yaml:"options" enum:"no_read_workqueue|no_write_workqueue|same_cpu_crypt"`
}

// EncryptionKey is one key. Exactly one of static, nodeID, kms and tpm is there.
type EncryptionKey struct {
	// Static is a passphrase that stands in the config.
	Static *StaticKey `yaml:"static"`
	// NodeID derives the key from the machine's UUID and the partition's label: it protects a disk that is taken out,
	// not a machine that is stolen.
	NodeID *NodeIDKey `yaml:"nodeID"`
	// KMS seals the key with a server on the network.
	KMS *KMSKey `yaml:"kms"`
	// Slot is the key's slot in the LUKS2 header, from 0 to 31.
	Slot uint32 `yaml:"slot" encode:"always"`
	// TPM seals the key with the machine's TPM.
	TPM *TPMKey `yaml:"tpm"`
	// LockToState adds a random salt from the volume STATE, so that the key is gone when STATE is wiped. Not for STATE
	// itself. Default: false.
	LockToState *bool `yaml:"lockToState"`
}

// StaticKey is a passphrase.
type StaticKey struct {
	// Passphrase is the secret.
	Passphrase string `yaml:"passphrase" secret:"true"`
}

// NodeIDKey has no settings.
type NodeIDKey struct{}

// KMSKey is a server that seals keys.
type KMSKey struct {
	// Endpoint is the server's URL, such as https://kms.example.com:4050.
	Endpoint scalar.Endpoint `yaml:"endpoint"`
}

// TPMKey says to what state of the machine the TPM binds the key.
type TPMKey struct {
	// Options choose the registers.
	Options *TPMOptions `yaml:"options"`
	// CheckSecurebootStatusOnEnroll refuses to make the key while Secure Boot is off. Default: false.
	CheckSecurebootStatusOnEnroll *bool `yaml:"checkSecurebootStatusOnEnroll"`
}

// TPMOptions choose the registers of the TPM.
type TPMOptions struct {
	// PCRs are platform configuration registers, from 0 to 23, that the key is bound to besides the signed boot state.
	// Default: 7. An empty list binds to none.
	PCRs *[]uint8 `yaml:"pcrs"`
}

// Validate implements [schema.Validator].
func (s *SystemDiskEncryption) Validate(r *schema.Reporter) {
	for i, k := range value(s.State).Keys {
		if value(k.LockToState) {
			r.At("state").At("keys").Item(i).At("lockToState").Errorf("the volume STATE cannot be locked to itself")
		}
	}
}

// Validate implements [schema.Validator].
func (e *Encryption) Validate(r *schema.Reporter) {
	if len(e.Keys) == 0 {
		r.Hintf("without a key nothing opens the volume", "expected at least one key in keys")
	}
	slots := map[uint32]bool{}
	for i, k := range e.Keys {
		if slots[k.Slot] {
			r.At("keys").Item(i).At("slot").Errorf("slot %d is there twice", k.Slot)
		}
		slots[k.Slot] = true
	}
	if sizes := []uint64{0, 512, 1024, 2048, 4096}; !slices.Contains(sizes, e.BlockSize) {
		r.At("blockSize").Errorf("expected 512, 1024, 2048 or 4096, got %d", e.BlockSize)
	}
}

// Validate implements [schema.Validator].
func (k *EncryptionKey) Validate(r *schema.Reporter) {
	var kinds []string
	for _, kind := range []struct {
		name  string
		there bool
	}{{"static", k.Static != nil}, {"nodeID", k.NodeID != nil}, {"kms", k.KMS != nil}, {"tpm", k.TPM != nil}} {
		if kind.there {
			kinds = append(kinds, kind.name)
		}
	}
	switch {
	case len(kinds) == 0:
		r.Errorf("expected one of static, nodeID, kms, tpm, got none")
	case len(kinds) > 1:
		r.Hintf("write each as a key of its own", "expected one of static, nodeID, kms, tpm, got %s", strings.Join(kinds, " and "))
	}
	if k.Static != nil && k.Static.Passphrase == "" {
		r.At("static").At("passphrase").Errorf("the passphrase is empty")
	}
	if k.KMS != nil && k.KMS.Endpoint.URL.URL == nil {
		r.At("kms").Errorf("the key \"endpoint\" is required")
	}
	if k.Slot > 31 {
		r.At("slot").Errorf("expected a slot from 0 to 31, got %d", k.Slot)
	}
	if k.TPM != nil {
		for i, pcr := range value(value(k.TPM.Options).PCRs) {
			if pcr > 23 {
				r.At("tpm").At("options").At("pcrs").Item(i).Errorf("expected a register from 0 to 23, got %s", strconv.Itoa(int(pcr)))
			}
		}
	}
}
