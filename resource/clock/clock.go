package clock

import (
	"time"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	TimeStatusID    = "node" // TimeStatus
	NTPStatusID     = "node" // NTPStatus
	AdjtimeStatusID = "node" // AdjtimeStatus
)

// TimeStatus says whether the clock can be believed. What checks or makes certificates waits for it.
type TimeStatus struct {
	Synced bool `yaml:"synced" proto:"1"` // it was set, or does not have to be
	// Epoch: how often the time jumped, for who has to do things again then
	Epoch        int64 `yaml:"epoch" proto:"2"`
	SyncDisabled bool  `yaml:"syncDisabled" proto:"3"` // nobody sets the clock
}

// ResourceDefinition implements [resource.Spec].
func (TimeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "TimeStatuses.v1alpha1.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Synced", JSONPath: "{.synced}"}},
	}
}

// NTPStatus says what the filter against wrong answers of time servers does.
type NTPStatus struct {
	SpikeDetected     bool  `yaml:"spikeDetected" proto:"1"` // the last answer was ignored
	ConsecutiveSpikes int64 `yaml:"consecutiveSpikes" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (NTPStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NTPStatuses.v1alpha1.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Spike Detected", JSONPath: "{.spikeDetected}"},
			{Name: "Consecutive Spikes", JSONPath: "{.consecutiveSpikes}"},
		},
	}
}

// AdjtimeStatus is the state of the kernel's clock (adjtimex(2)).
type AdjtimeStatus struct {
	Offset                   time.Duration `yaml:"offset" proto:"1"`
	FrequencyAdjustmentRatio float64       `yaml:"frequencyAdjustmentRatio" proto:"2"` // 1 is the clock's own speed
	MaxError                 time.Duration `yaml:"maxError" proto:"3"`
	EstError                 time.Duration `yaml:"estError" proto:"4"`
	Status                   string        `yaml:"status" proto:"5"`     // the bits, by name
	Constant                 int64         `yaml:"constant" proto:"6"`   // of the phase-locked loop
	SyncStatus               bool          `yaml:"syncStatus" proto:"7"` // the kernel takes the clock for synchronised
	State                    string        `yaml:"state" proto:"8"`      // such as "TIME_OK"
}

// ResourceDefinition implements [resource.Spec].
func (AdjtimeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "AdjtimeStatuses.v1alpha1.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Offset", JSONPath: "{.offset}"},
			{Name: "EstError", JSONPath: "{.estError}"},
			{Name: "MaxError", JSONPath: "{.maxError}"},
			{Name: "Status", JSONPath: "{.status}"},
			{Name: "Sync", JSONPath: "{.syncStatus}"},
		},
	}
}
