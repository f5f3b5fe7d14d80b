package block

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	SystemDiskID              = "system-disk"               // SystemDisk
	DiscoveredVolumesStatusID = "discovered-volumes-status" // DiscoveredVolumesStatus
	DiscoveryRefreshRequestID = "refresh"                   // DiscoveryRefreshRequest
	DiscoveryRefreshStatusID  = "refresh"                   // DiscoveryRefreshStatus
	UserDiskConfigStatusID    = "user-disks"                // UserDiskConfigStatus
)

// Device is a block device of the kernel. Its id is its name there: "vda1".
type Device struct {
	Type            string   `yaml:"type" proto:"1"` // "disk" or "partition"
	Major           int64    `yaml:"major" proto:"2"`
	Minor           int64    `yaml:"minor" proto:"3"`
	PartitionName   string   `yaml:"partitionName" proto:"4"`
	PartitionNumber int64    `yaml:"partitionNumber" proto:"5"` // 0 for a disk
	DevicePath      string   `yaml:"devicePath" proto:"7"`      // in sysfs
	Generation      int64    `yaml:"generation" proto:"6"`      // how often the kernel told of it
	Parent          string   `yaml:"parent" proto:"8"`          // the disk of a partition
	Secondaries     []string `yaml:"secondaries" proto:"9"`     // devices below, for one made of others
}

// ResourceDefinition implements [resource.Spec].
func (Device) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BlockDevices.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Type", JSONPath: "{.type}"},
			{Name: "PartitionName", JSONPath: "{.partitionName}"},
			{Name: "Generation", JSONPath: "{.generation}"},
		},
	}
}

// Disk is a whole disk. Its id is its name: "vda".
type Disk struct {
	DevPath         string   `yaml:"dev_path" proto:"14"` // "/dev/vda"
	Size            uint64   `yaml:"size" proto:"1"`
	PrettySize      string   `yaml:"pretty_size" proto:"15"`
	IOSize          uint64   `yaml:"io_size" proto:"2"`
	SectorSize      uint64   `yaml:"sector_size" proto:"3"`
	Readonly        bool     `yaml:"readonly" proto:"4"`
	CDROM           bool     `yaml:"cdrom" proto:"13"`
	Model           string   `yaml:"model" proto:"5"`
	FirmwareVersion string   `yaml:"firmware_version" proto:"19"`
	Serial          string   `yaml:"serial" proto:"6"`
	Modalias        string   `yaml:"modalias" proto:"7"`
	WWID            string   `yaml:"wwid" proto:"8"`
	UUID            string   `yaml:"uuid" proto:"17"`
	BusPath         string   `yaml:"bus_path" proto:"9"`
	SubSystem       string   `yaml:"sub_system" proto:"10"`
	Transport       string   `yaml:"transport" proto:"11"` // such as "nvme" or "virtio"
	Rotational      bool     `yaml:"rotational" proto:"12"`
	SecondaryDisks  []string `yaml:"secondary_disks" proto:"16"`
	Symlinks        []string `yaml:"symlinks" proto:"18"` // in /dev/disk
}

// ResourceDefinition implements [resource.Spec].
func (Disk) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Disks.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Size", JSONPath: "{.pretty_size}"},
			{Name: "Read Only", JSONPath: "{.readonly}"},
			{Name: "Transport", JSONPath: "{.transport}"},
			{Name: "Rotational", JSONPath: "{.rotational}"},
			{Name: "WWID", JSONPath: "{.wwid}"},
			{Name: "Model", JSONPath: "{.model}"},
			{Name: "Serial", JSONPath: "{.serial}"},
		},
	}
}

