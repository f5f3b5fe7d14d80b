package sysdoc

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// RegistryMirrorConfig says where images of one registry are pulled from instead.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: RegistryMirrorConfig
//	name: registry.k8s.io
//	endpoints:
//	    - url: https://mirror.example.com
//	    - url: https://mirror.example.com/v2/registry.k8s.io
//	      overridePath: true
//	skipFallback: true
type RegistryMirrorConfig struct {
	// Name is the registry's host as in image references, with a port if they have one, such as docker.io; "*" stands for
	// every registry without a document of its own.
	//
	// Example:
	//
	//	name: registry.k8s.io
	Name string `yaml:"name" required:"true"`
	// Endpoints are the mirrors in the order in which they are tried.
	//
	// Example:
	//
	//	endpoints:
	//	    - url: https://mirror.example.com
	Endpoints []RegistryEndpoint `yaml:"endpoints"`
	// SkipFallback pulls from the mirrors only. Left out, the registry itself is tried after them.
	SkipFallback bool `yaml:"skipFallback"`
}

// RegistryEndpoint is one mirror.
type RegistryEndpoint struct {
	// URL is the mirror's URL, http or https.
	URL scalar.HTTPURL `yaml:"url" required:"true"`
	// OverridePath takes the URL's path as it is. Left out, "/v2" is added to it.
	OverridePath bool `yaml:"overridePath"`
}

// DocumentKind implements [schema.Document].
func (*RegistryMirrorConfig) DocumentKind() string { return "RegistryMirrorConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *RegistryMirrorConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *RegistryMirrorConfig) Validate(r *schema.Reporter) {
	checkRegistry(c.Name, true, r.At("name"))
	seen := map[string]bool{}
	for i, e := range c.Endpoints {
		at := r.At("endpoints").Item(i).At("url")
		u := e.URL.URL.URL
		if u == nil {
			continue
		}
		switch {
		case u.User != nil:
			at.Hintf("set them in a RegistryAuthConfig document", "expected a URL without user and password")
		case u.RawQuery != "" || u.Fragment != "":
			at.Errorf("expected a URL without query and fragment")
		case seen[e.URL.String()]:
			at.Errorf("the mirror %s is there twice", clip(e.URL.String()))
		}
		seen[e.URL.String()] = true
	}
}

// checkRegistry reports a name that is no registry host, nor "*" where a document may be for every registry.
func checkRegistry(name string, every bool, r *schema.Reporter) {
	if name == "*" && every || isRegistry(name) {
		return
	}
	hint := ""
	if _, rest, ok := strings.Cut(name, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		hint = "write " + clip(host)
	} else if host, _, ok := strings.Cut(name, "/"); ok && isRegistry(host) {
		hint = "write " + clip(host)
	}
	orEvery := ""
	if every {
		orEvery = ", or *"
	}
	r.Hintf(hint, "expected the host of a registry such as docker.io or registry.example.com:5000%s, got %q", orEvery, clip(name))
}

// isRegistry reports whether s is HOST or HOST:PORT.
func isRegistry(s string) bool {
	var addr scalar.Addr
	if scalar.ValidHostname(s) && !strings.HasSuffix(s, ".") || addr.UnmarshalText([]byte(s)) == nil && addr.Is4() {
		return true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		return addr.UnmarshalText([]byte(strings.TrimSuffix(inner, "]"))) == nil && addr.Is6()
	}
	var hp scalar.HostPort
	return hp.UnmarshalText([]byte(s)) == nil
}

// RegistryAuthConfig has the credentials for one registry: a user and a password, or the two joined in one key, or a
// token.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: RegistryAuthConfig
//	name: registry.example.com
//	username: reader
//	password: correct-horse
type RegistryAuthConfig struct {
	// Name is the host of the registry or mirror, with a port if its URL has one.
	Name string `yaml:"name" required:"true"`
	// Username is the user; Password goes with it.
	Username string `yaml:"username"`
	// Password is the user's password.
	Password string `yaml:"password" secret:"true"`
	// Auth is "USER:PASSWORD" in base64, as container tools keep it.
	Auth string `yaml:"auth" secret:"true"`
	// IdentityToken is an OAuth 2.0 refresh token.
	IdentityToken string `yaml:"identityToken" secret:"true"`
}

