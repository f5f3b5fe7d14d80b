package sysdoc

import (
	"regexp"

	"talos.internal/config/schema"
)

// ExtensionServiceConfig configures a service that a system extension brings.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ExtensionServiceConfig
//	name: nut-client
//	configFiles:
//	    - content: MONITOR ups@10.5.0.1 1 reader secret secondary
//	      mountPath: /usr/local/etc/nut/upsmon.conf
//	environment:
//	    - NUT_UPS=ups
type ExtensionServiceConfig struct {
	// Name is the service's name as the extension declares it, without the prefix "ext-".
	Name string `yaml:"name" required:"true"`
	// ConfigFiles are files that the service sees in its container.
	//
	// Example:
	//
	//	configFiles:
	//	    - content: MONITOR ups@10.5.0.1 1 reader secret secondary
	//	      mountPath: /usr/local/etc/nut/upsmon.conf
	ConfigFiles []ExtensionFile `yaml:"configFiles"`
	// Environment are environment variables of the service as NAME=VALUE.
	//
	// Example:
	//
	//	environment:
	//	    - NUT_UPS=ups
	Environment []string `yaml:"environment"`
}

// ExtensionFile is a file that an extension's service sees.
type ExtensionFile struct {
	// Content is the file's text.
	Content string `yaml:"content"`
	// MountPath is the file's path in the service's container, absolute.
	MountPath string `yaml:"mountPath" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*ExtensionServiceConfig) DocumentKind() string { return "ExtensionServiceConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *ExtensionServiceConfig) DocumentName() string { return c.Name }

var extensionName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$`)

// Validate implements [schema.Validator].
func (c *ExtensionServiceConfig) Validate(r *schema.Reporter) {
	if !extensionName.MatchString(c.Name) {
		r.At("name").Errorf("expected the name of a service of lower-case letters, digits, '-' and '_' such as nut-client, got %q",
			clip(c.Name))
	}
	if len(c.ConfigFiles) == 0 && len(c.Environment) == 0 {
		r.Errorf("expected configFiles or environment, or both")
	}
	seen := map[string]bool{}
	for i, f := range c.ConfigFiles {
		at := r.At("configFiles").Item(i).At("mountPath")
		if seen[f.MountPath] {
			at.Errorf("there is a file at %s already", clip(f.MountPath))
		} else {
			checkPath(f.MountPath, "/usr/local/etc/nut/upsmon.conf", at)
		}
		seen[f.MountPath] = true
	}
	checkVariables(c.Environment, r.At("environment"))
}

// PCIDriverRebindConfig gives a PCI device another driver than the kernel would, such as vfio-pci to hand it to a
// virtual machine.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: PCIDriverRebindConfig
//	name: 0000:04:00.0
//	targetDriver: vfio-pci
type PCIDriverRebindConfig struct {
	// Name is the device's address: domain, bus, device and function in hexadecimal.
	//
	// Example:
	//
	//	name: 0000:04:00.0
	Name string `yaml:"name" required:"true"`
	// TargetDriver is the name of the driver that the device gets.
	TargetDriver string `yaml:"targetDriver" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*PCIDriverRebindConfig) DocumentKind() string { return "PCIDriverRebindConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *PCIDriverRebindConfig) DocumentName() string { return c.Name }

var (
	// A device number has five bits, a function number three.
	pciAddress = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$`)
	moduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
)

// Validate implements [schema.Validator].
func (c *PCIDriverRebindConfig) Validate(r *schema.Reporter) {
	if !pciAddress.MatchString(c.Name) {
		hint := ""
		if pciAddress.MatchString("0000:" + c.Name) {
			hint = "write 0000:" + c.Name
		}
		r.At("name").Hintf(hint, "expected a PCI address in lower case such as 0000:04:00.0, got %q", clip(c.Name))
	}
	if !moduleName.MatchString(c.TargetDriver) {
		r.At("targetDriver").Errorf("expected the name of a driver such as vfio-pci, got %q", clip(c.TargetDriver))
	}
}
