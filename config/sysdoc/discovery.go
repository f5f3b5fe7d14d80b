package sysdoc

import (
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// identityBytes is the length of a cluster's identity and of its secret.
const identityBytes = 32

// DiscoveryIdentityConfig is the identity under which the machines of a cluster find each other. It is the same on all
// of them.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: DiscoveryIdentityConfig
//	clusterID: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
//	clusterSecret: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=
type DiscoveryIdentityConfig struct {
	// ClusterID names the cluster to the discovery service: 32 random bytes in base64. It is no secret.
	ClusterID scalar.Base64 `yaml:"clusterID" required:"true"`
	// ClusterSecret is the key that encrypts what the machines tell each other: 32 random bytes in base64. It never leaves
	// them.
	ClusterSecret scalar.Base64 `yaml:"clusterSecret" required:"true" secret:"true"`
}

// DocumentKind implements [schema.Document].
func (*DiscoveryIdentityConfig) DocumentKind() string { return "DiscoveryIdentityConfig" }

// Validate implements [schema.Validator].
func (c *DiscoveryIdentityConfig) Validate(r *schema.Reporter) {
	if n := len(c.ClusterID); n != identityBytes {
		r.At("clusterID").Errorf("expected %d bytes in base64, got %d", identityBytes, n)
	}
	if n := len(c.ClusterSecret); n != identityBytes {
		r.At("clusterSecret").Errorf("expected %d bytes in base64, got %d", identityBytes, n)
	}
}

// DiscoveryServiceConfig names a discovery service, through which the machines of a cluster find each other. There may
// be several.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: DiscoveryServiceConfig
//	name: default
//	endpoint: https://discovery.talos.dev/
type DiscoveryServiceConfig struct {
	// Name tells the services apart.
	Name string `yaml:"name" required:"true"`
	// Endpoint is the service's URL: https, or http and grpc for one without TLS.
	//
	// Example:
	//
	//	endpoint: https://discovery.talos.dev/
	Endpoint scalar.Endpoint `yaml:"endpoint" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*DiscoveryServiceConfig) DocumentKind() string { return "DiscoveryServiceConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *DiscoveryServiceConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *DiscoveryServiceConfig) Validate(r *schema.Reporter) {
	checkName(c.Name, "default", r.At("name"))
}

// checkName reports a name that is empty or has white space or slashes.
func checkName(name, example string, r *schema.Reporter) {
	if name == "" || strings.ContainsAny(name, "/\\ \t\r\n\x00") {
		r.Errorf("expected a name without slashes and white space such as %s, got %q", example, clip(name))
	}
}

// checkDiscovery wants an identity where there is a service.
func checkDiscovery(c *schema.Check) {
	if _, ok := schema.Find[*DiscoveryIdentityConfig](c.Set); ok {
		return
	}
	schema.Each(c, func(_ *DiscoveryServiceConfig, r *schema.Reporter) {
		r.Hintf("add a DiscoveryIdentityConfig document", "discovery needs the cluster's identity")
	})
}