// DocumentKind implements [schema.Document].
func (*RegistryAuthConfig) DocumentKind() string { return "RegistryAuthConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *RegistryAuthConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *RegistryAuthConfig) Validate(r *schema.Reporter) {
	checkRegistry(c.Name, false, r.At("name"))
	var ways []string
	if c.Username != "" || c.Password != "" {
		ways = append(ways, "username with password")
	}
	if c.Auth != "" {
		ways = append(ways, "auth")
	}
	if c.IdentityToken != "" {
		ways = append(ways, "identityToken")
	}
	switch {
	case len(ways) != 1:
		got := "none"
		if len(ways) > 1 {
			got = strings.Join(ways, " and ")
		}
		r.Errorf("expected exactly one of username with password, auth, or identityToken, got %s", got)
	case c.Auth != "":
		b, err := base64.StdEncoding.DecodeString(c.Auth)
		if err != nil || !strings.Contains(string(b), ":") {
			r.At("auth").Errorf("expected USER:PASSWORD in base64")
		}
	case c.IdentityToken == "" && c.Username == "":
		r.At("username").Errorf("the key %q is required with password", "username")
	case c.IdentityToken == "" && c.Password == "":
		r.At("password").Errorf("the key %q is required with username", "password")
	}
}

// RegistryTLSConfig says how the TLS connection to one registry is made.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: RegistryTLSConfig
//	name: registry.example.com:5000
//	insecureSkipVerify: true
type RegistryTLSConfig struct {
	// Name is the host of the registry or mirror, with a port if its URL has one.
	Name string `yaml:"name" required:"true"`
	// ClientIdentity is the certificate by which this machine proves itself to the registry. Left out, there is none.
	ClientIdentity *ClientIdentity `yaml:"clientIdentity"`
	// CA is the authority of the registry's certificate in PEM, accepted besides the well-known ones.
	CA scalar.CertPEM `yaml:"ca"`
	// InsecureSkipVerify accepts any certificate. Whoever is on the way can then change images.
	InsecureSkipVerify bool `yaml:"insecureSkipVerify"`
}

// ClientIdentity is a client certificate and its key.
type ClientIdentity struct {
	// Cert is the certificate in PEM.
	Cert scalar.CertPEM `yaml:"cert" required:"true"`
	// Key is the private key in PEM that belongs to it.
	Key scalar.KeyPEM `yaml:"key" required:"true" secret:"true"`
}

// DocumentKind implements [schema.Document].
func (*RegistryTLSConfig) DocumentKind() string { return "RegistryTLSConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *RegistryTLSConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *RegistryTLSConfig) Validate(r *schema.Reporter) {
	checkRegistry(c.Name, false, r.At("name"))
	if c.CA != "" && c.InsecureSkipVerify {
		r.At("insecureSkipVerify").Warnf("take one of them out", "with insecureSkipVerify the key ca has no effect")
	}
	if c.CA == "" && !c.InsecureSkipVerify && c.ClientIdentity == nil {
		r.Errorf("expected one of clientIdentity, ca, insecureSkipVerify")
	}
}

// Validate implements [schema.Validator].
func (c *ClientIdentity) Validate(r *schema.Reporter) {
	certs, err := c.Cert.Certificates()
	if err != nil || len(certs) == 0 {
		r.At("cert").Errorf("expected %s", c.Cert.Expects())
		return
	}
	if !ownsKey(certs[0], string(c.Key)) {
		r.At("key").Hintf("take both from the same identity", "the key does not belong to the certificate")
	}
}

// ownsKey reports whether the private key in PEM text is that of cert.
func ownsKey(cert *x509.Certificate, text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	var keys []any
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		keys = append(keys, k)
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		keys = append(keys, k)
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		keys = append(keys, k)
	}
	public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && slices.ContainsFunc(keys, func(k any) bool {
		s, ok := k.(crypto.Signer)
		return ok && public.Equal(s.Public())
	})
}
