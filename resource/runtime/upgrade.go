package runtime

import (
	"time"

	"talos.internal/resource"
)

// UpgradeStatusID is the id of the only UpgradeStatus.
const UpgradeStatusID = "upgrade"

// UpgradeStatus says what came of the last upgrade or rollback, or how it goes on. Without one there was none. The type is ours.
type UpgradeStatus struct {
	Phase   UpgradePhase `yaml:"phase"`
	Running string       `yaml:"running"` // the slot that runs: A or B
	From    string       `yaml:"from"`    // version that ran before
	To      string       `yaml:"to"`      // version that is or was tried
	Image   string       `yaml:"image"`   // of the installer; empty for a rollback
	// Reason says why it failed, or what it waits for.
	Reason  string    `yaml:"reason"`
	Started time.Time `yaml:"started"`
	// Deadline is by when the running system has to prove itself, of the phase trial; zero otherwise.
	Deadline time.Time `yaml:"deadline"`
	ID       string    `yaml:"id"` // of the call that asked for it, by which its events are found
}

// ResourceDefinition implements [resource.Spec].
func (UpgradeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "UpgradeStatuses.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Phase", JSONPath: "{.phase}"}, {Name: "From", JSONPath: "{.from}"}, {Name: "To", JSONPath: "{.to}"}, {Name: "Reason", JSONPath: "{.reason}"},
		},
	}
}

// UpgradePhase is how far an upgrade is.
type UpgradePhase string

// The phases.
const (
	UpgradePrepared  UpgradePhase = "prepared"  // it is on the disk, and tried at the next start
	UpgradeTrial     UpgradePhase = "trial"     // it runs, and has to prove itself
	UpgradePermanent UpgradePhase = "permanent" // it has proved itself
	UpgradeFailed    UpgradePhase = "failed"    // it has not; the system from before runs, or is about to
)
