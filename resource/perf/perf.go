package perf

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	CPUID    = "latest" // CPU
	MemoryID = "latest" // Memory
)

// CPU is /proc/stat (proc_stat(5)). Counts are since boot.
type CPU struct {
	CPUs            []CPUTime `yaml:"cpu" proto:"1"` // by number
	Total           CPUTime   `yaml:"cpuTotal" proto:"2"`
	IRQTotal        uint64    `yaml:"irqTotal" proto:"3"`
	ContextSwitches uint64    `yaml:"contextSwitches" proto:"4"`
	ProcessCreated  uint64    `yaml:"processCreated" proto:"5"`
	ProcessRunning  uint64    `yaml:"processRunning" proto:"6"` // now
	ProcessBlocked  uint64    `yaml:"processBlocked" proto:"7"` // now, by input or output
	SoftIRQTotal    uint64    `yaml:"softIrqTotal" proto:"8"`
}

// ResourceDefinition implements [resource.Spec].
func (CPU) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "CPUStats.perf.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "User", JSONPath: "{.cpuTotal.user}"},
			{Name: "System", JSONPath: "{.cpuTotal.system}"},
		},
	}
}

// CPUTime says what a CPU did since boot, in seconds.
type CPUTime struct {
	User      float64 `yaml:"user" proto:"1"`
	Nice      float64 `yaml:"nice" proto:"2"`
	System    float64 `yaml:"system" proto:"3"`
	Idle      float64 `yaml:"idle" proto:"4"`
	Iowait    float64 `yaml:"iowait" proto:"5"`
	IRQ       float64 `yaml:"irq" proto:"6"`
	SoftIRQ   float64 `yaml:"softIRQ" proto:"7"`
	Steal     float64 `yaml:"steal" proto:"8"`
	Guest     float64 `yaml:"guest" proto:"9"`
	GuestNice float64 `yaml:"guestNice" proto:"10"`
}

// Memory is /proc/meminfo (proc_meminfo(5)), in KiB as it is there; huge pages are counted in pages.
type Memory struct {
	Total             uint64 `yaml:"total" proto:"1"`
	Used              uint64 `yaml:"used" proto:"2"` // without what is free, cached or buffered
	Available         uint64 `yaml:"available" proto:"3"`
	Buffers           uint64 `yaml:"buffers" proto:"4"`
	Cached            uint64 `yaml:"cached" proto:"5"`
	SwapCached        uint64 `yaml:"swapCached" proto:"6"`
	Active            uint64 `yaml:"active" proto:"7"`
	Inactive          uint64 `yaml:"inactive" proto:"8"`
	ActiveAnon        uint64 `yaml:"activeAnon" proto:"9"`
	InactiveAnon      uint64 `yaml:"inactiveAnon" proto:"10"`
	ActiveFile        uint64 `yaml:"activeFile" proto:"11"`
	InactiveFile      uint64 `yaml:"inactiveFile" proto:"12"`
	Unevictable       uint64 `yaml:"unevictable" proto:"13"`
	Mlocked           uint64 `yaml:"mlocked" proto:"14"`
	SwapTotal         uint64 `yaml:"swapTotal" proto:"15"`
	SwapFree          uint64 `yaml:"swapFree" proto:"16"`
	Dirty             uint64 `yaml:"dirty" proto:"17"`
	Writeback         uint64 `yaml:"writeback" proto:"18"`
	AnonPages         uint64 `yaml:"anonPages" proto:"19"`
	Mapped            uint64 `yaml:"mapped" proto:"20"`
	Shmem             uint64 `yaml:"shmem" proto:"21"`
	Slab              uint64 `yaml:"slab" proto:"22"`
	SReclaimable      uint64 `yaml:"sreclaimable" proto:"23"`
	SUnreclaim        uint64 `yaml:"sunreclaim" proto:"24"`
	KernelStack       uint64 `yaml:"kernelStack" proto:"25"`
	PageTables        uint64 `yaml:"pageTables" proto:"26"`
	NFSUnstable       uint64 `yaml:"nfsunstable" proto:"27"`
	Bounce            uint64 `yaml:"bounce" proto:"28"`
	WritebackTmp      uint64 `yaml:"writeBacktmp" proto:"29"`
	CommitLimit       uint64 `yaml:"commitLimit" proto:"30"`
	CommittedAS       uint64 `yaml:"commitTedas" proto:"31"` // the contract names the key so
	VmallocTotal      uint64 `yaml:"vmallocTotal" proto:"32"`
	VmallocUsed       uint64 `yaml:"vmallocUsed" proto:"33"`
	VmallocChunk      uint64 `yaml:"vmallocChunk" proto:"34"`
	HardwareCorrupted uint64 `yaml:"hardwareCorrupted" proto:"35"`
	AnonHugePages     uint64 `yaml:"anonHugePages" proto:"36"`
	ShmemHugePages    uint64 `yaml:"shmemHugePages" proto:"37"`
	ShmemPmdMapped    uint64 `yaml:"shmemPmdMapped" proto:"38"`
	CmaTotal          uint64 `yaml:"cmaTotal" proto:"39"`
	CmaFree           uint64 `yaml:"cmaFree" proto:"40"`
	HugePagesTotal    uint64 `yaml:"hugePagesTotal" proto:"41"`
	HugePagesFree     uint64 `yaml:"hugePagesFree" proto:"42"`
	HugePagesRsvd     uint64 `yaml:"hugePagesRsvd" proto:"43"`
	HugePagesSurp     uint64 `yaml:"hugePagesSurp" proto:"44"`
	HugePageSize      uint64 `yaml:"hugepagesize" proto:"45"`
	DirectMap4K       uint64 `yaml:"directMap4k" proto:"46"`
	DirectMap2M       uint64 `yaml:"directMap2m" proto:"47"`
	DirectMap1G       uint64 `yaml:"directMap1g" proto:"48"`
}

// ResourceDefinition implements [resource.Spec].
func (Memory) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MemoryStats.perf.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Used", JSONPath: "{.used}"},
			{Name: "Total", JSONPath: "{.total}"},
		},
	}
}
