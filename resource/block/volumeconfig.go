package block

import (
	"bytes"
	"io/fs"
	"time"

	"talos.internal/resource"
)

// VolumeConfig is a volume that should be there. Its id is the volume's.
type VolumeConfig struct {
	ParentID      string              `yaml:"parentId" proto:"1"` // the volume that it is in, for directories and overlays
	Type          VolumeType          `yaml:"type" proto:"2"`
	Provisioning  Provisioning        `yaml:"provisioning" proto:"3"` // how it is made if it is not there
	Encryption    Encryption          `yaml:"encryption" proto:"6"`
	Locator       Locator             `yaml:"locator" proto:"4"` // how it is found
	Mount         Mount               `yaml:"mount" proto:"5"`   // how it is mounted
	Symlink       SymlinkProvisioning `yaml:"symlink" proto:"7"`
	TrimEnabled   bool                `yaml:"trimEnabled" proto:"8"` // tell the disk which blocks are free
	TrimInterval  time.Duration       `yaml:"trimInterval" proto:"9"`
	ScrubEnabled  bool                `yaml:"scrubEnabled" proto:"10"` // check the file system while it is mounted
	ScrubInterval time.Duration       `yaml:"scrubInterval" proto:"11"`
}

// ResourceDefinition implements [resource.Spec].
func (VolumeConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "VolumeConfigs.block.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// Provisioning is how a volume is made.
type Provisioning struct {
	DiskSelector   DiskSelector   `yaml:"diskSelector" proto:"1"`
	PartitionSpec  PartitionSpec  `yaml:"partitionSpec" proto:"2"`
	Wave           int64          `yaml:"wave" proto:"3"` // volumes of a lower wave go first
	FilesystemSpec FilesystemSpec `yaml:"filesystemSpec" proto:"4"`
}

// DiskSelector says on which disk.
type DiskSelector struct {
	Match    Expression `yaml:"match" proto:"1"`    // over disk and system_disk
	External string     `yaml:"external" proto:"2"` // a mount source that is no disk, instead
}

// PartitionSpec is the partition of a volume.
type PartitionSpec struct {
	MinSize  uint64 `yaml:"minSize" proto:"1"`
	MaxSize  uint64 `yaml:"maxSize" proto:"2"` // 0 is no limit
	Grow     bool   `yaml:"grow" proto:"3"`    // into the space that follows
	Label    string `yaml:"label" proto:"4"`
	TypeUUID string `yaml:"typeUUID" proto:"5"`
	// RelativeMaxSize: in per cent of the disk, instead of MaxSize; 0 is not set
	RelativeMaxSize uint64 `yaml:"relativeMaxSize" proto:"6"`
	NegativeMaxSize bool   `yaml:"negativeMaxSize" proto:"7"` // the maximum is what stays free
}

// FilesystemSpec is the file system of a volume.
type FilesystemSpec struct {
	Type                   FilesystemType `yaml:"type" proto:"1"`
	Label                  string         `yaml:"label" proto:"2"`
	MinAllocationGroupSize uint64         `yaml:"minAllocationGroupSize" proto:"3"` // of XFS; 0 is its default
}

// Locator is how a volume is found.
type Locator struct {
	Match     Expression `yaml:"match" proto:"1"`     // over volume and disk
	DiskMatch Expression `yaml:"diskMatch" proto:"2"` // over disk, for a volume that is a whole disk
}

// Encryption is how a volume is encrypted.
type Encryption struct {
	Provider      EncryptionProvider `yaml:"provider" proto:"1"`  // none is not at all
	Keys          []EncryptionKey    `yaml:"keys" proto:"2"`      // any of them opens the volume
	Cipher        string             `yaml:"cipher" proto:"3"`    // empty is the provider's default
	KeySize       uint64             `yaml:"keySize" proto:"4"`   // in bits; 0 is the provider's default
	BlockSize     uint64             `yaml:"blockSize" proto:"5"` // 0 is the provider's default
	PerfOptions   []string           `yaml:"perfOptions" proto:"6"`
	AllowDiscards bool               `yaml:"allowDiscards" proto:"7"` // tell the disk which blocks are free
}

// EncryptionKey is one key of a volume.
type EncryptionKey struct {
	Slot                             int64             `yaml:"slot" proto:"1"`
	Type                             EncryptionKeyType `yaml:"type" proto:"2"`
	StaticPassphrase                 resource.Base64   `yaml:"staticPassphrase" proto:"3"`                 // of a static key; a secret
	KMSEndpoint                      string            `yaml:"kmsEndpoint" proto:"4"`                      // of a KMS key
	TPMCheckSecurebootStatusOnEnroll bool              `yaml:"tpmCheckSecurebootStatusOnEnroll" proto:"5"` // refuse without Secure Boot
	LockToState                      bool              `yaml:"lockToState" proto:"6"`                      // mix in the salt of the node's state
	TPMPCRs                          []int64           `yaml:"tpmPCRs" proto:"7"`                          // registers that the key is bound to
	TPMPubKeyPCRs                    []int64           `yaml:"tpmPubKeyPCRs" proto:"8"`                    // registers bound through a signed policy
}

// Mount is how a volume is mounted.
type Mount struct {
	TargetPath          string        `yaml:"targetPath" proto:"1"`
	SELinuxLabel        string        `yaml:"selinuxLabel" proto:"2"`
	ProjectQuotaSupport bool          `yaml:"projectQuotaSupport" proto:"3"`
	ParentID            string        `yaml:"parentID" proto:"4"` // the volume in which the path is; empty is the root
	FileMode            fs.FileMode   `yaml:"fileMode" proto:"5"` // of the directory
	UID                 int64         `yaml:"uid" proto:"6"`      // of the directory
	GID                 int64         `yaml:"gid" proto:"7"`
	RecursiveRelabel    bool          `yaml:"recursiveRelabel" proto:"8"`     // label everything below too
	BindTarget          *string       `yaml:"bindTarget,omitempty" proto:"9"` // mount this path there as well
	Parameters          []FSParameter `yaml:"parameters" proto:"10"`          // of fsconfig(2)
	Secure              bool          `yaml:"secure" proto:"11"`              // nosuid, nodev
	NoExec              bool          `yaml:"noExec" proto:"12"`
}

// FSParameter is an option of a mount. The value is that of its type.
type FSParameter struct {
	Type   FSParameterType `yaml:"type" proto:"1"`
	Name   string          `yaml:"name" proto:"2"`
	Text   string          `yaml:"string" proto:"3"`
	Binary resource.Base64 `yaml:"binary" proto:"5"`
}

// SymlinkProvisioning is a volume that is a symbolic link.
type SymlinkProvisioning struct {
	SymlinkTargetPath string `yaml:"symlinkTargetPath" proto:"1"` // where it points to; empty is no link
	Force             bool   `yaml:"force" proto:"2"`             // replace what is there
}

// Expression is a condition in CEL. Text is what a person writes and reads, and what YAML has. Checked is the same as a message
// google.api.expr.v1alpha1.CheckedExpr, in its encoding, and is what protobuf has: who makes the expression fills it in if
// anyone is to read it from there. Neither is derived from the other here, because that takes the whole of CEL.
type Expression struct {
	Text    string
	Checked []byte
}

// MarshalText implements [encoding.TextMarshaler].
func (e Expression) MarshalText() ([]byte, error) { return []byte(e.Text), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (e *Expression) UnmarshalText(text []byte) error {
	*e = Expression{Text: string(text)}
	return nil
}

// MarshalProto implements [resource.ProtoMarshaler].
func (e Expression) MarshalProto() ([]byte, error) { return e.Checked, nil }

// UnmarshalProto implements [resource.ProtoUnmarshaler].
func (e *Expression) UnmarshalProto(b []byte) error {
	*e = Expression{Checked: bytes.Clone(b)}
	return nil
}
