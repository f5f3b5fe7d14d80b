package cri

import (
	"talos.internal/resource"
	"talos.internal/resource/secrets"
)

// RegistryConfigID is the id of the only [RegistryConfig].
const RegistryConfigID = "registries"

// RegistryConfig says how registries are reached. Keys are host names, with a port if it is not the
// usual one; * is any mirror.
type RegistryConfig struct {
	Mirrors map[string]RegistryMirror `yaml:"mirrors" proto:"1"`
	Auths   map[string]RegistryAuth   `yaml:"auths" proto:"2"`
	TLS     map[string]RegistryTLS    `yaml:"tls" proto:"3"`
}

// ResourceDefinition implements [resource.Spec].
func (RegistryConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RegistryConfigs.cri.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// RegistryMirror is what is asked instead of a registry, and then the registry itself.
type RegistryMirror struct {
	Endpoints    []RegistryEndpoint `yaml:"endpoints" proto:"1"`    // tried in this order
	SkipFallback bool               `yaml:"skipFallback" proto:"3"` // never ask the registry itself
}

// RegistryEndpoint is one mirror.
type RegistryEndpoint struct {
	URL          string `yaml:"endpoint" proto:"1"`
	OverridePath bool   `yaml:"overridePath" proto:"2"` // the URL has the whole path, /v2 is not added
}

// RegistryAuth are credentials.
type RegistryAuth struct {
	Username      string `yaml:"username" proto:"1"`
	Password      string `yaml:"password" proto:"2"`
	Auth          string `yaml:"auth" proto:"3"` // base64 of "username:password", instead of these
	IdentityToken string `yaml:"identityToken" proto:"4"`
}

// RegistryTLS is how a registry's certificate is checked, and what is shown to it.
type RegistryTLS struct {
	ClientIdentity     *secrets.CertificateAndKey `yaml:"clientIdentity,omitempty" proto:"1"` // nil shows nothing
	CA                 resource.Base64            `yaml:"ca" proto:"2"`                       // in PEM, besides the usual ones
	InsecureSkipVerify bool                       `yaml:"insecureSkipVerify" proto:"3"`
}
