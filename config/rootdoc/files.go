package rootdoc

import (
	"regexp"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// File is a file that is written when the machine starts.
type File struct {
	// Content is the text.
	Content string `yaml:"content"`
	// Permissions are the file's mode, in octal digits.
	//
	// Example:
	//
	//	permissions: 0o644
	Permissions FileMode `yaml:"permissions"`
	// Path is where the file is.
	Path string `yaml:"path" required:"true"`
	// Op is what happens: create makes a file below /var, append adds to a file that is there, overwrite replaces it.
	Op string `yaml:"op" enum:"create|append|overwrite"`
}

// CRIParts is the directory of containerd's config parts, the one place outside of /var where create is accepted: old
// configs customize containerd so, and CRICustomizationConfig succeeds it.
const CRIParts = "/etc/cri/conf.d"

// Validate implements [schema.Validator].
func (f *File) Validate(r *schema.Reporter) {
	switch {
	case !strings.HasPrefix(f.Path, "/"):
		r.At("path").Errorf("expected an absolute path, got %q", f.Path)
	case f.Op == "":
		r.Errorf("the key \"op\" is required: create, append or overwrite")
	case f.Op == "create" && !below(f.Path, "/var") && !below(f.Path, CRIParts):
		r.At("path").Hintf("for a file below /etc write an EtcFileConfig", "create makes files below /var only, got %q", f.Path)
	}
	if f.Permissions.Mode > 0o7777 {
		r.At("permissions").Errorf("expected a mode from 0o000 to 0o7777, got %#o", f.Permissions.Mode)
	}
}

// Registries configures mirrors of image registries and access to them.
type Registries struct {
	// Mirrors are the mirrors by the registry's host, or "*" for all others.
	//
	// Example:
	//
	//	mirrors:
	//	    docker.io:
	//	        endpoints:
	//	            - https://mirror.example.com
	Mirrors map[string]Mirror `yaml:"mirrors" deprecated:"RegistryMirrorConfig"`
	// Config is how a registry is reached, by its host.
	//
	// Example:
	//
	//	config:
	//	    registry.example.com:
	//	        tls:
	//	            insecureSkipVerify: true
	Config map[string]Registry `yaml:"config" deprecated:"RegistryTLSConfig and RegistryAuthConfig"`
}

// Mirror are the mirrors of one registry.
type Mirror struct {
	// Endpoints are the mirrors' URLs in the order in which they are tried.
	Endpoints []scalar.HTTPURL `yaml:"endpoints"`
	// OverridePath takes the path of an endpoint as it is, without adding /v2. Default: false.
	OverridePath *bool `yaml:"overridePath"`
	// SkipFallback does not try the registry itself when all mirrors fail. Default: false.
	SkipFallback *bool `yaml:"skipFallback"`
}

// Registry is how one registry is reached.
type Registry struct {
	// TLS configures the encrypted connection.
	TLS *RegistryTLS `yaml:"tls" deprecated:"RegistryTLSConfig"`
	// Auth is what the registry is asked with.
	Auth *RegistryAuth `yaml:"auth" deprecated:"RegistryAuthConfig"`
}

// RegistryTLS configures an encrypted connection.
type RegistryTLS struct {
	// ClientIdentity is the certificate and key that the machine shows.
	ClientIdentity *CertAndKey `yaml:"clientIdentity"`
	// CA is the authority of the registry's certificate: PEM blocks encoded in base64.
	CA scalar.EncodedCert `yaml:"ca"`
	// InsecureSkipVerify takes any certificate. Default: false.
	InsecureSkipVerify *bool `yaml:"insecureSkipVerify"`
}

// RegistryAuth is what a registry is asked with: name and password, or one of the others.
type RegistryAuth struct {
	// Username is the account's name.
	Username string `yaml:"username"`
	// Password is its password.
	Password string `yaml:"password" secret:"true"`
	// Auth is name and password with a colon between them, in base64.
	Auth string `yaml:"auth" secret:"true"`
	// IdentityToken is a token that stands for the account.
	IdentityToken string `yaml:"identityToken" secret:"true"`
}

// Validate implements [schema.Validator].
func (g *Registries) Validate(r *schema.Reporter) {
	for _, host := range sorted(g.Mirrors) {
		if host != "*" {
			checkRegistryHost(r.At("mirrors").At(host), host)
		}
	}
	for _, host := range sorted(g.Config) {
		if host != "*" {
			checkRegistryHost(r.At("config").At(host), host)
		}
	}
}

// checkRegistryHost reports a registry that is not written as it stands in images: host and port.
func checkRegistryHost(r *schema.Reporter, host string) {
	name := host
	if h, port, found := cutPort(host); found && port != "" {
		name = h
	}
	if !scalar.ValidHostname(name) && !validIP(strings.Trim(name, "[]")) {
		hint := ""
		if strings.Contains(host, "/") {
			hint = "leave scheme and path out"
		}
		r.Hintf(hint, "expected a registry such as docker.io or 10.5.0.1:5000, got %q", host)
	}
}

var portSuffix = regexp.MustCompile(`^(.*):([0-9]{1,5})$`)

func cutPort(host string) (name, port string, found bool) {
	m := portSuffix.FindStringSubmatch(host)
	if m == nil {
		return host, "", false
	}
	return m[1], m[2], true
}

// Validate implements [schema.Validator].
func (a *RegistryAuth) Validate(r *schema.Reporter) {
	if (a.Username == "") != (a.Password == "") {
		r.Errorf("username and password go together")
	}
}

// Time configures how the clock is set.
type Time struct {
	// Disabled turns it off. Default: false.
	Disabled *bool `yaml:"disabled"`
	// Servers are NTP servers, or PTP devices such as /dev/ptp0. Default: time.cloudflare.com.
	Servers []string `yaml:"servers"`
	// BootTimeout is how long services wait for the clock. Default: until it is set.
	BootTimeout scalar.Duration `yaml:"bootTimeout"`
}

// Validate implements [schema.Validator].
func (t *Time) Validate(r *schema.Reporter) {
	devices := 0
	for i, s := range t.Servers {
		if strings.HasPrefix(s, "/dev/") {
			devices++
		} else if !scalar.ValidHostname(s) && !validIP(s) {
			r.At("servers").Item(i).Errorf("expected a host such as time.cloudflare.com or a device such as /dev/ptp0, got %q", s)
		}
	}
	if devices > 0 && devices < len(t.Servers) {
		r.At("servers").Hintf("keep one kind", "NTP servers and PTP devices exclude each other")
	}
	if t.BootTimeout.Duration < 0 {
		r.At("bootTimeout").Errorf("expected a duration of zero or more, got %s", t.BootTimeout)
	}
}

// Udev configures device events.
type Udev struct {
	// Rules are rules of udev, each one line.
	//
	// Example:
	//
	//	rules:
	//	    - SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="44", MODE="0660"
	Rules []string `yaml:"rules"`
}

// Kernel configures the kernel's modules.
type Kernel struct {
	// Modules are modules that are loaded.
	//
	// Example:
	//
	//	modules:
	//	    - name: br_netfilter
	Modules []KernelModule `yaml:"modules" merge:"key=name"`
}

// KernelModule is a module that is loaded.
type KernelModule struct {
	// Name is the module's name.
	Name string `yaml:"name" required:"true"`
	// Parameters are its parameters, such as nbds_max=16.
	Parameters []string `yaml:"parameters"`
}

var moduleName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Validate implements [schema.Validator].
func (m *KernelModule) Validate(r *schema.Reporter) {
	if !moduleName.MatchString(m.Name) {
		r.At("name").Errorf("expected a module's name such as br_netfilter, got %q", m.Name)
	}
	for i, p := range m.Parameters {
		if p == "" || strings.ContainsAny(p, "\n\x00") {
			r.At("parameters").Item(i).Errorf("expected a parameter such as nbds_max=16, got %q", p)
		}
	}
}
