package cri

import "talos.internal/resource"

// ImageCacheConfigID is the id of the only [ImageCacheConfig].
const ImageCacheConfigID = "image-cache"

// BaseRuntimeSpecConfig is what every pod's OCI runtime spec begins with, "default", or what changes
// it, "overrides". As YAML it is the spec itself.
type BaseRuntimeSpecConfig struct {
	Object map[string]any `yaml:",inline" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (BaseRuntimeSpecConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BaseRuntimeSpecConfigs.cri.talos.dev", Namespace: Namespace,
	}
}

// CustomizationConfig is a part of the runtime's config file. Its id is a name.
type CustomizationConfig struct {
	// TOML
	Content string `yaml:"content" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (CustomizationConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "CustomizationConfigs.cri.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// SeccompProfile is a filter of system calls that pods may name. Its id is the name.
type SeccompProfile struct {
	Name  string         `yaml:"name" proto:"1"`
	Value map[string]any `yaml:"value" proto:"2"` // as in the OCI runtime spec, linux.seccomp
}

// ResourceDefinition implements [resource.Spec].
func (SeccompProfile) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SeccompProfiles.cri.talos.dev", Namespace: Namespace,
	}
}

// ImageCacheConfig says where images are found without a network.
type ImageCacheConfig struct {
	Status     ImageCacheStatus     `yaml:"status" proto:"1"`
	CopyStatus ImageCacheCopyStatus `yaml:"copyStatus" proto:"3"`
	Roots      []string             `yaml:"roots" proto:"2"` // directories, in the order in which they are searched
}

// ResourceDefinition implements [resource.Spec].
func (ImageCacheConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ImageCacheConfigs.cri.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Status", JSONPath: "{.status}"},
			{Name: "CopyStatus", JSONPath: "{.copyStatus}"},
			{Name: "Roots", JSONPath: "{.roots}"},
		},
	}
}

// ImageCacheStatus is whether the image cache can be used.
type ImageCacheStatus int32

// The values of ImageCacheStatus.
const (
	CacheUnknown   ImageCacheStatus = 0
	CacheDisabled  ImageCacheStatus = 1
	CachePreparing ImageCacheStatus = 2
	CacheReady     ImageCacheStatus = 3
)

var imageCacheStatusNames = resource.NamesOf(map[ImageCacheStatus]string{
	CacheUnknown:   "unknown",
	CacheDisabled:  "disabled",
	CachePreparing: "preparing",
	CacheReady:     "ready",
})

// String returns the name of i.
func (i ImageCacheStatus) String() string { return imageCacheStatusNames.Text(i) }

// MarshalText implements [encoding.TextMarshaler].
func (i ImageCacheStatus) MarshalText() ([]byte, error) {
	return []byte(imageCacheStatusNames.Text(i)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *ImageCacheStatus) UnmarshalText(text []byte) error {
	return imageCacheStatusNames.Set(i, string(text))
}

// ImageCacheCopyStatus is whether the image cache was copied to the disk.
type ImageCacheCopyStatus int32

// The values of ImageCacheCopyStatus.
const (
	CacheCopyUnknown ImageCacheCopyStatus = 0
	CacheCopySkipped ImageCacheCopyStatus = 1
	CacheCopyPending ImageCacheCopyStatus = 2
	CacheCopyReady   ImageCacheCopyStatus = 3
)

var imageCacheCopyStatusNames = resource.NamesOf(map[ImageCacheCopyStatus]string{
	CacheCopyUnknown: "unknown",
	CacheCopySkipped: "skipped",
	CacheCopyPending: "pending",
	CacheCopyReady:   "ready",
})

// String returns the name of i.
func (i ImageCacheCopyStatus) String() string { return imageCacheCopyStatusNames.Text(i) }

// MarshalText implements [encoding.TextMarshaler].
func (i ImageCacheCopyStatus) MarshalText() ([]byte, error) {
	return []byte(imageCacheCopyStatusNames.Text(i)), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *ImageCacheCopyStatus) UnmarshalText(text []byte) error {
	return imageCacheCopyStatusNames.Set(i, string(text))
}