// SystemDisk is the disk that the system is installed on.
type SystemDisk struct {
	DiskID  string `yaml:"diskID" proto:"1"` // its [Disk]
	DevPath string `yaml:"devPath" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (SystemDisk) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SystemDisks.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Disk", JSONPath: "{.diskID}"}},
	}
}

// Symlink are further names of a device. Its id is the device's.
type Symlink struct {
	Paths []string `yaml:"paths" proto:"1"` // in /dev/disk
}

// ResourceDefinition implements [resource.Spec].
func (Symlink) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BlockSymlinks.block.talos.dev", Namespace: Namespace,
	}
}

// DiscoveredVolume is what was recognised on a disk or partition. Its id is the device's.
type DiscoveredVolume struct {
	DevPath       string `yaml:"dev_path" proto:"17"`    // "/dev/vda1"
	Type          string `yaml:"type" proto:"14"`        // "disk" or "partition"
	DevicePath    string `yaml:"device_path" proto:"15"` // in sysfs
	Parent        string `yaml:"parent" proto:"16"`      // the disk of a partition
	ParentDevPath string `yaml:"parent_dev_path" proto:"18"`
	Offset        uint64 `yaml:"offset" proto:"20"` // on the disk
	Size          uint64 `yaml:"size" proto:"1"`
	PrettySize    string `yaml:"pretty_size" proto:"19"`
	SectorSize    uint64 `yaml:"sector_size" proto:"2"`
	IOSize        uint64 `yaml:"io_size" proto:"3"`
	// Name: what it is, such as "xfs", "luks" or "gpt"; empty if nothing was recognised
	Name                string `yaml:"name" proto:"4"`
	UUID                string `yaml:"uuid" proto:"5"`  // of the file system
	Label               string `yaml:"label" proto:"6"` // of the file system
	BlockSize           uint32 `yaml:"block_size" proto:"7"`
	FilesystemBlockSize uint32 `yaml:"filesystem_block_size" proto:"8"`
	ProbedSize          uint64 `yaml:"probed_size" proto:"9"` // what the file system says
	PartitionUUID       string `yaml:"partition_uuid" proto:"10"`
	PartitionType       string `yaml:"partition_type" proto:"11"` // a UUID
	PartitionLabel      string `yaml:"partition_label" proto:"12"`
	PartitionIndex      uint64 `yaml:"partition_index" proto:"13"` // from 1; 0 for a disk
}

// ResourceDefinition implements [resource.Spec].
func (DiscoveredVolume) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DiscoveredVolumes.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Type", JSONPath: "{.type}"},
			{Name: "Size", JSONPath: "{.pretty_size}"},
			{Name: "Discovered", JSONPath: "{.name}"},
			{Name: "Label", JSONPath: "{.label}"},
			{Name: "PartitionLabel", JSONPath: "{.partition_label}"},
		},
	}
}

// DiscoveredVolumesStatus says that everything was looked at once.
type DiscoveredVolumesStatus struct {
	Ready bool `yaml:"ready" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (DiscoveredVolumesStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DiscoveredVolumesStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Ready", JSONPath: "{.ready}"}},
	}
}

// DiscoveryRefreshRequest asks for every device to be looked at again.
type DiscoveryRefreshRequest struct {
	Request int64 `yaml:"request" proto:"1"` // a new number is a new request
}

// ResourceDefinition implements [resource.Spec].
func (DiscoveryRefreshRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DiscoveryRefreshRequests.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Request", JSONPath: "{.request}"}},
	}
}

// DiscoveryRefreshStatus says which [DiscoveryRefreshRequest] was done last.
type DiscoveryRefreshStatus struct {
	Request int64 `yaml:"request" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (DiscoveryRefreshStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DiscoveryRefreshStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Request", JSONPath: "{.request}"}},
	}
}

// UserDiskConfigStatus says whether the disks of a config in the old form are done.
type UserDiskConfigStatus struct {
	Ready    bool `yaml:"ready" proto:"1"`
	TornDown bool `yaml:"tornDown" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (UserDiskConfigStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "UserDiskConfigStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Ready", JSONPath: "{.ready}"}},
	}
}
