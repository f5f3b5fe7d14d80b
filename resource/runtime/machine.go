package runtime

import (
	"net/netip"

	"talos.internal/resource"
)

// Ids of resources of which there is one.
const (
	MachineStatusID           = "machine"              // MachineStatus
	MachineResetSignalID      = "machine"              // MachineResetSignal
	RebootRequestID           = "reboot-request"       // RebootRequest
	MaintenanceServiceID      = "maintenance"          // MaintenanceServiceConfig
	APIServiceConfigID        = "apid"                 // APIServiceConfig
	UnattendedInstallStatusID = "unattended-install"   // UnattendedInstallStatus
	UniqueMachineTokenID      = "unique-machine-token" // UniqueMachineToken
)

// MachineStatus says where the machine is in its life and whether it does what it should.
type MachineStatus struct {
	Stage  MachineStage `yaml:"stage" proto:"1"`
	Status Readiness    `yaml:"status" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (MachineStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MachineStatuses.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Stage", JSONPath: "{.stage}"},
			{Name: "Ready", JSONPath: "{.status.ready}"},
		},
	}
}

// Readiness says whether everything that should run does.
type Readiness struct {
	Ready bool `yaml:"ready" proto:"1"`
	// UnmetConditions: what keeps it from being ready, sorted by name; empty if it is
	UnmetConditions []UnmetCondition `yaml:"unmetConditions" proto:"2"`
}

// UnmetCondition is one reason why the machine is not ready.
type UnmetCondition struct {
	Name   string `yaml:"name" proto:"1"`   // such as "services" or "staticPods"
	Reason string `yaml:"reason" proto:"2"` // for a person
}

// MachineStage is where a machine is in its life.
type MachineStage int32

// The values of MachineStage.
const (
	StageUnknown      MachineStage = 0
	StageBooting      MachineStage = 1
	StageInstalling   MachineStage = 2
	StageMaintenance  MachineStage = 3 // it waits for a config
	StageRunning      MachineStage = 4
	StageRebooting    MachineStage = 5
	StageShuttingDown MachineStage = 6
	StageResetting    MachineStage = 7
	StageUpgrading    MachineStage = 8
)

var machineStageNames = resource.NamesOf(map[MachineStage]string{
	StageUnknown:      "unknown",
	StageBooting:      "booting",
	StageInstalling:   "installing",
	StageMaintenance:  "maintenance",
	StageRunning:      "running",
	StageRebooting:    "rebooting",
	StageShuttingDown: "shutting down",
	StageResetting:    "resetting",
	StageUpgrading:    "upgrading",
})

// String returns the name of m.
func (m MachineStage) String() string { return machineStageNames.Text(m) }

// MarshalText implements [encoding.TextMarshaler].
func (m MachineStage) MarshalText() ([]byte, error) { return []byte(machineStageNames.Text(m)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MachineStage) UnmarshalText(text []byte) error {
	return machineStageNames.Set(m, string(text))
}

// MachineResetSignal says that the machine is being reset, so that it leaves what it is a member of.
type MachineResetSignal struct{}

// ResourceDefinition implements [resource.Spec].
func (MachineResetSignal) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MachineResetSignals.runtime.talos.dev", Namespace: Namespace,
	}
}

// RebootRequest asks for a reboot.
type RebootRequest struct{}

// ResourceDefinition implements [resource.Spec].
func (RebootRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RebootRequests.runtime.talos.dev", Namespace: Namespace,
	}
}

// MaintenanceServiceConfig is where the API of a machine without a config listens.
type MaintenanceServiceConfig struct {
	ListenAddress      string       `yaml:"listenAddress" proto:"1"`      // "address:port"
	ReachableAddresses []netip.Addr `yaml:"reachableAddresses" proto:"2"` // what a person may be told to connect to
}

// ResourceDefinition implements [resource.Spec].
func (MaintenanceServiceConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MaintenanceServiceConfigs.runtime.talos.dev", Namespace: Namespace,
	}
}

// MaintenanceServiceRequest asks for the API of a machine without a config to run. Its id is
// [MaintenanceServiceID].
type MaintenanceServiceRequest struct{}

// ResourceDefinition implements [resource.Spec].
func (MaintenanceServiceRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MaintenanceServiceRequests.runtime.talos.dev", Namespace: Namespace,
	}
}

// APIServiceConfig is how the API of the machine is served.
type APIServiceConfig struct {
	ListenAddress       string `yaml:"listenAddress" proto:"1"`       // "address:port"
	NodeRoutingDisabled bool   `yaml:"nodeRoutingDisabled" proto:"2"` // calls for other machines are refused
	ReadonlyRoleMode    bool   `yaml:"readonlyRoleMode" proto:"3"`    // every caller has the role of a reader
	// SkipVerifyingClientCert: callers need no certificate: the machine has no config yet
	SkipVerifyingClientCert bool `yaml:"skipVerifyingClientCert" proto:"4"`
}

// ResourceDefinition implements [resource.Spec].
func (APIServiceConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "APIServiceConfigs.runtime.talos.dev", Namespace: Namespace,
	}
}

// UnattendedInstallStatus is how far an installation is which the machine config asked for.
type UnattendedInstallStatus struct {
	Image string       `yaml:"image" proto:"1"` // of the installer
	Phase InstallPhase `yaml:"phase" proto:"2"`
	Error string       `yaml:"error" proto:"3"` // of the phase failed
}

// ResourceDefinition implements [resource.Spec].
func (UnattendedInstallStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "UnattendedInstallStatuses.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Phase", JSONPath: "{.phase}"}},
	}
}

// InstallPhase is a step of an installation.
type InstallPhase int32

// The values of InstallPhase.
const (
	InstallPending          InstallPhase = 0
	InstallInstalling       InstallPhase = 1
	InstallInstalled        InstallPhase = 2
	InstallWaitingForReboot InstallPhase = 3
	InstallFailed           InstallPhase = 4
)

var installPhaseNames = resource.NamesOf(map[InstallPhase]string{
	InstallPending:          "pending",
	InstallInstalling:       "installing",
	InstallInstalled:        "installed",
	InstallWaitingForReboot: "waitingForReboot",
	InstallFailed:           "failed",
})

// String returns the name of i.
func (i InstallPhase) String() string { return installPhaseNames.Text(i) }

// MarshalText implements [encoding.TextMarshaler].
func (i InstallPhase) MarshalText() ([]byte, error) { return []byte(installPhaseNames.Text(i)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *InstallPhase) UnmarshalText(text []byte) error {
	return installPhaseNames.Set(i, string(text))
}

// UniqueMachineToken is what the machine shows to a management plane which it joins by itself.
type UniqueMachineToken struct {
	Token string `yaml:"token" proto:"1"` // empty if it has none
}

// ResourceDefinition implements [resource.Spec].
func (UniqueMachineToken) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "UniqueMachineTokens.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Token", JSONPath: "{.token}"}},
	}
}

// Diagnostic is a problem that the machine found and a person should solve. Its id names the kind of
// problem.
type Diagnostic struct {
	Message string   `yaml:"message" proto:"1"` // one line
	Details []string `yaml:"details" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (Diagnostic) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Diagnostics.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Message", JSONPath: "{.message}"}},
	}
}
