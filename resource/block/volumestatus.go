package block

import (
	"time"

	"talos.internal/resource"
)

// VolumeLifecycleID is the id of the only [VolumeLifecycle].
const VolumeLifecycleID = "volumes"

// VolumeStatus is how far a volume is. Its id is the volume's.
type VolumeStatus struct {
	Phase        VolumePhase `yaml:"phase" proto:"1"`
	PreFailPhase VolumePhase `yaml:"preFailPhase" proto:"6"` // the phase before it failed
	Type         VolumeType  `yaml:"type" proto:"16"`
	ParentID     string      `yaml:"parentID" proto:"19"`
	Location     string      `yaml:"location" proto:"2"` // the device; empty until it is known
	// MountLocation: what is mounted: the device, or the opened one of an encrypted volume
	MountLocation      string             `yaml:"mountLocation" proto:"11"`
	PartitionIndex     int64              `yaml:"partitionIndex" proto:"8"` // from 1; 0 is no partition
	ParentLocation     string             `yaml:"parentLocation" proto:"7"` // the disk
	UUID               string             `yaml:"uuid" proto:"4"`           // of the file system
	PartitionUUID      string             `yaml:"partitionUUID" proto:"5"`
	Size               uint64             `yaml:"size" proto:"9"`
	PrettySize         string             `yaml:"prettySize" proto:"13"`
	Filesystem         FilesystemType     `yaml:"filesystem" proto:"10"`
	EncryptionProvider EncryptionProvider `yaml:"encryptionProvider" proto:"12"`
	// EncryptionFailedSyncs: keys that could not be written, with the reason
	EncryptionFailedSyncs    []string `yaml:"encryptionFailedSyncs" proto:"14"`
	ConfiguredEncryptionKeys []string `yaml:"configuredEncryptionKeys" proto:"17"` // kinds of keys
	EncryptionLockedToState  bool     `yaml:"encryptionLockedToState" proto:"20"`
	EncryptionSlot           int64    `yaml:"encryptionSlot" proto:"21"` // of the key that opened it
	// TPMEncryptionOptions: nil without a TPM key
	TPMEncryptionOptions    *TPMEncryptionOptions `yaml:"tpmEncryptionOptions,omitempty" proto:"22"`
	EncryptionAllowDiscards bool                  `yaml:"encryptionAllowDiscards" proto:"23"`
	TrimEnabled             bool                  `yaml:"trimEnabled" proto:"24"`
	TrimInterval            time.Duration         `yaml:"trimInterval" proto:"25"`
	ScrubEnabled            bool                  `yaml:"scrubEnabled" proto:"26"`
	ScrubInterval           time.Duration         `yaml:"scrubInterval" proto:"27"`
	MountSpec               Mount                 `yaml:"mountSpec" proto:"15"`
	Symlink                 SymlinkProvisioning   `yaml:"symlink" proto:"18"`
	ErrorMessage            string                `yaml:"errorMessage" proto:"3"` // of the phase failed
}

// ResourceDefinition implements [resource.Spec].
func (VolumeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "VolumeStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Type", JSONPath: "{.type}"},
			{Name: "Phase", JSONPath: "{.phase}"},
			{Name: "Location", JSONPath: "{.location}"},
			{Name: "Size", JSONPath: "{.prettySize}"},
		},
	}
}

// TPMEncryptionOptions are the registers that a volume's key is bound to.
type TPMEncryptionOptions struct {
	PCRs       []int64 `yaml:"pcrs" proto:"1"`
	PubKeyPCRs []int64 `yaml:"pubKeyPCRs" proto:"2"` // through a signed policy
}

// VolumeLifecycle is there while volumes may be used. Its teardown asks for all of them to be unmounted
// and closed, and who uses them holds a finalizer.
type VolumeLifecycle struct{}

// ResourceDefinition implements [resource.Spec].
func (VolumeLifecycle) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "VolumeLifecycles.block.talos.dev", Namespace: Namespace,
	}
}

