package runtime

import "talos.internal/resource"

// Ids of resources of which there is one.
const (
	VersionID               = "version"                 // Version
	BootIDID                = "boot-id"                 // BootID
	BootedEntryID           = "bootedentry"             // BootedEntry
	SecurityStateID         = "securitystate"           // SecurityState
	DevicesStatusID         = "devices"                 // DevicesStatus
	ImageFactorySchematicID = "image-factory-schematic" // ImageFactorySchematic
)

// Version says which system runs.
type Version struct {
	Name    string `yaml:"name" proto:"2"`
	Version string `yaml:"version" proto:"1"` // with a v before it
}

// ResourceDefinition implements [resource.Spec].
func (Version) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Versions.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Name", JSONPath: "{.name}"},
			{Name: "Version", JSONPath: "{.version}"},
		},
	}
}

// BootID is the kernel's random number for this boot (random(4)).
type BootID struct {
	Value string `yaml:"bootID" proto:"1"` // a UUID
}

// ResourceDefinition implements [resource.Spec].
func (BootID) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BootIDs.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Boot ID", JSONPath: "{.bootID}"}},
	}
}

// BootedEntry is the entry that the boot loader started.
type BootedEntry struct {
	Name string `yaml:"bootedEntry" proto:"1"` // the file name of the image
}

// ResourceDefinition implements [resource.Spec].
func (BootedEntry) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "BootedEntries.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Booted Entry", JSONPath: "{.bootedEntry}"}},
	}
}

// Environment are environment variables for the processes of the system. Its id says for which.
type Environment struct {
	Variables []string `yaml:"variables" proto:"1"` // "NAME=value"
}

// ResourceDefinition implements [resource.Spec].
func (Environment) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "Environments.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"env"},
		Columns: []resource.Column{{Name: "Variables", JSONPath: "{.variables}"}},
	}
}

// SecurityState says which of the kernel's and the firmware's protections are on.
type SecurityState struct {
	SecureBoot bool `yaml:"secureBoot" proto:"1"`
	// UKISigningKeyFingerprint: SHA-256 in hexadecimal; empty if the image is not signed
	UKISigningKeyFingerprint string `yaml:"ukiSigningKeyFingerprint" proto:"2"`
	// PCRSigningKeyFingerprint: SHA-256 in hexadecimal; empty without a TPM policy
	PCRSigningKeyFingerprint string       `yaml:"pcrSigningKeyFingerprint" proto:"3"`
	SELinuxState             SELinuxState `yaml:"selinuxState" proto:"4"`
	FIPSState                FIPSState    `yaml:"fipsState" proto:"6"`
	BootedWithUKI            bool         `yaml:"bootedWithUKI" proto:"5"`           // the kernel came in a unified kernel image
	ModuleSignatureEnforced  bool         `yaml:"moduleSignatureEnforced" proto:"7"` // the kernel takes signed modules only
}

// ResourceDefinition implements [resource.Spec].
func (SecurityState) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SecurityStates.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "SecureBoot", JSONPath: "{.secureBoot}"},
			{Name: "UKISigningKeyFingerprint", JSONPath: "{.ukiSigningKeyFingerprint}"},
			{Name: "PCRSigningKeyFingerprint", JSONPath: "{.pcrSigningKeyFingerprint}"},
			{Name: "SELinuxState", JSONPath: "{.selinuxState}"},
			{Name: "ModuleSignatureEnforced", JSONPath: "{.moduleSignatureEnforced}"},
		},
	}
}

// SELinuxState says what SELinux does.
type SELinuxState int32

// The values of SELinuxState.
const (
	SELinuxDisabled   SELinuxState = 0
	SELinuxPermissive SELinuxState = 1
	SELinuxEnforcing  SELinuxState = 2
)

var seLinuxStateNames = resource.NamesOf(map[SELinuxState]string{
	SELinuxDisabled:   "disabled",
	SELinuxPermissive: "permissive",
	SELinuxEnforcing:  "enforcing",
})

// String returns the name of s.
func (s SELinuxState) String() string { return seLinuxStateNames.Text(s) }

// MarshalText implements [encoding.TextMarshaler].
func (s SELinuxState) MarshalText() ([]byte, error) { return []byte(seLinuxStateNames.Text(s)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *SELinuxState) UnmarshalText(text []byte) error {
	return seLinuxStateNames.Set(s, string(text))
}

// FIPSState says whether only validated cryptography is used (FIPS 140-3), and whether anything else
// ends the program.
type FIPSState int32

// The values of FIPSState.
const (
	FIPSDisabled FIPSState = 0
	FIPSEnabled  FIPSState = 1
	FIPSStrict   FIPSState = 2
)

var fipsStateNames = resource.NamesOf(map[FIPSState]string{
	FIPSDisabled: "disabled",
	FIPSEnabled:  "enabled",
	FIPSStrict:   "strict",
})

// String returns the name of f.
func (f FIPSState) String() string { return fipsStateNames.Text(f) }

// MarshalText implements [encoding.TextMarshaler].
func (f FIPSState) MarshalText() ([]byte, error) { return []byte(fipsStateNames.Text(f)), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *FIPSState) UnmarshalText(text []byte) error { return fipsStateNames.Set(f, string(text)) }

// ServicePID is the main process of a service, by which its calls are recognised. Its id is the
// service's.
type ServicePID struct {
	PID            int32  `yaml:"pid" proto:"1"`
	MountNamespace string `yaml:"mountNamespace" proto:"2"` // as /proc/PID/ns/mnt names it
}

// ResourceDefinition implements [resource.Spec].
func (ServicePID) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ServicePIDs.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "PID", JSONPath: "{.pid}"}},
	}
}

