package sysdoc

import (
	"talos.internal/config/expr"
	"talos.internal/config/scalar"
)

// UnattendedInstallConfig installs the system on a disk when the machine is started from another medium.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: UnattendedInstallConfig
//	installer:
//	    image: registry.example.com/installer:v1.14.0
//	provisioning:
//	    diskSelector:
//	        match: disk.dev_path == "/dev/vda"
//	    wipe: false
type UnattendedInstallConfig struct {
	// Reboot starts the machine from the disk once the system is installed. Left out, it is true.
	Reboot *bool `yaml:"reboot"`
	// Installer is what is installed. Left out, it is the version that the machine was started with.
	Installer *Installer `yaml:"installer"`
	// Provisioning is where it is installed to.
	Provisioning *InstallProvisioning `yaml:"provisioning"`
}

// Installer is what an installation installs.
type Installer struct {
	// Image is the installer's container image; its tag is the version.
	Image scalar.Image `yaml:"image"`
}

// InstallProvisioning is where an installation goes.
type InstallProvisioning struct {
	// DiskSelector selects the disk.
	DiskSelector *InstallDiskSelector `yaml:"diskSelector"`
	// Wipe clears the disk first, with all that is on it. Left out, it is true.
	Wipe *bool `yaml:"wipe"`
}

// InstallDiskSelector selects the disk of an installation.
type InstallDiskSelector struct {
	// Match is a condition on a disk, in CEL; the first disk for which it holds is taken.
	//
	// Example:
	//
	//	match: disk.size > 100u * GiB && disk.transport == "nvme"
	Match expr.DiskSelector `yaml:"match" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*UnattendedInstallConfig) DocumentKind() string { return "UnattendedInstallConfig" }

// RebootOrDefault reports whether the machine is started again after the installation.
func (c *UnattendedInstallConfig) RebootOrDefault() bool { return valueOr(c.Reboot, true) }

// WipeOrDefault reports whether the disk is cleared first.
func (c *InstallProvisioning) WipeOrDefault() bool { return valueOr(c.Wipe, true) }
