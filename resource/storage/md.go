package storage

import (
	"talos.internal/resource"
	"talos.internal/resource/block"
)

// MDRefreshRequestID is the id of the only [MDRefreshRequest].
const MDRefreshRequestID = "refresh"

// MDArraySpec is an array that should be there. Its id is the name.
type MDArraySpec struct {
	Level          MDLevel          `yaml:"level" proto:"1"`
	VolumeSelector block.Expression `yaml:"volumeSelector" proto:"2"` // which volumes it is made of
	Metadata       MDMetadata       `yaml:"metadata" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (MDArraySpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MDArraySpecs.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Level", JSONPath: "{.level}"}},
	}
}

// MDLevel is a RAID level.
type MDLevel int32

// The values of MDLevel.
const (
	MDRAID1 MDLevel = 0
)

var mdLevelNames = resource.NamesOf(map[MDLevel]string{
	MDRAID1: "raid1",
})

// String returns the name of m.
func (m MDLevel) String() string { return mdLevelNames.Text(m) }

// MarshalText implements [encoding.TextMarshaler].
func (m MDLevel) MarshalText() ([]byte, error) { return []byte(mdLevelNames.Text(m)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MDLevel) UnmarshalText(text []byte) error { return mdLevelNames.Set(m, string(text)) }

// MDMetadata is the version of an array's superblock (md(4)).
type MDMetadata int32

// The values of MDMetadata.
const (
	MDMetadata10 MDMetadata = 0
	MDMetadata12 MDMetadata = 1
)

var mdMetadataNames = resource.NamesOf(map[MDMetadata]string{
	MDMetadata10: "1.0",
	MDMetadata12: "1.2",
})

// String returns the name of m.
func (m MDMetadata) String() string { return mdMetadataNames.Text(m) }

// MarshalText implements [encoding.TextMarshaler].
func (m MDMetadata) MarshalText() ([]byte, error) { return []byte(mdMetadataNames.Text(m)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MDMetadata) UnmarshalText(text []byte) error { return mdMetadataNames.Set(m, string(text)) }

// MDArrayStatus is an array of the kernel. Its id is the name.
type MDArrayStatus struct {
	Level       MDLevel      `yaml:"level" proto:"1"`
	Device      string       `yaml:"device" proto:"2"`
	Members     []string     `yaml:"members" proto:"3"` // devices
	Error       string       `yaml:"error" proto:"4"`
	Status      MDArrayPhase `yaml:"status" proto:"5"`
	RAIDDevices int64        `yaml:"raidDevices" proto:"6"` // how many it should have
	UUID        string       `yaml:"uuid" proto:"7"`
	Name        string       `yaml:"name" proto:"8"`
	Metadata    string       `yaml:"metadata" proto:"9"`
	ArrayState  string       `yaml:"arrayState" proto:"10"` // as the kernel names it
	SyncAction  string       `yaml:"syncAction" proto:"11"` // as the kernel names it
}

// ResourceDefinition implements [resource.Spec].
func (MDArrayStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MDArrayStatuses.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Level", JSONPath: "{.level}"},
			{Name: "Status", JSONPath: "{.status}"},
			{Name: "Sync", JSONPath: "{.syncAction}"},
			{Name: "Device", JSONPath: "{.device}"},
		},
	}
}

// MDArrayPhase is how far an array is.
type MDArrayPhase int32

// The values of MDArrayPhase.
const (
	MDArrayUnknown    MDArrayPhase = 0
	MDArrayWaiting    MDArrayPhase = 1
	MDArrayRebuilding MDArrayPhase = 2
	MDArrayReady      MDArrayPhase = 3
	MDArrayError      MDArrayPhase = 4
)

var mdArrayPhaseNames = resource.NamesOf(map[MDArrayPhase]string{
	MDArrayUnknown:    "unknown",
	MDArrayWaiting:    "waiting",
	MDArrayRebuilding: "rebuilding",
	MDArrayReady:      "ready",
	MDArrayError:      "error",
})

// String returns the name of m.
func (m MDArrayPhase) String() string { return mdArrayPhaseNames.Text(m) }

// MarshalText implements [encoding.TextMarshaler].
func (m MDArrayPhase) MarshalText() ([]byte, error) { return []byte(mdArrayPhaseNames.Text(m)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *MDArrayPhase) UnmarshalText(text []byte) error {
	return mdArrayPhaseNames.Set(m, string(text))
}

// MDRefreshRequest asks for arrays to be read again.
type MDRefreshRequest struct {
	Request int64 `yaml:"request" proto:"1"` // a new number is a new request
}

// ResourceDefinition implements [resource.Spec].
func (MDRefreshRequest) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "MDRefreshRequests.storage.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Request", JSONPath: "{.request}"}},
	}
}
