package sysdoc

import (
	"path"
	"strings"

	"talos.internal/config/schema"
)

// EnvironmentConfig sets environment variables of the system's services, such as the proxy through which images are
// pulled. Pods do not see them.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: EnvironmentConfig
//	variables:
//	    HTTPS_PROXY: http://10.5.0.1:3128
//	    NO_PROXY: 10.0.0.0/8,cluster.local
type EnvironmentConfig struct {
	// Variables are the values by name.
	//
	// Example:
	//
	//	variables:
	//	    HTTPS_PROXY: http://10.5.0.1:3128
	Variables map[string]string `yaml:"variables"`
}

// DocumentKind implements [schema.Document].
func (*EnvironmentConfig) DocumentKind() string { return "EnvironmentConfig" }

// Validate implements [schema.Validator]. It shows no value: a proxy's may have a password.
func (c *EnvironmentConfig) Validate(r *schema.Reporter) {
	for _, name := range sortedKeys(c.Variables) {
		at := r.At("variables").At(name)
		if !isVariable(name) {
			at.Errorf("expected the name of an environment variable such as HTTPS_PROXY, got %q", clip(name))
		}
		if strings.Contains(c.Variables[name], "\x00") {
			at.Errorf("a value cannot have a zero byte")
		}
	}
}

// defaultFileMode is that of an EtcFileConfig without a mode.
const defaultFileMode = 0o644

// EtcFileConfig puts a file into the directory etc of the root file system, over the one that comes with the system if
// there is one.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: EtcFileConfig
//	name: nfsmount.conf
//	mode: 0o644
//	contents: |
//	    [ NFSMount_Global_Options ]
//	    nfsvers=4.2
type EtcFileConfig struct {
	// Name is the file's path below etc, without a leading slash.
	//
	// Example:
	//
	//	name: iscsi/initiatorname.iscsi
	Name string `yaml:"name" required:"true"`
	// Mode are the file's permissions; write them in octal, such as 0o644. Nothing above 0o777 is allowed. Left out, they
	// are 0o644.
	//
	// Example:
	//
	//	mode: 0o600
	Mode *uint32 `yaml:"mode"`
	// Contents is the file's text.
	Contents string `yaml:"contents"`
}

// DocumentKind implements [schema.Document].
func (*EtcFileConfig) DocumentKind() string { return "EtcFileConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *EtcFileConfig) DocumentName() string { return c.Name }

// ModeOrDefault returns the file's permissions.
func (c *EtcFileConfig) ModeOrDefault() uint32 { return valueOr(c.Mode, defaultFileMode) }

// ownedFile is a file, or with a trailing slash a directory, below etc that the system writes.
type ownedFile struct{ name, why, instead string }

var ownedFiles = []ownedFile{
	{"resolv.conf", "it is made from the resolvers", "use ResolverConfig"},
	{"hosts", "it is made from the static hosts", "use StaticHostConfig"},
	{"hostname", "it is made from the host name", "use HostnameConfig"},
	{"machine-id", "it is made from the node's identity", "leave it out"},
	{"os-release", "it says which system this is", "leave it out"},
	{"lsb-release", "it says which system this is", "leave it out"},
	{"passwd", "the system has fixed users", "leave it out"},
	{"group", "the system has fixed groups", "leave it out"},
	{"shadow", "the system has no passwords", "leave it out"},
	{"cri/", "the container runtime's files are made from other documents", "use CRICustomizationConfig or RegistryMirrorConfig"},
	{"containerd/", "the container runtime's files are made from other documents", "use CRICustomizationConfig"},
	{"kubernetes/", "the files of Kubernetes are made from other documents", "use the documents of the Kubernetes components"},
	{"ssl/", "the trusted authorities are made from other documents", "use TrustedRootsConfig"},
	{"pki/", "the trusted authorities are made from other documents", "use TrustedRootsConfig"},
	{"ca-certificates", "the trusted authorities are made from other documents", "use TrustedRootsConfig"},
	{"udev/", "the rules are made from another document", "use UdevRulesConfig"},
	{"extensions.yaml", "it lists the extensions of the image", "leave it out"},
}

// Validate implements [schema.Validator].
func (c *EtcFileConfig) Validate(r *schema.Reporter) {
	at := r.At("name")
	switch {
	case strings.HasPrefix(c.Name, "/"):
		hint := ""
		if rest, ok := strings.CutPrefix(c.Name, "/etc/"); ok {
			hint = "write " + clip(rest)
		}
		at.Hintf(hint, "expected a path below etc without a leading slash such as nfsmount.conf, got %q", clip(c.Name))
	case c.Name == "" || c.Name == "." || c.Name == ".." || strings.HasPrefix(c.Name, "../") || path.Clean(c.Name) != c.Name ||
		strings.ContainsAny(c.Name, "\x00\n"):
		at.Errorf("expected a path without '.', '..', double and trailing slashes such as nfsmount.conf, got %q", clip(c.Name))
	default:
		for _, o := range ownedFiles {
			if c.Name == strings.TrimSuffix(o.name, "/") || strings.HasSuffix(o.name, "/") && strings.HasPrefix(c.Name, o.name) {
				at.Hintf(o.instead, "the file %s cannot be set: %s", clip(c.Name), o.why)
			}
		}
	}
	if c.Mode != nil && *c.Mode > 0o777 {
		r.At("mode").Hintf("write them in octal, such as 0o644", "expected permissions up to 0o777, got %d (0o%o)", *c.Mode, *c.Mode)
	}
}
