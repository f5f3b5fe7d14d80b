package block

import (
	"time"

	"talos.internal/resource"
)

// ZswapStatusID is the id of the only [ZswapStatus].
const ZswapStatusID = "zswap"

// SwapStatus is a line of /proc/swaps. Its id is the device.
type SwapStatus struct {
	Device    string `yaml:"device" proto:"1"`
	Type      string `yaml:"type" proto:"7"`
	Size      uint64 `yaml:"size" proto:"2"`
	SizeHuman string `yaml:"sizeHuman" proto:"3"`
	Used      uint64 `yaml:"used" proto:"4"`
	UsedHuman string `yaml:"usedHuman" proto:"5"`
	Priority  int32  `yaml:"priority" proto:"6"`
}

// ResourceDefinition implements [resource.Spec].
func (SwapStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SwapStatuses.block.talos.dev", Namespace: Namespace,
		Aliases: []string{"swap", "swaps"},
		Columns: []resource.Column{
			{Name: "Device", JSONPath: "{.device}"},
			{Name: "Size", JSONPath: "{.sizeHuman}"},
			{Name: "Used", JSONPath: "{.usedHuman}"},
			{Name: "Priority", JSONPath: "{.priority}"},
		},
	}
}

// ZswapStatus are the counters of the compressed cache of swap (the kernel's admin-guide/mm/zswap).
type ZswapStatus struct {
	TotalSize           uint64 `yaml:"totalSize" proto:"1"` // of the compressed data
	TotalSizeHuman      string `yaml:"totalSizeHuman" proto:"2"`
	StoredPages         uint64 `yaml:"storedPages" proto:"3"`
	PoolLimitHit        uint64 `yaml:"poolLimitHit" proto:"4"`
	RejectReclaimFail   uint64 `yaml:"rejectReclaimFail" proto:"5"`
	RejectAllocFail     uint64 `yaml:"rejectAllocFail" proto:"6"`
	RejectKmemcacheFail uint64 `yaml:"rejectKmemcacheFail" proto:"7"`
	RejectCompressFail  uint64 `yaml:"rejectCompressFail" proto:"8"`
	RejectCompressPoor  uint64 `yaml:"rejectCompressPoor" proto:"9"`
	WrittenBackPages    uint64 `yaml:"writtenBackPages" proto:"10"`
}

// ResourceDefinition implements [resource.Spec].
func (ZswapStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ZswapStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Total Size", JSONPath: "{.totalSizeHuman}"},
			{Name: "Stored Pages", JSONPath: "{.storedPages}"},
			{Name: "Written Back", JSONPath: "{.writtenBackPages}"},
			{Name: "Pool Limit Hit", JSONPath: "{.poolLimitHit}"},
		},
	}
}

// VolumeTrimSchedule is when a disk is told next which blocks of a volume are free. Its id is the
// volume's.
type VolumeTrimSchedule struct {
	Filesystem FilesystemType `yaml:"filesystem" proto:"1"`
	Interval   time.Duration  `yaml:"interval" proto:"2"`
	NextTrim   time.Time      `yaml:"nextTrim" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (VolumeTrimSchedule) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "VolumeTrimSchedules.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Filesystem", JSONPath: "{.filesystem}"},
			{Name: "Interval", JSONPath: "{.interval}"},
			{Name: "Next Trim", JSONPath: "{.nextTrim}"},
		},
	}
}

// FSScrubSchedule is when the file system of a volume is checked next. Its id is the volume's.
type FSScrubSchedule struct {
	Filesystem FilesystemType `yaml:"filesystem" proto:"1"`
	Interval   time.Duration  `yaml:"interval" proto:"2"`
	NextScrub  time.Time      `yaml:"nextScrub" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (FSScrubSchedule) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "FSScrubSchedules.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Filesystem", JSONPath: "{.filesystem}"},
			{Name: "Interval", JSONPath: "{.interval}"},
			{Name: "Next Scrub", JSONPath: "{.nextScrub}"},
		},
	}
}

// FSScrubStatus is the outcome of the last check of a file system. Its id is the volume's.
type FSScrubStatus struct {
	Mountpoint string        `yaml:"mountpoint" proto:"1"`
	Interval   time.Duration `yaml:"interval" proto:"2"`
	Time       time.Time     `yaml:"time" proto:"3"` // when it began
	Duration   time.Duration `yaml:"duration" proto:"4"`
	Status     string        `yaml:"status" proto:"5"` // "success", or what went wrong
}

// ResourceDefinition implements [resource.Spec].
func (FSScrubStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "FSScrubStatuses.block.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Mountpoint", JSONPath: "{.mountpoint}"},
			{Name: "Interval", JSONPath: "{.interval}"},
			{Name: "Latest start time", JSONPath: "{.time}"},
			{Name: "Latest run duration", JSONPath: "{.duration}"},
			{Name: "Latest status", JSONPath: "{.status}"},
		},
	}
}
