package netdoc

import (
	"time"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

const (
	defaultProbeInterval = time.Second
	defaultProbeTimeout  = 10 * time.Second
)

// CommonProbe is what all probes have in common.
type CommonProbe struct {
	// Name is the name of the probe.
	Name string `yaml:"name" required:"true"`
	// Interval is the time between attempts; more than 0s. Default: 1s.
	Interval *scalar.Duration `yaml:"interval"`
	// FailureThreshold is how many attempts in a row may fail before the probe counts as failed. Default: 0, the first
	// failure counts.
	FailureThreshold uint32 `yaml:"failureThreshold"`
	// Timeout is the time after which an attempt counts as failed; more than 0s. Default: 10s.
	Timeout *scalar.Duration `yaml:"timeout"`
}

// IntervalOrDefault returns the time between attempts.
func (c *CommonProbe) IntervalOrDefault() time.Duration {
	return orDefault(c.Interval, scalar.Duration{Duration: defaultProbeInterval}).Duration
}

// TimeoutOrDefault returns the time after which an attempt counts as failed.
func (c *CommonProbe) TimeoutOrDefault() time.Duration {
	return orDefault(c.Timeout, scalar.Duration{Duration: defaultProbeTimeout}).Duration
}

func (c *CommonProbe) Validate(r *schema.Reporter) {
	checkName(r.At("name"), c.Name)
	checkPositive(r.At("interval"), c.IntervalOrDefault())
	checkPositive(r.At("timeout"), c.TimeoutOrDefault())
}

// DocumentName implements [schema.NamedDocument].
func (c *CommonProbe) DocumentName() string { return c.Name }

func checkPositive(r *schema.Reporter, d time.Duration) {
	if d <= 0 {
		r.Errorf("expected a duration of more than 0s, got %v", d)
	}
}

// TCPProbeConfig tries to connect to an endpoint again and again. The machine counts as connected to the network only
// while all its probes succeed.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: TCPProbeConfig
//	name: proxy
//	endpoint: proxy.lab.example:3128
type TCPProbeConfig struct {
	CommonProbe `yaml:",inline"`
	// Endpoint is the host name or address, and the port, to connect to.
	Endpoint scalar.HostPort `yaml:"endpoint" required:"true"`
}

func (*TCPProbeConfig) DocumentKind() string { return "TCPProbeConfig" }

// HTTPProbeConfig asks for a URL again and again; an answer with a status below 400 is a success. The machine counts as
// connected to the network only while all its probes succeed.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: HTTPProbeConfig
//	name: registry
//	url: https://registry.lab.example/v2/
type HTTPProbeConfig struct {
	CommonProbe `yaml:",inline"`
	// URL is what is asked for, by http or https.
	URL scalar.HTTPURL `yaml:"url" required:"true"`
}

func (*HTTPProbeConfig) DocumentKind() string { return "HTTPProbeConfig" }
