package hardware

import "talos.internal/resource"

// SystemInformationID is the id of the only [SystemInformation].
const SystemInformationID = "systeminformation"

// SystemInformation is the machine as its maker describes it (SMBIOS types 0 and 1).
type SystemInformation struct {
	Manufacturer string `yaml:"manufacturer" proto:"1"`
	ProductName  string `yaml:"productName" proto:"2"`
	Version      string `yaml:"version" proto:"3"`
	BIOSVersion  string `yaml:"biosVersion" proto:"8"`
	SerialNumber string `yaml:"serialnumber" proto:"4"`
	UUID         string `yaml:"uuid" proto:"5"`
	WakeUpType   string `yaml:"wakeUpType" proto:"6"` // what switched it on
	SKUNumber    string `yaml:"skuNumber" proto:"7"`
}

// ResourceDefinition implements [resource.Spec].
func (SystemInformation) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SystemInformations.hardware.talos.dev", Namespace: Namespace,
		Aliases: []string{"systeminformation"},
		Columns: []resource.Column{
			{Name: "Manufacturer", JSONPath: "{.manufacturer}"},
			{Name: "ProductName", JSONPath: "{.productName}"},
			{Name: "Version", JSONPath: "{.version}"},
			{Name: "SerialNumber", JSONPath: "{.serialnumber}"},
			{Name: "UUID", JSONPath: "{.uuid}"},
			{Name: "WakeUpType", JSONPath: "{.wakeUpType}"},
			{Name: "SKUNumber", JSONPath: "{.skuNumber}"},
		},
	}
}

// Processor is a CPU socket (SMBIOS type 4). Its id is the socket.
type Processor struct {
	Socket       string `yaml:"socket" proto:"1"`
	Manufacturer string `yaml:"manufacturer" proto:"2"`
	ProductName  string `yaml:"productName" proto:"3"`
	MaxSpeed     uint32 `yaml:"maxSpeedMhz" proto:"4"`  // in MHz
	BootSpeed    uint32 `yaml:"bootSpeedMhz" proto:"5"` // in MHz
	Status       uint32 `yaml:"status" proto:"6"`       // the byte of the table
	SerialNumber string `yaml:"serialNumber" proto:"7"`
	AssetTag     string `yaml:"assetTag" proto:"8"`
	PartNumber   string `yaml:"partNumber" proto:"9"`
	CoreCount    uint32 `yaml:"coreCount" proto:"10"`
	CoreEnabled  uint32 `yaml:"coreEnabled" proto:"11"`
	ThreadCount  uint32 `yaml:"threadCount" proto:"12"`
}

// ResourceDefinition implements [resource.Spec].
func (Processor) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Processors.hardware.talos.dev", Namespace: Namespace,
		Aliases: []string{"cpus", "cpu"},
		Columns: []resource.Column{
			{Name: "Manufacturer", JSONPath: "{.manufacturer}"},
			{Name: "Model", JSONPath: "{.productName}"},
			{Name: "Cores", JSONPath: "{.coreCount}"},
			{Name: "Threads", JSONPath: "{.threadCount}"},
		},
	}
}

// MemoryModule is a place for memory (SMBIOS type 17). Its id is the place.
type MemoryModule struct {
	Size          uint32 `yaml:"sizeMiB" proto:"1"` // in MiB; 0 is empty
	DeviceLocator string `yaml:"deviceLocator" proto:"2"`
	BankLocator   string `yaml:"bankLocator" proto:"3"`
	Speed         uint32 `yaml:"speed" proto:"4"` // in MT/s
	Manufacturer  string `yaml:"manufacturer" proto:"5"`
	SerialNumber  string `yaml:"serialNumber" proto:"6"`
	AssetTag      string `yaml:"assetTag" proto:"7"`
	ProductName   string `yaml:"productName" proto:"8"`
}

// ResourceDefinition implements [resource.Spec].
func (MemoryModule) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MemoryModules.hardware.talos.dev", Namespace: Namespace,
		Aliases: []string{"memorymodules", "ram"},
		Columns: []resource.Column{
			{Name: "Manufacturer", JSONPath: "{.manufacturer}"},
			{Name: "Model", JSONPath: "{.productName}"},
			{Name: "SizeMiB", JSONPath: "{.sizeMiB}"},
		},
	}
}

