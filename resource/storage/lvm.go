package storage

import "talos.internal/resource"

// LVMRefreshRequestID is the id of the only [LVMRefreshRequest].
const LVMRefreshRequestID = "refresh"

// LVMPhysicalVolumeSpec is a device that should be in a volume group. Its id is the device.
type LVMPhysicalVolumeSpec struct {
	Device string `yaml:"device" proto:"1"`
	VGName string `yaml:"vgName" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (LVMPhysicalVolumeSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMPhysicalVolumeSpecs.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Device", JSONPath: "{.device}"},
			{Name: "VG", JSONPath: "{.vgName}"},
		},
	}
}

// LVMVolumeGroupSpec is a volume group that should be there. Its id is the name.
type LVMVolumeGroupSpec struct {
	Name            string   `yaml:"name" proto:"1"`
	PhysicalVolumes []string `yaml:"physicalVolumes" proto:"2"` // devices
}

// ResourceDefinition implements [resource.Spec].
func (LVMVolumeGroupSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMVolumeGroupSpecs.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Name", JSONPath: "{.name}"}},
	}
}

// LVMLogicalVolumeSpec is a logical volume that should be there. Its id is "group/volume".
type LVMLogicalVolumeSpec struct {
	VGName        string               `yaml:"vgName" proto:"1"`
	Name          string               `yaml:"name" proto:"2"`
	Type          LVMLogicalVolumeType `yaml:"type" proto:"3"`
	SizeBytes     uint64               `yaml:"sizeBytes" proto:"4"`
	SizePercentVG uint32               `yaml:"sizePercentVG" proto:"5"` // of the group, instead of SizeBytes
	Mirrors       uint32               `yaml:"mirrors" proto:"6"`       // copies besides the first; 0 is the type's default
	Stripes       uint32               `yaml:"stripes" proto:"7"`       // 0 is the type's default
}

// ResourceDefinition implements [resource.Spec].
func (LVMLogicalVolumeSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMLogicalVolumeSpecs.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "VG", JSONPath: "{.vgName}"},
			{Name: "Name", JSONPath: "{.name}"},
			{Name: "Type", JSONPath: "{.type}"},
		},
	}
}

// LVMLogicalVolumeType is how a volume lies on the group's devices.
type LVMLogicalVolumeType int32

// The values of LVMLogicalVolumeType.
const (
	LVMLinear LVMLogicalVolumeType = 0
	LVMRaid1  LVMLogicalVolumeType = 1
	LVMRaid0  LVMLogicalVolumeType = 2
	LVMRaid10 LVMLogicalVolumeType = 3
)

var lvmLogicalVolumeTypeNames = resource.NamesOf(map[LVMLogicalVolumeType]string{
	LVMLinear: "linear",
	LVMRaid1:  "raid1",
	LVMRaid0:  "raid0",
	LVMRaid10: "raid10",
})

// String returns the name of l.
func (l LVMLogicalVolumeType) String() string { return lvmLogicalVolumeTypeNames.Text(l) }

// MarshalText implements [encoding.TextMarshaler].
func (l LVMLogicalVolumeType) MarshalText() ([]byte, error) {
	return []byte(lvmLogicalVolumeTypeNames.Text(l)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *LVMLogicalVolumeType) UnmarshalText(text []byte) error {
	return lvmLogicalVolumeTypeNames.Set(l, string(text))
}

// LVMPhysicalVolumeStatus is a device of LVM, as pvs(8) reports it. Its id is the device.
type LVMPhysicalVolumeStatus struct {
	Device           string   `yaml:"device" proto:"1"`
	VGName           string   `yaml:"vgName" proto:"2"`
	UUID             string   `yaml:"uuid" proto:"3"`
	Format           string   `yaml:"format" proto:"4"`
	Allocatable      string   `yaml:"allocatable" proto:"5"`
	Exported         string   `yaml:"exported" proto:"6"`
	Missing          string   `yaml:"missing" proto:"7"`
	InUse            string   `yaml:"inUse" proto:"8"`
	Size             string   `yaml:"size" proto:"9"`
	DeviceSize       string   `yaml:"deviceSize" proto:"10"`
	Free             string   `yaml:"free" proto:"11"`
	Used             string   `yaml:"used" proto:"12"`
	PECount          string   `yaml:"peCount" proto:"13"`
	PEAllocCount     string   `yaml:"peAllocCount" proto:"14"`
	Major            string   `yaml:"major" proto:"15"`
	Minor            string   `yaml:"minor" proto:"16"`
	Tags             []string `yaml:"tags" proto:"17"`
	PrettySize       string   `yaml:"prettySize" proto:"18"`
	PrettyDeviceSize string   `yaml:"prettyDeviceSize" proto:"19"`
	PrettyFree       string   `yaml:"prettyFree" proto:"20"`
}

// ResourceDefinition implements [resource.Spec].
func (LVMPhysicalVolumeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMPhysicalVolumeStatuses.storage.talos.dev", Namespace: Namespace,
		Aliases: []string{"pvs"},
		Columns: []resource.Column{
			{Name: "Device", JSONPath: "{.device}"},
			{Name: "VG", JSONPath: "{.vgName}"},
			{Name: "Size", JSONPath: "{.prettySize}"},
			{Name: "Free", JSONPath: "{.prettyFree}"},
			{Name: "Allocatable", JSONPath: "{.allocatable}"},
		},
	}
}

// LVMVolumeGroupStatus is a volume group, as vgs(8) reports it. Its id is the name.
type LVMVolumeGroupStatus struct {
	Name             string   `yaml:"name" proto:"1"`
	UUID             string   `yaml:"uuid" proto:"2"`
	Format           string   `yaml:"format" proto:"3"`
	Permissions      string   `yaml:"permissions" proto:"4"`
	Extendable       string   `yaml:"extendable" proto:"5"`
	Exported         string   `yaml:"exported" proto:"6"`
	Partial          string   `yaml:"partial" proto:"7"`
	AllocationPolicy string   `yaml:"allocationPolicy" proto:"8"`
	Clustered        string   `yaml:"clustered" proto:"9"`
	Shared           string   `yaml:"shared" proto:"10"`
	Size             string   `yaml:"size" proto:"11"`
	Free             string   `yaml:"free" proto:"12"`
	ExtentSize       string   `yaml:"extentSize" proto:"13"`
	ExtentCount      string   `yaml:"extentCount" proto:"14"`
	FreeExtentCount  string   `yaml:"freeExtentCount" proto:"15"`
	MaxLV            string   `yaml:"maxLV" proto:"16"`
	MaxPV            string   `yaml:"maxPV" proto:"17"`
	LVCount          string   `yaml:"lvCount" proto:"18"`
	PVCount          string   `yaml:"pvCount" proto:"19"`
	SnapCount        string   `yaml:"snapCount" proto:"20"`
	MissingPVCount   string   `yaml:"missingPVCount" proto:"21"`
	SeqNo            string   `yaml:"seqNo" proto:"22"`
	LockType         string   `yaml:"lockType" proto:"23"`
	SystemID         string   `yaml:"systemID" proto:"24"`
	Tags             []string `yaml:"tags" proto:"25"`
	PrettySize       string   `yaml:"prettySize" proto:"26"`
	PrettyFree       string   `yaml:"prettyFree" proto:"27"`
}

// ResourceDefinition implements [resource.Spec].
func (LVMVolumeGroupStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMVolumeGroupStatuses.storage.talos.dev", Namespace: Namespace,
		Aliases: []string{"vgs"},
		Columns: []resource.Column{
			{Name: "Name", JSONPath: "{.name}"},
			{Name: "Permissions", JSONPath: "{.permissions}"},
			{Name: "Size", JSONPath: "{.prettySize}"},
			{Name: "Free", JSONPath: "{.prettyFree}"},
			{Name: "PVs", JSONPath: "{.pvCount}"},
			{Name: "LVs", JSONPath: "{.lvCount}"},
		},
	}
}

// LVMLogicalVolumeStatus is a logical volume, as lvs(8) reports it. Its id is "group/volume".
type LVMLogicalVolumeStatus struct {
	Path              string   `yaml:"path" proto:"1"`
	DMPath            string   `yaml:"dmPath" proto:"2"`
	Name              string   `yaml:"name" proto:"3"`
	FullName          string   `yaml:"fullName" proto:"4"`
	VGName            string   `yaml:"vgName" proto:"5"`
	UUID              string   `yaml:"uuid" proto:"6"`
	Layout            string   `yaml:"layout" proto:"7"`
	Role              string   `yaml:"role" proto:"8"`
	Permissions       string   `yaml:"permissions" proto:"9"`
	AllocationPolicy  string   `yaml:"allocationPolicy" proto:"10"`
	AllocationLocked  string   `yaml:"allocationLocked" proto:"11"`
	FixedMinor        string   `yaml:"fixedMinor" proto:"12"`
	Active            string   `yaml:"active" proto:"13"`
	ActiveLocally     string   `yaml:"activeLocally" proto:"14"`
	ActiveRemotely    string   `yaml:"activeRemotely" proto:"15"`
	ActiveExclusively string   `yaml:"activeExclusively" proto:"16"`
	Suspended         string   `yaml:"suspended" proto:"17"`
	DeviceOpen        string   `yaml:"deviceOpen" proto:"18"`
	SkipActivation    string   `yaml:"skipActivation" proto:"19"`
	Merging           string   `yaml:"merging" proto:"20"`
	Converting        string   `yaml:"converting" proto:"21"`
	Size              string   `yaml:"size" proto:"22"`
	MetadataSize      string   `yaml:"metadataSize" proto:"23"`
	ReadAhead         string   `yaml:"readAhead" proto:"24"`
	KernelMajor       string   `yaml:"kernelMajor" proto:"25"`
	KernelMinor       string   `yaml:"kernelMinor" proto:"26"`
	Origin            string   `yaml:"origin" proto:"27"`
	OriginSize        string   `yaml:"originSize" proto:"28"`
	PoolLV            string   `yaml:"poolLV" proto:"29"`
	DataLV            string   `yaml:"dataLV" proto:"30"`
	MetadataLV        string   `yaml:"metadataLV" proto:"31"`
	MovePV            string   `yaml:"movePV" proto:"32"`
	ConvertLV         string   `yaml:"convertLV" proto:"33"`
	WhenFull          string   `yaml:"whenFull" proto:"34"`
	Tags              []string `yaml:"tags" proto:"35"`
	PrettySize        string   `yaml:"prettySize" proto:"36"`
}

// ResourceDefinition implements [resource.Spec].
func (LVMLogicalVolumeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMLogicalVolumeStatuses.storage.talos.dev", Namespace: Namespace,
		Aliases: []string{"lvs"},
		Columns: []resource.Column{
			{Name: "Path", JSONPath: "{.path}"},
			{Name: "VG", JSONPath: "{.vgName}"},
			{Name: "Layout", JSONPath: "{.layout}"},
			{Name: "Size", JSONPath: "{.prettySize}"},
			{Name: "Active", JSONPath: "{.active}"},
		},
	}
}

// LVMRefreshRequest asks for LVM to be read again.
type LVMRefreshRequest struct {
	Request int64 `yaml:"request" proto:"1"` // a new number is a new request
}

// ResourceDefinition implements [resource.Spec].
func (LVMRefreshRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMRefreshRequests.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Request", JSONPath: "{.request}"}},
	}
}

// LVMValidationError is why a part of the config cannot be done on these disks.
type LVMValidationError struct {
	VGName  string `yaml:"vgName" proto:"1"`
	Message string `yaml:"message" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (LVMValidationError) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LVMValidationErrors.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "VG", JSONPath: "{.vgName}"},
			{Name: "Message", JSONPath: "{.message}"},
		},
	}
}
