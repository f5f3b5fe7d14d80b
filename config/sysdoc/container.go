package sysdoc

import (
	"errors"
	"strconv"
	"strings"

	"talos.internal/config/scalar"
)

// ContainerConfig runs a container on the machine without Kubernetes, under the system's own container runtime.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ContainerConfig
//	name: exporter
//	image: registry.example.com/node-exporter:1.9.1
//	args:
//	    - --web.listen-address=:9100
//	environment:
//	    - TZ=UTC
//	mounts:
//	    - tmpfs:
//	        destination: /tmp
//	        size: 64MiB
//	network:
//	    mode: host
//	resources:
//	    limits:
//	        cpu: 500m
//	        memory: 128MiB
//	dependsOn:
//	    networks:
//	        - addresses
type ContainerConfig struct {
	// Name is the container's name, and its service's: at most 63 lower-case letters, digits and '-'.
	Name string `yaml:"name" required:"true"`
	// Image is the container image.
	Image scalar.Image `yaml:"image" required:"true"`
	// Entrypoint is the program with its first arguments. Left out, it is the image's.
	//
	// Example:
	//
	//	entrypoint:
	//	    - /bin/exporter
	Entrypoint []string `yaml:"entrypoint"`
	// Args are the arguments that follow the entrypoint. Left out, they are the image's if the entrypoint is too.
	Args []string `yaml:"args"`
	// WorkingDir is the directory that the program starts in. Left out, it is the image's.
	WorkingDir string `yaml:"workingDir"`
	// RunAs is the user and group that the program runs as. Left out, they are the image's.
	RunAs *ContainerRunAs `yaml:"runAs"`
	// Environment are environment variables as NAME=VALUE, laid over the image's.
	//
	// Example:
	//
	//	environment:
	//	    - TZ=UTC
	Environment []string `yaml:"environment"`
	// Mounts are the file systems that the container sees besides its image.
	//
	// Example:
	//
	//	mounts:
	//	    - userVolume:
	//	        name: data
	//	        destination: /data
	//	    - tmpfs:
	//	        destination: /tmp
	//	        size: 64MiB
	Mounts []ContainerMount `yaml:"mounts"`
	// Security is what the container may do. Left out, it is restricted.
	Security *ContainerSecurity `yaml:"security"`
	// Network is which network the container sees. Left out, it has none but a loopback of its own.
	Network *ContainerNetwork `yaml:"network"`
	// Resources bound what the container uses. Left out, there is no bound.
	Resources *ContainerResources `yaml:"resources"`
	// DependsOn is what must be there before the container starts. Left out, it starts as soon as the runtime does.
	DependsOn *ContainerDependsOn `yaml:"dependsOn"`
}

// ContainerRunAs is a user and a group by number.
type ContainerRunAs struct {
	// UID is the user's number. Left out, it is 0.
	UID uint32 `yaml:"uid"`
	// GID is the group's number. Left out, it is 0.
	GID uint32 `yaml:"gid"`
}

// ContainerMount is one file system that a container sees: exactly one of its keys is set.
type ContainerMount struct {
	// UserVolume mounts a user volume of the machine.
	UserVolume *UserVolumeMount `yaml:"userVolume"`
	// Tmpfs mounts an empty file system in memory.
	Tmpfs *TmpfsMount `yaml:"tmpfs"`
	// HostPath mounts a file or directory of the machine.
	HostPath *HostPathMount `yaml:"hostPath"`
}

// UserVolumeMount mounts a user volume.
type UserVolumeMount struct {
	// Name is the name of a UserVolumeConfig document.
	Name string `yaml:"name" required:"true"`
	// Destination is the path in the container, absolute.
	Destination string `yaml:"destination" required:"true"`
	// Options are mount options: ro, rw, noexec, nosuid, nodev, noatime, rbind, rshared.
	Options []string `yaml:"options" enum:"ro|rw|noexec|nosuid|nodev|noatime|rbind|rshared"`
}

// TmpfsMount mounts an empty file system in memory.
type TmpfsMount struct {
	// Destination is the path in the container, absolute.
	Destination string `yaml:"destination" required:"true"`
	// Size is the most that it holds. Left out, it is half of the machine's memory.
	//
	// Example:
	//
	//	size: 64MiB
	Size scalar.Size `yaml:"size"`
	// Options are mount options of tmpfs, such as noexec or mode=1777.
	Options []string `yaml:"options"`
}

