package network

import (
	"time"

	"talos.internal/resource"
)

// StatusID is the id of the only [Status].
const StatusID = "status"

// ProbeSpec is a test that the network is there, done again and again. One of TCP and HTTP is set.
type ProbeSpec struct {
	Interval time.Duration `yaml:"interval" proto:"1"` // between two tests
	// FailureThreshold: failures in a row until the status says so; 0 is the first
	FailureThreshold int64       `yaml:"failureThreshold" proto:"2"`
	TCP              *TCPProbe   `yaml:"tcp,omitempty" proto:"3"`
	Layer            ConfigLayer `yaml:"layer" proto:"4"` // where the wish is from
	HTTP             *HTTPProbe  `yaml:"http,omitempty" proto:"5"`
}

// ResourceDefinition implements [resource.Spec].
func (ProbeSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ProbeSpecs.net.talos.dev", Namespace: Namespace,
	}
}

// TCPProbe is a connection that has to be accepted.
type TCPProbe struct {
	Endpoint string        `yaml:"endpoint" proto:"1"` // "host:port"
	Timeout  time.Duration `yaml:"timeout" proto:"2"`
}

// HTTPProbe is a request that has to be answered without an error.
type HTTPProbe struct {
	URL     resource.URL  `yaml:"url" proto:"1"`
	Timeout time.Duration `yaml:"timeout" proto:"2"`
}

// ProbeStatus is the outcome of a [ProbeSpec] with the same id.
type ProbeStatus struct {
	Success   bool   `yaml:"success" proto:"1"`
	LastError string `yaml:"lastError" proto:"2"` // empty after a success
}

// ResourceDefinition implements [resource.Spec].
func (ProbeStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ProbeStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"probe", "probes"},
		Columns: []resource.Column{{Name: "Success", JSONPath: "{.success}"}},
	}
}

// Status says what of the network is ready. What needs the network waits for the parts that it needs.
type Status struct {
	AddressReady bool `yaml:"addressReady" proto:"1"` // there is an address that others can reach
	// ConnectivityReady: every probe succeeds, or a default route is there
	ConnectivityReady bool `yaml:"connectivityReady" proto:"2"`
	HostnameReady     bool `yaml:"hostnameReady" proto:"3"`
	EtcFilesReady     bool `yaml:"etcFilesReady" proto:"4"` // /etc/hosts and /etc/resolv.conf are written
}

// ResourceDefinition implements [resource.Spec].
func (Status) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "NetworkStatuses.net.talos.dev", Namespace: Namespace,
		Aliases: []string{"netstatus", "netstatuses"},
		Columns: []resource.Column{
			{Name: "Address", JSONPath: "{.addressReady}"},
			{Name: "Connectivity", JSONPath: "{.connectivityReady}"},
			{Name: "Hostname", JSONPath: "{.hostnameReady}"},
			{Name: "Etc", JSONPath: "{.etcFilesReady}"},
		},
	}
}