// CPUCore is a core as the kernel describes it (/proc/cpuinfo). Its id is a number.
type CPUCore struct {
	Socket           string   `yaml:"socket" proto:"1"`
	CoreID           string   `yaml:"coreID" proto:"2"`
	LogicalCPUs      []uint32 `yaml:"logicalCPUs" proto:"3"` // numbers of its threads
	VendorID         string   `yaml:"vendorID" proto:"4"`
	CPUFamily        string   `yaml:"cpuFamily" proto:"5"`
	Model            string   `yaml:"model" proto:"6"`
	ModelName        string   `yaml:"modelName" proto:"7"`
	Stepping         string   `yaml:"stepping" proto:"8"`
	Microcode        string   `yaml:"microcode" proto:"9"`
	CacheSize        string   `yaml:"cacheSize" proto:"10"`
	CoresPerSocket   uint32   `yaml:"coresPerSocket" proto:"11"`
	ThreadsPerSocket uint32   `yaml:"threadsPerSocket" proto:"12"`
	Flags            []string `yaml:"flags" proto:"13"`
	Bugs             []string `yaml:"bugs" proto:"14"`
	BogoMips         float64  `yaml:"bogoMips" proto:"15"`
	AddressSizes     string   `yaml:"addressSizes" proto:"16"`
}

// ResourceDefinition implements [resource.Spec].
func (CPUCore) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "CPUCores.hardware.talos.dev", Namespace: Namespace,
		Aliases: []string{"cpucore", "cpucores"},
		Columns: []resource.Column{
			{Name: "Socket", JSONPath: "{.socket}"},
			{Name: "Core", JSONPath: "{.coreID}"},
			{Name: "Model", JSONPath: "{.modelName}"},
			{Name: "Logical CPUs", JSONPath: "{.logicalCPUs}"},
		},
	}
}

// PCIDevice is a device on the PCI bus. Its id is its address: "0000:00:1f.2".
type PCIDevice struct {
	Class      string `yaml:"class" proto:"1"`
	Subclass   string `yaml:"subclass" proto:"2"`
	Vendor     string `yaml:"vendor" proto:"3"`
	Product    string `yaml:"product" proto:"4"`
	ClassID    string `yaml:"class_id" proto:"5"`    // in hexadecimal, with 0x
	SubclassID string `yaml:"subclass_id" proto:"6"` // in hexadecimal, with 0x
	VendorID   string `yaml:"vendor_id" proto:"7"`   // in hexadecimal, with 0x
	ProductID  string `yaml:"product_id" proto:"8"`  // in hexadecimal, with 0x
	Driver     string `yaml:"driver" proto:"9"`      // empty if none has it
}

// ResourceDefinition implements [resource.Spec].
func (PCIDevice) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PCIDevices.hardware.talos.dev", Namespace: Namespace,
		Aliases: []string{"devices", "device"},
		Columns: []resource.Column{
			{Name: "Class", JSONPath: "{.class}"},
			{Name: "Subclass", JSONPath: "{.subclass}"},
			{Name: "Vendor", JSONPath: "{.vendor}"},
			{Name: "Product", JSONPath: "{.product}"},
		},
	}
}

// PCIDriverRebindConfig is a device that should have another driver. Its id is the address of the
// device.
type PCIDriverRebindConfig struct {
	PCIID        string `yaml:"pciID" proto:"1"` // the address of the device
	TargetDriver string `yaml:"targetDriver" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (PCIDriverRebindConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PCIDriverRebindConfigs.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Name", JSONPath: "{.name}"},
			{Name: "PCI ID", JSONPath: "{.pciID}"},
			{Name: "TargetDriver", JSONPath: "{.targetDriver}"},
		},
	}
}

// PCIDriverRebindStatus is a device that got another driver. Its id is the address of the device.
type PCIDriverRebindStatus struct {
	PCIID        string `yaml:"pciID" proto:"1"` // the address of the device
	TargetDriver string `yaml:"targetDriver" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (PCIDriverRebindStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PCIDriverRebindStatuses.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"pcidriverrebinds"},
		Columns: []resource.Column{
			{Name: "Name", JSONPath: "{.name}"},
			{Name: "PCI ID", JSONPath: "{.pciID}"},
			{Name: "TargetDriver", JSONPath: "{.targetDriver}"},
		},
	}
}

// PCRStatus is a register of the TPM that was extended. Its id is the number. The contract gives it no
// fields.
type PCRStatus struct{}

// ResourceDefinition implements [resource.Spec].
func (PCRStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "PCRStatuses.hardware.talos.dev", Namespace: Namespace,
	}
}
