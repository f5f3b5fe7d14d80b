package sysdoc

import (
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// SideroLinkConfig connects the machine to a management service through a WireGuard link that the machine opens.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: SideroLinkConfig
//	apiUrl: https://siderolink.example.com/?jointoken=0123456789
type SideroLinkConfig struct {
	// APIURL is the URL of the service, https, or grpc for one without TLS. It may have the query parameters of the
	// service, such as a join token.
	//
	// Example:
	//
	//	apiUrl: grpc://10.5.0.1:8080?jointoken=0123456789
	APIURL scalar.Endpoint `yaml:"apiUrl" required:"true" secret:"true"`
	// UniqueToken is the token by which the service tells this machine from others. A token that the machine keeps in its
	// META partition goes before it.
	UniqueToken string `yaml:"uniqueToken" secret:"true"`
}

// DocumentKind implements [schema.Document].
func (*SideroLinkConfig) DocumentKind() string { return "SideroLinkConfig" }

// Validate implements [schema.Validator]. It shows nothing of the URL: there may be a token in it.
func (c *SideroLinkConfig) Validate(r *schema.Reporter) {
	if u := c.APIURL.URL.URL; u != nil && u.Scheme == "http" {
		r.At("apiUrl").Errorf("expected an https or grpc URL such as https://siderolink.example.com/, got an http URL")
	}
}
