package runtime

import (
	"time"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	KernelCmdlineID   = "cmdline"    // KernelCmdline
	KmsgLogConfigID   = "kmsg-log"   // KmsgLogConfig
	EventSinkConfigID = "event-sink" // EventSinkConfig
	WatchdogTimerID   = "timer"      // WatchdogTimerConfig
)

// KernelCmdline is the kernel's command line.
type KernelCmdline struct {
	Text string `yaml:"cmdline" proto:"1"` // as it is in /proc/cmdline
}

// ResourceDefinition implements [resource.Spec].
func (KernelCmdline) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KernelCmdlines.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"cmdline"},
		Columns: []resource.Column{{Name: "Cmdline", JSONPath: "{.cmdline}"}},
	}
}

// KernelModuleSpec is a module that the kernel should load. Its id is the name.
type KernelModuleSpec struct {
	Name       string   `yaml:"string" proto:"1"`     // the contract names the key so
	Parameters []string `yaml:"parameters" proto:"2"` // "name=value"
}

// ResourceDefinition implements [resource.Spec].
func (KernelModuleSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KernelModuleSpecs.runtime.talos.dev", Namespace: Namespace,
	}
}

// KernelModuleStatus is a module that the kernel has, built in or loaded. Its id is the name.
type KernelModuleStatus struct {
	Type           KernelModuleType  `yaml:"type" proto:"1"`
	Size           int64             `yaml:"size" proto:"2"` // in bytes
	ReferenceCount int64             `yaml:"referenceCount" proto:"3"`
	Dependencies   []string          `yaml:"dependencies" proto:"4"` // modules that use this one
	State          KernelModuleState `yaml:"state" proto:"5"`
	Address        string            `yaml:"address" proto:"6"` // in hexadecimal; zero if the kernel hides it
}

// ResourceDefinition implements [resource.Spec].
func (KernelModuleStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KernelModuleStatuses.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"module", "modules"},
		Columns: []resource.Column{
			{Name: "Type", JSONPath: "{.type}"},
			{Name: "State", JSONPath: "{.state}"},
		},
	}
}

// KernelModuleType is how the kernel has a module.
type KernelModuleType int32

// The values of KernelModuleType.
const (
	ModuleTypeUnknown KernelModuleType = 0
	ModuleTypeBuiltin KernelModuleType = 1
	ModuleTypeDynamic KernelModuleType = 2 // loaded
)

var kernelModuleTypeNames = resource.NamesOf(map[KernelModuleType]string{
	ModuleTypeUnknown: "unknown",
	ModuleTypeBuiltin: "builtin",
	ModuleTypeDynamic: "dynamic",
})

// String returns the name of k.
func (k KernelModuleType) String() string { return kernelModuleTypeNames.Text(k) }

// MarshalText implements [encoding.TextMarshaler].
func (k KernelModuleType) MarshalText() ([]byte, error) {
	return []byte(kernelModuleTypeNames.Text(k)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *KernelModuleType) UnmarshalText(text []byte) error {
	return kernelModuleTypeNames.Set(k, string(text))
}

// KernelModuleState is the state of a module (proc_modules(5)).
type KernelModuleState int32

// The values of KernelModuleState.
const (
	ModuleLive      KernelModuleState = 0
	ModuleLoading   KernelModuleState = 1
	ModuleUnloading KernelModuleState = 2
	ModuleBuiltIn   KernelModuleState = 3
)

var kernelModuleStateNames = resource.NamesOf(map[KernelModuleState]string{
	ModuleLive:      "live",
	ModuleLoading:   "loading",
	ModuleUnloading: "unloading",
	ModuleBuiltIn:   "builtin",
})

// String returns the name of k.
func (k KernelModuleState) String() string { return kernelModuleStateNames.Text(k) }

// MarshalText implements [encoding.TextMarshaler].
func (k KernelModuleState) MarshalText() ([]byte, error) {
	return []byte(kernelModuleStateNames.Text(k)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *KernelModuleState) UnmarshalText(text []byte) error {
	return kernelModuleStateNames.Set(k, string(text))
}

// LoadedKernelModule is a line of /proc/modules. Its id is the name of the module.
type LoadedKernelModule struct {
	Size           int64    `yaml:"size" proto:"1"` // in bytes
	ReferenceCount int64    `yaml:"referenceCount" proto:"2"`
	Dependencies   []string `yaml:"dependencies" proto:"3"` // modules that use this one
	State          string   `yaml:"state" proto:"4"`        // as the kernel names it: "Live", "Loading", "Unloading"
	Address        string   `yaml:"address" proto:"5"`      // in hexadecimal; zero if the kernel hides it
}

// ResourceDefinition implements [resource.Spec].
func (LoadedKernelModule) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "LoadedKernelModules.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "State", JSONPath: "{.state}"}},
	}
}