// VolumeMountRequest is somebody's wish to use a volume. Its id is "requester-volume".
type VolumeMountRequest struct {
	VolumeID          string `yaml:"volumeID" proto:"1"`
	Requester         string `yaml:"requester" proto:"2"`
	ReadOnly          bool   `yaml:"readOnly" proto:"3"`
	Detached          bool   `yaml:"detached" proto:"4"` // not at a path, but for who holds a descriptor of it
	DisableAccessTime bool   `yaml:"disableAccessTime" proto:"5"`
	Secure            bool   `yaml:"secure" proto:"6"` // nosuid, nodev
	NoExec            bool   `yaml:"noExec" proto:"7"`
}

// ResourceDefinition implements [resource.Spec].
func (VolumeMountRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "VolumeMountRequests.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Volume ID", JSONPath: "{.volumeID}"},
			{Name: "Requester", JSONPath: "{.requester}"},
		},
	}
}

// VolumeMountStatus is a [VolumeMountRequest] that was met. Its id is that of the request; finalizers
// keep the volume mounted.
type VolumeMountStatus struct {
	VolumeID          string `yaml:"volumeID" proto:"1"`
	Requester         string `yaml:"requester" proto:"2"`
	Target            string `yaml:"target" proto:"3"` // the path
	ReadOnly          bool   `yaml:"readOnly" proto:"4"`
	Detached          bool   `yaml:"detached" proto:"5"` // not at a path, but for who holds a descriptor of it
	DisableAccessTime bool   `yaml:"disableAccessTime" proto:"6"`
	Secure            bool   `yaml:"secure" proto:"7"` // nosuid, nodev
	NoExec            bool   `yaml:"noExec" proto:"8"`
}

// ResourceDefinition implements [resource.Spec].
func (VolumeMountStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "VolumeMountStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Volume ID", JSONPath: "{.volumeID}"},
			{Name: "Requester", JSONPath: "{.requester}"},
			{Name: "Target", JSONPath: "{.target}"},
		},
	}
}

// MountRequest is what all requests for one volume ask for together. Its id is the volume's.
type MountRequest struct {
	VolumeID          string   `yaml:"volumeID" proto:"1"`
	ParentID          string   `yaml:"parentID" proto:"2"` // the volume that has to be mounted before
	ReadOnly          bool     `yaml:"readOnly" proto:"5"` // everyone asks for that
	Detached          bool     `yaml:"detached" proto:"6"`
	DisableAccessTime bool     `yaml:"disableAccessTime" proto:"7"`
	Secure            bool     `yaml:"secure" proto:"8"`
	NoExec            bool     `yaml:"noExec" proto:"9"`
	Requesters        []string `yaml:"requesters" proto:"3"`
	RequesterIDs      []string `yaml:"requesterIDs" proto:"4"` // of their VolumeMountRequests
}

// ResourceDefinition implements [resource.Spec].
func (MountRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MountRequests.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Volume", JSONPath: "{.volumeID}"},
			{Name: "Parent", JSONPath: "{.parentID}"},
			{Name: "Requesters", JSONPath: "{.requesters}"},
		},
	}
}

// MountStatus is a volume that is mounted. Its id is the volume's.
type MountStatus struct {
	Request             MountRequest       `yaml:"spec" proto:"1"` // what was asked for
	Source              string             `yaml:"source" proto:"3"`
	Target              string             `yaml:"target" proto:"2"`
	Filesystem          FilesystemType     `yaml:"filesystem" proto:"4"`
	EncryptionProvider  EncryptionProvider `yaml:"encryptionProvider" proto:"7"`
	ReadOnly            bool               `yaml:"readOnly" proto:"5"`
	ProjectQuotaSupport bool               `yaml:"projectQuotaSupport" proto:"6"`
	Detached            bool               `yaml:"detached" proto:"8"`
}

// ResourceDefinition implements [resource.Spec].
func (MountStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MountStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Source", JSONPath: "{.source}"},
			{Name: "Target", JSONPath: "{.target}"},
			{Name: "Filesystem", JSONPath: "{.filesystem}"},
			{Name: "Volume", JSONPath: "{.spec.volumeID}"},
		},
	}
}
