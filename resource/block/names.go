package block

import "talos.internal/resource"

// VolumeType is what a volume is.
type VolumeType int32

// The values of VolumeType.
const (
	VolumePartition VolumeType = 0
	VolumeDisk      VolumeType = 1
	VolumeTmpfs     VolumeType = 2
	VolumeDirectory VolumeType = 3
	VolumeSymlink   VolumeType = 4
	VolumeOverlay   VolumeType = 5
	VolumeExternal  VolumeType = 6
)

var volumeTypeNames = resource.NamesOf(map[VolumeType]string{
	VolumePartition: "partition",
	VolumeDisk:      "disk",
	VolumeTmpfs:     "tmpfs",
	VolumeDirectory: "directory",
	VolumeSymlink:   "symlink",
	VolumeOverlay:   "overlay",
	VolumeExternal:  "external",
})

// String returns the name of v.
func (v VolumeType) String() string { return volumeTypeNames.Text(v) }

// MarshalText implements [encoding.TextMarshaler].
func (v VolumeType) MarshalText() ([]byte, error) { return []byte(volumeTypeNames.Text(v)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (v *VolumeType) UnmarshalText(text []byte) error { return volumeTypeNames.Set(v, string(text)) }

// VolumePhase is how far a volume is.
type VolumePhase int32

// The values of VolumePhase.
const (
	PhaseWaiting     VolumePhase = 0 // for its disk, its parent or a key
	PhaseFailed      VolumePhase = 1
	PhaseMissing     VolumePhase = 2 // it is not there and is not to be made
	PhaseLocated     VolumePhase = 3 // it was found
	PhaseProvisioned VolumePhase = 4 // it was made
	PhasePrepared    VolumePhase = 5 // it is open and has a file system
	PhaseReady       VolumePhase = 6
	PhaseClosed      VolumePhase = 7 // it is not used any more
)

var volumePhaseNames = resource.NamesOf(map[VolumePhase]string{
	PhaseWaiting:     "waiting",
	PhaseFailed:      "failed",
	PhaseMissing:     "missing",
	PhaseLocated:     "located",
	PhaseProvisioned: "provisioned",
	PhasePrepared:    "prepared",
	PhaseReady:       "ready",
	PhaseClosed:      "closed",
})

// String returns the name of v.
func (v VolumePhase) String() string { return volumePhaseNames.Text(v) }

// MarshalText implements [encoding.TextMarshaler].
func (v VolumePhase) MarshalText() ([]byte, error) { return []byte(volumePhaseNames.Text(v)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (v *VolumePhase) UnmarshalText(text []byte) error { return volumePhaseNames.Set(v, string(text)) }

// FilesystemType is a kind of file system.
type FilesystemType int32

// The values of FilesystemType.
const (
	FilesystemNone     FilesystemType = 0
	FilesystemXFS      FilesystemType = 1
	FilesystemVFAT     FilesystemType = 2
	FilesystemExt4     FilesystemType = 3
	FilesystemISO9660  FilesystemType = 4
	FilesystemSwap     FilesystemType = 5
	FilesystemVirtiofs FilesystemType = 6
	FilesystemBtrfs    FilesystemType = 7
)

var filesystemTypeNames = resource.NamesOf(map[FilesystemType]string{
	FilesystemNone:     "none",
	FilesystemXFS:      "xfs",
	FilesystemVFAT:     "vfat",
	FilesystemExt4:     "ext4",
	FilesystemISO9660:  "iso9660",
	FilesystemSwap:     "swap",
	FilesystemVirtiofs: "virtiofs",
	FilesystemBtrfs:    "btrfs",
})

// String returns the name of f.
func (f FilesystemType) String() string { return filesystemTypeNames.Text(f) }

// MarshalText implements [encoding.TextMarshaler].
func (f FilesystemType) MarshalText() ([]byte, error) {
	return []byte(filesystemTypeNames.Text(f)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *FilesystemType) UnmarshalText(text []byte) error {
	return filesystemTypeNames.Set(f, string(text))
}

// FSParameterType is the type of an option's value.
type FSParameterType int32

// The values of FSParameterType.
const (
	FSParameterString  FSParameterType = 0
	FSParameterBoolean FSParameterType = 1
	FSParameterBinary  FSParameterType = 2
)

var fsParameterTypeNames = resource.NamesOf(map[FSParameterType]string{
	FSParameterString:  "string",
	FSParameterBoolean: "boolean",
	FSParameterBinary:  "binary",
})

// String returns the name of f.
func (f FSParameterType) String() string { return fsParameterTypeNames.Text(f) }

// MarshalText implements [encoding.TextMarshaler].
func (f FSParameterType) MarshalText() ([]byte, error) {
	return []byte(fsParameterTypeNames.Text(f)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *FSParameterType) UnmarshalText(text []byte) error {
	return fsParameterTypeNames.Set(f, string(text))
}

// EncryptionProvider is what encrypts a volume.
type EncryptionProvider int32

// The values of EncryptionProvider.
const (
	EncryptionNone  EncryptionProvider = 0
	EncryptionLUKS2 EncryptionProvider = 1
)

var encryptionProviderNames = resource.NamesOf(map[EncryptionProvider]string{
	EncryptionNone:  "none",
	EncryptionLUKS2: "luks2",
})

// String returns the name of e.
func (e EncryptionProvider) String() string { return encryptionProviderNames.Text(e) }

// MarshalText implements [encoding.TextMarshaler].
func (e EncryptionProvider) MarshalText() ([]byte, error) {
	return []byte(encryptionProviderNames.Text(e)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *EncryptionProvider) UnmarshalText(text []byte) error {
	return encryptionProviderNames.Set(e, string(text))
}

// EncryptionKeyType is where a key comes from.
type EncryptionKeyType int32

// The values of EncryptionKeyType.
const (
	KeyStatic EncryptionKeyType = 0
	KeyNodeID EncryptionKeyType = 1
	KeyKMS    EncryptionKeyType = 2
	KeyTPM    EncryptionKeyType = 3
)

var encryptionKeyTypeNames = resource.NamesOf(map[EncryptionKeyType]string{
	KeyStatic: "static",
	KeyNodeID: "nodeID",
	KeyKMS:    "kms",
	KeyTPM:    "tpm",
})

// String returns the name of e.
func (e EncryptionKeyType) String() string { return encryptionKeyTypeNames.Text(e) }

// MarshalText implements [encoding.TextMarshaler].
func (e EncryptionKeyType) MarshalText() ([]byte, error) {
	return []byte(encryptionKeyTypeNames.Text(e)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *EncryptionKeyType) UnmarshalText(text []byte) error {
	return encryptionKeyTypeNames.Set(e, string(text))
}