// KernelParamSpec is a value that a kernel parameter should have. Its id is the path with dots:
// "proc.sys.net.ipv4.ip_forward".
type KernelParamSpec struct {
	Value        string `yaml:"value" proto:"1"`
	IgnoreErrors bool   `yaml:"ignoreErrors" proto:"2"` // a kernel without the parameter is no error
}

// ResourceDefinition implements [resource.Spec].
func (KernelParamSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KernelParamSpecs.runtime.talos.dev", Namespace: Namespace,
	}
}

// KernelParamDefaultSpec is a [KernelParamSpec] of the system itself, which gives way to one of the
// machine config.
type KernelParamDefaultSpec struct {
	Value        string `yaml:"value" proto:"1"`
	IgnoreErrors bool   `yaml:"ignoreErrors" proto:"2"` // a kernel without the parameter is no error
}

// ResourceDefinition implements [resource.Spec].
func (KernelParamDefaultSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KernelParamDefaultSpecs.runtime.talos.dev", Namespace: Namespace,
	}
}

// KernelParamStatus is what became of a [KernelParamSpec] with the same id.
type KernelParamStatus struct {
	Current     string `yaml:"current" proto:"1"`
	Default     string `yaml:"default" proto:"2"`     // what it was before
	Unsupported bool   `yaml:"unsupported" proto:"3"` // the kernel has no such parameter
}

// ResourceDefinition implements [resource.Spec].
func (KernelParamStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KernelParamStatuses.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"sysctls", "kernelparameters", "kernelparams"},
		Columns: []resource.Column{
			{Name: "Current", JSONPath: "{.current}"},
			{Name: "Default", JSONPath: "{.default}"},
			{Name: "Unsupported", JSONPath: "{.unsupported}"},
		},
	}
}

// KmsgLogConfig is where the kernel's log is sent to.
type KmsgLogConfig struct {
	Destinations []resource.URL `yaml:"destinations" proto:"1"` // tcp or udp
}

// ResourceDefinition implements [resource.Spec].
func (KmsgLogConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "KmsgLogConfigs.runtime.talos.dev", Namespace: Namespace,
	}
}

// EventSinkConfig is where the machine's events are sent to.
type EventSinkConfig struct {
	Endpoint string `yaml:"endpoint" proto:"1"` // "host:port"
}

// ResourceDefinition implements [resource.Spec].
func (EventSinkConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "EventSinkConfigs.runtime.talos.dev", Namespace: Namespace,
	}
}

// WatchdogTimerConfig is a watchdog that should reboot the machine when it hangs.
type WatchdogTimerConfig struct {
	Device  string        `yaml:"device" proto:"1"` // such as "/dev/watchdog0"
	Timeout time.Duration `yaml:"timeout" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (WatchdogTimerConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "WatchdogTimerConfigs.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Device", JSONPath: "{.device}"},
			{Name: "Timeout", JSONPath: "{.timeout}"},
		},
	}
}

// WatchdogTimerStatus is a watchdog that runs. Its id is [WatchdogTimerID].
type WatchdogTimerStatus struct {
	Device       string        `yaml:"device" proto:"1"`
	Timeout      time.Duration `yaml:"timeout" proto:"2"`      // as the device took it
	FeedInterval time.Duration `yaml:"feedInterval" proto:"3"` // how often it is told that the machine lives
}

// ResourceDefinition implements [resource.Spec].
func (WatchdogTimerStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "WatchdogTimerStatuses.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Device", JSONPath: "{.device}"},
			{Name: "Timeout", JSONPath: "{.timeout}"},
		},
	}
}

// OOMAction is one time that the machine killed a group of processes because memory ran out.
type OOMAction struct {
	TriggerContext string   `yaml:"triggerContext" proto:"1"` // what was seen when it was decided
	Score          float64  `yaml:"score" proto:"2"`          // of the group that was killed
	Processes      []string `yaml:"processes" proto:"3"`      // "pid name" of those that were killed
}

// ResourceDefinition implements [resource.Spec].
func (OOMAction) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "OOMActions.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{
			{Name: "Time", JSONPath: "{.time}"},
			{Name: "Score", JSONPath: "{.score}"},
		},
	}
}
