package sysdoc

import (
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// CRIBaseRuntimeSpecConfig changes the OCI runtime specification that every container of Kubernetes starts from.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: CRIBaseRuntimeSpecConfig
//	overrides:
//	    process:
//	        rlimits:
//	            - type: RLIMIT_NOFILE
//	              hard: 1024
//	              soft: 1024
type CRIBaseRuntimeSpecConfig struct {
	// Overrides is a part of an OCI runtime specification, which is merged into the runtime's default. A patch replaces it
	// as a whole.
	//
	// Example:
	//
	//	overrides:
	//	    process:
	//	        rlimits:
	//	            - type: RLIMIT_NOFILE
	//	              hard: 1024
	//	              soft: 1024
	Overrides scalar.Object `yaml:"overrides" merge:"replace"`
}

// DocumentKind implements [schema.Document].
func (*CRIBaseRuntimeSpecConfig) DocumentKind() string { return "CRIBaseRuntimeSpecConfig" }

// specKeys are the keys of an OCI runtime specification for Linux
// (https://github.com/opencontainers/runtime-spec/blob/main/config.md).
var specKeys = []string{"ociVersion", "hooks", "annotations", "hostname", "domainname", "linux", "mounts", "process", "root"}

// Validate implements [schema.Validator].
func (c *CRIBaseRuntimeSpecConfig) Validate(r *schema.Reporter) {
	for _, key := range sortedKeys(c.Overrides) {
		known := false
		for _, k := range specKeys {
			known = known || k == key
		}
		if known {
			continue
		}
		hint := "known keys: " + strings.Join(specKeys, ", ")
		if near := schema.Nearest(key, specKeys); near != "" {
			hint = "did you mean " + near + "?"
		}
		r.At("overrides").At(key).Hintf(hint, "this is no key of an OCI runtime specification")
	}
}

// CRICustomizationConfig adds a part to the configuration of containerd, the runtime of Kubernetes' containers.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: CRICustomizationConfig
//	name: metrics
//	content: |
//	    [metrics]
//	      address = "0.0.0.0:11234"
type CRICustomizationConfig struct {
	// Name tells the parts apart. They are merged in the order of their names.
	Name string `yaml:"name" required:"true"`
	// Content is the part, in TOML.
	//
	// Example:
	//
	//	content: |
	//	    [metrics]
	//	      address = "0.0.0.0:11234"
	Content string `yaml:"content"`
}

// DocumentKind implements [schema.Document].
func (*CRICustomizationConfig) DocumentKind() string { return "CRICustomizationConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *CRICustomizationConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *CRICustomizationConfig) Validate(r *schema.Reporter) {
	checkName(c.Name, "metrics", r.At("name"))
	if strings.TrimSpace(c.Content) == "" {
		r.At("content").Errorf("expected a part of containerd's configuration in TOML, got nothing")
	}
}

// ImageCacheConfig says where container images are looked for before they are pulled.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ImageCacheConfig
//	local:
//	    enabled: true
type ImageCacheConfig struct {
	// Local is the image cache on the machine's own disk or boot medium. Left out, one that is there is used.
	Local *LocalImageCacheConfig `yaml:"local"`
}

// LocalImageCacheConfig is the image cache on the machine's own disk or boot medium.
type LocalImageCacheConfig struct {
	// Enabled looks for images in the cache first. Without an ImageCacheConfig a cache that is there is used; false turns it off.
	Enabled bool `yaml:"enabled"`
}

// DocumentKind implements [schema.Document].
func (*ImageCacheConfig) DocumentKind() string { return "ImageCacheConfig" }
