package containers

import "talos.internal/resource"

// Spec is a container that should run. Its id is the name.
type Spec struct {
	Image       Image     `yaml:"image" proto:"1"`
	Entrypoint  []string  `yaml:"entrypoint" proto:"2"`      // empty takes the image's
	Args        []string  `yaml:"args" proto:"3"`            // empty takes the image's
	WorkingDir  string    `yaml:"workingDir" proto:"4"`      // empty takes the image's
	RunAs       *RunAs    `yaml:"runAs,omitempty" proto:"5"` // nil takes the image's
	Environment []string  `yaml:"environment" proto:"6"`     // "NAME=value"
	Mounts      []Mount   `yaml:"mounts" proto:"7"`
	Security    Security  `yaml:"security" proto:"8"`
	Network     Network   `yaml:"network" proto:"9"`
	Resources   Resources `yaml:"resources" proto:"10"`
	DependsOn   DependsOn `yaml:"dependsOn" proto:"11"`
}

// ResourceDefinition implements [resource.Spec].
func (Spec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ContainerSpecs.containers.talos.dev", Namespace: Namespace,
		Aliases: []string{"containerspec", "containerspecs"},
		Columns: []resource.Column{{Name: "Image", JSONPath: "{.image.ref}"}},
	}
}

// Image is an image by its name.
type Image struct {
	Ref string `yaml:"ref" proto:"1"`
}

// RunAs is whom a process runs as.
type RunAs struct {
	UID int32 `yaml:"uid" proto:"1"`
	GID int32 `yaml:"gid" proto:"2"`
}

// Mount is what a container sees at a path.
type Mount struct {
	Kind        string   `yaml:"kind" proto:"1"`        // "volume", "tmpfs" or "hostPath"
	VolumeID    string   `yaml:"volumeID" proto:"2"`    // of a volume
	Source      string   `yaml:"source" proto:"3"`      // of a host path
	Destination string   `yaml:"destination" proto:"4"` // in the container
	Size        uint64   `yaml:"size" proto:"5"`        // of a tmpfs, in bytes; 0 is the kernel's default
	Options     []string `yaml:"options" proto:"6"`
}

// Security is what a container may do.
type Security struct {
	Privileged       bool     `yaml:"privileged" proto:"1"`
	CapabilitiesAdd  []string `yaml:"capabilitiesAdd" proto:"2"`
	CapabilitiesDrop []string `yaml:"capabilitiesDrop" proto:"3"`
}

// Network is which network a container has.
type Network struct {
	HostNetwork bool `yaml:"hostNetwork" proto:"1"` // the node's; otherwise none
}

// Resources are limits; 0 is none.
type Resources struct {
	MemoryLimit uint64 `yaml:"memoryLimit" proto:"1"` // in bytes
	CPULimit    uint64 `yaml:"cpuLimit" proto:"2"`    // in thousandths of a CPU
}

// DependsOn is what a container waits for.
type DependsOn struct {
	Paths      []string `yaml:"paths" proto:"1"`      // that must exist
	Networks   []string `yaml:"networks" proto:"2"`   // parts of the network that must be ready
	Time       bool     `yaml:"time" proto:"3"`       // the clock must be set
	Containers []string `yaml:"containers" proto:"4"` // that must run
}

// ImageStatus is how far the image of a container is. Its id is the container's.
type ImageStatus struct {
	Phase  ImagePhase `yaml:"phase" proto:"1"`
	Image  string     `yaml:"image" proto:"2"`
	Digest string     `yaml:"digest" proto:"3"` // of the manifest; empty until it is known
	Error  string     `yaml:"error" proto:"4"`  // of the last attempt
}

// ResourceDefinition implements [resource.Spec].
func (ImageStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ContainerImageStatuses.containers.talos.dev", Namespace: Namespace,
		Aliases: []string{"containerimagestatus", "containerimagestatuses"},
		Columns: []resource.Column{
			{Name: "Phase", JSONPath: "{.phase}"},
			{Name: "Digest", JSONPath: "{.digest}"},
		},
	}
}

// ImagePhase is how far an image is.
type ImagePhase int32

// The values of ImagePhase.
const (
	ImagePending ImagePhase = 0
	ImagePulling ImagePhase = 1
	ImageReady   ImagePhase = 2
	ImageFailed  ImagePhase = 3
)

var imagePhaseNames = resource.NamesOf(map[ImagePhase]string{
	ImagePending: "pending",
	ImagePulling: "pulling",
	ImageReady:   "ready",
	ImageFailed:  "failed",
})

// String returns the name of i.
func (i ImagePhase) String() string { return imagePhaseNames.Text(i) }

// MarshalText implements [encoding.TextMarshaler].
func (i ImagePhase) MarshalText() ([]byte, error) { return []byte(imagePhaseNames.Text(i)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *ImagePhase) UnmarshalText(text []byte) error { return imagePhaseNames.Set(i, string(text)) }

// InstanceSpec is what to run for a [Spec], with everything resolved.
type InstanceSpec struct {
	ContainerID string          `yaml:"containerID" proto:"1"` // of the Spec
	Generation  uint64          `yaml:"generation" proto:"2"`  // a new number is a new container
	Image       string          `yaml:"image" proto:"3"`       // with its digest
	Entrypoint  []string        `yaml:"entrypoint" proto:"4"`
	Args        []string        `yaml:"args" proto:"5"`
	WorkingDir  string          `yaml:"workingDir" proto:"6"`
	RunAs       *RunAs          `yaml:"runAs,omitempty" proto:"7"` // nil takes the image's
	Environment []string        `yaml:"environment" proto:"8"`     // "NAME=value"
	Mounts      []ResolvedMount `yaml:"mounts" proto:"9"`
	Security    Security        `yaml:"security" proto:"10"`
	Network     Network         `yaml:"network" proto:"11"`
	Resources   Resources       `yaml:"resources" proto:"12"`
}

// ResourceDefinition implements [resource.Spec].
func (InstanceSpec) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ContainerInstanceSpecs.containers.talos.dev", Namespace: Namespace,
		Aliases: []string{"containerinstancespec", "containerinstancespecs"},
		Columns: []resource.Column{
			{Name: "Container", JSONPath: "{.containerID}"},
			{Name: "Generation", JSONPath: "{.generation}"},
			{Name: "Image", JSONPath: "{.image}"},
		},
	}
}

// ResolvedMount is a [Mount] whose source is known.
type ResolvedMount struct {
	Kind        string   `yaml:"kind" proto:"1"`
	Source      string   `yaml:"source" proto:"2"`
	Destination string   `yaml:"destination" proto:"3"`
	Size        uint64   `yaml:"size" proto:"4"` // of a tmpfs, in bytes
	Options     []string `yaml:"options" proto:"5"`
}
