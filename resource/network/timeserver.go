package network

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	TimeServerSpecID   = "timeservers" // TimeServerSpec
	TimeServerStatusID = "timeservers" // TimeServerStatus
)

// TimeServerSpec are time servers that the node should use; it takes the layer before its id if it is
// not merged.
type TimeServerSpec struct {
	// Servers: names or addresses for NTP, or paths of PTP devices
	Servers []string    `yaml:"timeServers" proto:"1"`
	UseNTS  bool        `yaml:"useNTS" proto:"3"` // authenticate them (Network Time Security, RFC 8915)
	Layer   ConfigLayer `yaml:"layer" proto:"2"`  // where the wish is from
}

// ResourceDefinition implements [resource.Spec].
func (TimeServerSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "TimeServerSpecs.net.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Timeservers", JSONPath: "{.timeServers}"},
			{Name: "UseNTS", JSONPath: "{.useNTS}"},
		},
	}
}

// TimeServerStatus are the time servers that the node uses.
type TimeServerStatus struct {
	// Servers: names or addresses for NTP, or paths of PTP devices
	Servers []string `yaml:"timeServers" proto:"1"`
	UseNTS  bool     `yaml:"useNTS" proto:"2"` // authenticate them (Network Time Security, RFC 8915)
}

// ResourceDefinition implements [resource.Spec].
func (TimeServerStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "TimeServerStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"timeserver", "timeservers"},
		Columns: []resource.Column{
			{Name: "Timeservers", JSONPath: "{.timeServers}"},
			{Name: "UseNTS", JSONPath: "{.useNTS}"},
		},
	}
}
