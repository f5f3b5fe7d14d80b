package sysdoc

import (
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// EventSinkConfig sends the machine's events to a service over gRPC.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: EventSinkConfig
//	endpoint: 10.5.0.1:4000
type EventSinkConfig struct {
	// Endpoint is the service's host and port.
	//
	// Example:
	//
	//	endpoint: 10.5.0.1:4000
	Endpoint scalar.HostPort `yaml:"endpoint" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*EventSinkConfig) DocumentKind() string { return "EventSinkConfig" }

// KmsgLogConfig sends the kernel's log to a receiver, as one JSON object a line. There may be several receivers.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KmsgLogConfig
//	name: remote
//	url: tcp://10.5.0.1:5000
type KmsgLogConfig struct {
	// Name tells the receivers apart.
	Name string `yaml:"name" required:"true"`
	// URL is the receiver's, tcp or udp, with a port.
	//
	// Example:
	//
	//	url: udp://10.5.0.1:5000
	URL scalar.StreamURL `yaml:"url" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*KmsgLogConfig) DocumentKind() string { return "KmsgLogConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KmsgLogConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *KmsgLogConfig) Validate(r *schema.Reporter) {
	checkName(c.Name, "remote", r.At("name"))
}