// DevicesStatus says whether the devices that were there at boot have their nodes in /dev.
type DevicesStatus struct {
	Ready bool `yaml:"ready" proto:"1"`
}

// ResourceDefinition implements [resource.Spec].
func (DevicesStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "DevicesStatuses.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Ready", JSONPath: "{.ready}"}},
	}
}

// ExtensionStatus is a system extension that the image has. Its id is a number, from 0, in their order.
type ExtensionStatus struct {
	Image    string            `yaml:"image" proto:"1"` // the file with its content
	Metadata ExtensionMetadata `yaml:"metadata" proto:"2"`
}

// ResourceDefinition implements [resource.Spec].
func (ExtensionStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ExtensionStatuses.runtime.talos.dev", Namespace: Namespace,
		Aliases: []string{"extensions"},
		Columns: []resource.Column{
			{Name: "Name", JSONPath: "{.metadata.name}"},
			{Name: "Version", JSONPath: "{.metadata.version}"},
		},
	}
}

// ExtensionMetadata is what an extension says about itself.
type ExtensionMetadata struct {
	Name          string                 `yaml:"name" proto:"1"`
	Version       string                 `yaml:"version" proto:"2"`
	Author        string                 `yaml:"author" proto:"3"`
	Description   string                 `yaml:"description" proto:"4"`
	Compatibility ExtensionCompatibility `yaml:"compatibility" proto:"5"`
	ExtraInfo     string                 `yaml:"extraInfo" proto:"6"`
}

// ExtensionCompatibility says with what an extension works.
type ExtensionCompatibility struct {
	Talos VersionConstraint `yaml:"talos" proto:"1"`
}

// VersionConstraint is a condition on a version.
type VersionConstraint struct {
	Version string `yaml:"version" proto:"1"` // such as ">= v1.6.0"
}

// ExtensionServiceConfig is the config of a service that an extension brings. Its id is the service's
// name.
type ExtensionServiceConfig struct {
	Files       []ExtensionServiceConfigFile `yaml:"files" proto:"1"`
	Environment []string                     `yaml:"environment" proto:"2"` // "NAME=value"
}

// ResourceDefinition implements [resource.Spec].
func (ExtensionServiceConfig) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ExtensionServiceConfigs.runtime.talos.dev", Namespace: Namespace, Sensitive: true,
	}
}

// ExtensionServiceConfigFile is a file that a service is given.
type ExtensionServiceConfigFile struct {
	Content   string `yaml:"content" proto:"1"`
	MountPath string `yaml:"mountPath" proto:"2"` // where the service sees it
}

// ExtensionServiceConfigStatus says which version of an [ExtensionServiceConfig] was written for the
// service.
type ExtensionServiceConfigStatus struct {
	SpecVersion string `yaml:"specVersion" proto:"1"` // as [resource.Version] is written
}

// ResourceDefinition implements [resource.Spec].
func (ExtensionServiceConfigStatus) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ExtensionServiceConfigStatuses.runtime.talos.dev", Namespace: Namespace,
	}
}

// SBOMItem is a component of the image, from its bill of materials (SPDX 2.3).
type SBOMItem struct {
	Name      string   `yaml:"name" proto:"1"`
	Version   string   `yaml:"version" proto:"2"`
	License   string   `yaml:"license" proto:"3"`   // an SPDX expression
	CPEs      []string `yaml:"cpes" proto:"4"`      // names in the CPE dictionary
	PURLs     []string `yaml:"purls" proto:"5"`     // package URLs
	Extension bool     `yaml:"extension" proto:"6"` // the component came with an extension
}

// ResourceDefinition implements [resource.Spec].
func (SBOMItem) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "SBOMItems.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Version", JSONPath: "{.version}"},
			{Name: "License", JSONPath: "{.license}"},
			{Name: "Extension", JSONPath: "{.extension}"},
		},
	}
}

// ImageFactorySchematic says from what the image was made, if an image factory made it.
type ImageFactorySchematic struct {
	SchematicID string `yaml:"schematicId" proto:"1"`
	Flavor      string `yaml:"flavor" proto:"2"`
	APIURL      string `yaml:"apiUrl" proto:"3"` // of the factory
}

// ResourceDefinition implements [resource.Spec].
func (ImageFactorySchematic) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ImageFactorySchematics.runtime.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Schematic ID", JSONPath: "{.schematicId}"},
			{Name: "Flavor", JSONPath: "{.flavor}"},
			{Name: "API URL", JSONPath: "{.apiUrl}"},
		},
	}
}