// HostPathMount mounts a file or directory of the machine.
type HostPathMount struct {
	// Source is the path on the machine, absolute.
	Source string `yaml:"source" required:"true"`
	// Destination is the path in the container, absolute.
	Destination string `yaml:"destination" required:"true"`
	// Options are mount options, such as ro or rbind.
	Options []string `yaml:"options"`
}

// ContainerSecurity is what a container may do.
type ContainerSecurity struct {
	// Profile is restricted (no privileges but those added below) or privileged (all of the machine's). Left out, it is
	// restricted.
	Profile string `yaml:"profile" enum:"restricted|privileged"`
	// Capabilities changes the profile's set of capabilities.
	Capabilities *ContainerCapabilities `yaml:"capabilities"`
}

// ContainerCapabilities changes a set of Linux capabilities (capabilities(7)).
type ContainerCapabilities struct {
	// Add are capabilities that the container gets, such as CAP_NET_BIND_SERVICE.
	Add []string `yaml:"add"`
	// Drop are capabilities that it loses; ALL is every one that is not in Add.
	Drop []string `yaml:"drop"`
}

// ContainerNetwork is the network that a container sees.
type ContainerNetwork struct {
	// Mode is none (a loopback of its own) or host (the machine's network). Left out, it is none.
	Mode string `yaml:"mode" enum:"none|host"`
}

// ContainerResources bound what a container uses.
type ContainerResources struct {
	// Limits are the bounds.
	Limits *ContainerResourceLimits `yaml:"limits"`
}

// ContainerResourceLimits are the bounds of a container.
type ContainerResourceLimits struct {
	// CPU is the processor time, in cores or in thousandths of one (m). Left out, there is no bound.
	//
	// Example:
	//
	//	cpu: 500m
	CPU Cores `yaml:"cpu"`
	// Memory is the most memory. The container is ended when it needs more. Left out, there is no bound.
	//
	// Example:
	//
	//	memory: 128MiB
	Memory scalar.Size `yaml:"memory"`
}

// ContainerDependsOn is what must be there before a container starts.
type ContainerDependsOn struct {
	// Paths are files and directories of the machine, absolute.
	//
	// Example:
	//
	//	paths:
	//	    - /run/containerd/containerd.sock
	Paths []string `yaml:"paths"`
	// Networks are parts of the network: addresses, connectivity, hostname, etcfiles.
	//
	// Example:
	//
	//	networks:
	//	    - addresses
	//	    - connectivity
	Networks []string `yaml:"networks" enum:"addresses|connectivity|hostname|etcfiles"`
	// Time waits until the clock is right.
	Time bool `yaml:"time"`
	// Containers are the names of other ContainerConfig documents whose containers must run.
	//
	// Example:
	//
	//	containers:
	//	    - database
	Containers []string `yaml:"containers"`
}

// DocumentKind implements [schema.Document].
func (*ContainerConfig) DocumentKind() string { return "ContainerConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *ContainerConfig) DocumentName() string { return c.Name }

// Cores is processor time in thousandths of a core, written as "500m" or as a number of cores with at most three
// decimals. Zero is not set.
type Cores uint32

// Expects implements [schema.Text].
func (Cores) Expects() string { return "a number of cores such as 2, 0.5 or 500m" }

// UnmarshalText parses text.
func (c *Cores) UnmarshalText(text []byte) error {
	s := string(text)
	if milli, ok := strings.CutSuffix(s, "m"); ok {
		n, err := strconv.ParseUint(milli, 10, 32)
		return c.set(n, err)
	}
	whole, decimals, _ := strings.Cut(s, ".")
	if len(decimals) > 3 {
		return errors.New("it has more than three decimals")
	}
	n, err := strconv.ParseUint(whole+(decimals + "000")[:3], 10, 32)
	return c.set(n, err)
}

func (c *Cores) set(n uint64, err error) error {
	switch {
	case err != nil:
		return errors.New("it is no number of cores")
	case n == 0:
		return errors.New("it is zero")
	}
	*c = Cores(n)
	return nil
}

// MarshalText prints c: whole cores as a number, others in thousandths.
func (c Cores) MarshalText() ([]byte, error) {
	if c%1000 == 0 {
		return strconv.AppendUint(nil, uint64(c/1000), 10), nil
	}
	return append(strconv.AppendUint(nil, uint64(c), 10), 'm'), nil
}
