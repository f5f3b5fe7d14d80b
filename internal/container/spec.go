package container

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Spec says what is run in a container, and what it may do. The zero value of a field is the safe one.
type Spec struct {
	// ID names the container within its namespace.
	ID string
	// Image is a full reference; if containerd does not have it, it is pulled.
	Image string
	// Rootfs is a folder of this machine that is the root file system, in place of an image's. It is not written to: for what the
	// container writes, and for places that mounts need, Scratch is a folder of its own, which each run empties.
	Rootfs, Scratch string
	// Args are the program and its arguments; empty takes the image's entry point and command.
	Args []string
	// Env are further variables, as KEY=value; they come after the image's.
	Env []string
	// Dir is the working directory; empty takes the image's.
	Dir string
	// Mounts are made in their order, after those that every container has (proc, dev, sys, …). One with the target of such
	// replaces it.
	Mounts []Mount
	// User is who it runs as; nil takes the image's, which then must be numbers.
	User *User
	// Capabilities are those that it has, CAP_…; nil or empty is none. Those that the host does not have itself are left out.
	Capabilities []string
	// Privileged gives all capabilities that the host has and all devices, and hides nothing: Seccomp, masked paths and
	// no_new_privs are off.
	Privileged bool
	// HostNetwork, HostPID and HostIPC share these namespaces with the host. HostNetwork also shares the host name.
	HostNetwork, HostPID, HostIPC bool
	// HostSys shows the host's sysfs with its cgroups, writable, instead of one of its own.
	HostSys bool
	// Cgroup is the path of its cgroup from the root of the hierarchy; empty is /NAMESPACE/ID.
	Cgroup string
	// OOMScoreAdj is from -1000 (never killed) to 1000. Where the host may not go as low, it is as low as it may.
	OOMScoreAdj int
	// RootfsPropagation is shared, slave or private, with an r before it for all mounts below; empty is the runtime's default.
	// Mounts that have to reach the host need rshared here and in their options.
	RootfsPropagation string
	// ReadonlyRootfs keeps it from writing to its image.
	ReadonlyRootfs bool
	// NoSeccomp turns the default filter of system calls off.
	NoSeccomp bool
	// MayGainPrivileges turns no_new_privs off.
	MayGainPrivileges bool
	// HideKernel hides from a privileged container all the same what others do not see of the kernel, or may not write.
	HideKernel bool
	// MaskedPaths are hidden in the container, ReadonlyPaths cannot be written there; nil takes what every container has.
	MaskedPaths, ReadonlyPaths []string
	// Devices are files in the host's /dev that it has too.
	Devices []string
	// NoFile is the limit of open files; zero is 1048576. Where the host may not go as high, it is as high as it may.
	NoFile uint64
	// Labels are kept with the container.
	Labels map[string]string
}

// Mount is a mount in a container. With an empty Type, Source is a path on the host that is shown at Target, with all below.
type Mount struct {
	Source, Target, Type string
	// Options are those of the OCI runtime specification: ro, rw, rshared, rslave, nosuid, size=64m.
	Options []string
}

// User is the identity of a process.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Host is what the host allows.
type Host struct {
	// Capabilities are those of this process, which are all that a container can have.
	Capabilities []string
	// OOMScoreAdj is this process's own. Without CAP_SYS_RESOURCE nothing below can be had.
	OOMScoreAdj int
	// NoFile is this process's own hard limit of open files. Without CAP_SYS_RESOURCE nothing above can be had.
	NoFile uint64
	// UnifiedCgroups is set with cgroup v2, where a container gets a cgroup namespace.
	UnifiedCgroups bool
	// Seccomp is set if the kernel can filter system calls.
	Seccomp bool
}

// Render makes the OCI runtime specification of s in a namespace of containerd, for an image with the configuration img. It
// depends on nothing but its arguments; devices of s are added when the container is made.
//
// The errors are about s: no program to run, a user by name, or a mount without a target.
func Render(namespace string, s Spec, img imagespec.ImageConfig, h Host) (*specs.Spec, error) {
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	out, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: s.ID})
	if err != nil {
		return nil, fmt.Errorf("make the runtime specification of container %s: %w", s.ID, err)
	}
	if err := renderProcess(out, s, img, h); err != nil {
		return nil, fmt.Errorf("make the runtime specification of container %s: %w", s.ID, err)
	}
	if err := renderMounts(out, s); err != nil {
		return nil, fmt.Errorf("make the runtime specification of container %s: %w", s.ID, err)
	}
	out.Root.Readonly = s.ReadonlyRootfs
	if s.Cgroup != "" {
		out.Linux.CgroupsPath = path.Clean("/" + s.Cgroup)
	}
	out.Linux.RootfsPropagation = s.RootfsPropagation
	renderNamespaces(out, s, h)
	if s.Privileged {
		if !s.HideKernel {
			out.Linux.MaskedPaths, out.Linux.ReadonlyPaths = nil, nil
		}
		out.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	} else if h.Seccomp && !s.NoSeccomp {
		out.Linux.Seccomp = seccomp.DefaultProfile(out)
	}
	if s.MaskedPaths != nil {
		out.Linux.MaskedPaths = s.MaskedPaths
	}
	if s.ReadonlyPaths != nil {
		out.Linux.ReadonlyPaths = s.ReadonlyPaths
	}
	return out, nil
}

func renderProcess(out *specs.Spec, s Spec, img imagespec.ImageConfig, h Host) error {
	p := out.Process
	p.Args = s.Args
	if len(p.Args) == 0 {
		p.Args = slices.Concat(img.Entrypoint, img.Cmd)
	}
	if len(p.Args) == 0 {
		return fmt.Errorf("neither the container nor image %s says what to run", s.Image)
	}
	p.Env = slices.Concat(img.Env, s.Env)
	if !slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") }) {
		p.Env = slices.Insert(p.Env, 0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	switch {
	case s.Dir != "":
		p.Cwd = s.Dir
	case img.WorkingDir != "":
		p.Cwd = img.WorkingDir
	}
	user := s.User
	if user == nil {
		var err error
		if user, err = parseUser(img.User); err != nil {
			return fmt.Errorf("user of image %s: %w", s.Image, err)
		}
	}
	p.User = specs.User{UID: user.UID, GID: user.GID, AdditionalGids: user.Groups}

	caps := s.Capabilities
	if s.Privileged {
		caps = h.Capabilities
	}
	caps = slices.DeleteFunc(slices.Clone(caps), func(c string) bool { return !slices.Contains(h.Capabilities, c) })
	slices.Sort(caps)
	p.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	if user.UID != 0 {
		// A program keeps capabilities over execve as another user than root only as ambient ones.
		p.Capabilities.Inheritable, p.Capabilities.Ambient = caps, caps
	}
	p.NoNewPrivileges = !s.Privileged && !s.MayGainPrivileges

	score, files := s.OOMScoreAdj, s.NoFile
	if files == 0 {
		files = 1048576
	}
	if !slices.Contains(h.Capabilities, "CAP_SYS_RESOURCE") {
		score, files = max(score, h.OOMScoreAdj), min(files, h.NoFile)
	}
	p.OOMScoreAdj = &score
	p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: files, Soft: files}}
	return nil
}

// parseUser reads UID or UID:GID, as an image has it. An empty user is root. Names are refused: they mean something only in the
// image's file system, which is not mounted here.
func parseUser(s string) (*User, error) {
	if s == "" {
		return &User{}, nil
	}
	uid, gid, both := strings.Cut(s, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number; name the user in the container's specification", uid)
	}
	out := &User{UID: uint32(u)}
	if both {
		g, err := strconv.ParseUint(gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("group %q is not a number; name the user in the container's specification", gid)
		}
		out.GID = uint32(g)
	}
	return out, nil
}

func renderMounts(out *specs.Spec, s Spec) error {
	if s.HostSys {
		// The cgroups are below sysfs, so one recursive bind mount shows both.
		out.Mounts = slices.DeleteFunc(out.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
		for i, m := range out.Mounts {
			if m.Type == "sysfs" {
				out.Mounts[i] = specs.Mount{Source: m.Destination, Destination: m.Destination, Type: "bind",
					Options: []string{"rbind", "rslave", "rw", "nosuid", "noexec", "nodev"}}
			}
		}
	}
	for _, m := range s.Mounts {
		if !path.IsAbs(m.Target) || m.Source == "" && m.Type == "" {
			return fmt.Errorf("mount of %q at %q: an absolute target is needed, and a source or a type", m.Source, m.Target)
		}
		mount := specs.Mount{Source: m.Source, Destination: path.Clean(m.Target), Type: m.Type, Options: m.Options}
		if m.Type == "" {
			mount.Type = "bind"
			if !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
				mount.Options = slices.Concat([]string{"rbind"}, m.Options)
			}
		} else if m.Source == "" {
			mount.Source = m.Type
		}
		// What is mounted below a target that is replaced belongs to what it replaces: /dev/pts of /dev.
		out.Mounts = slices.DeleteFunc(out.Mounts, func(have specs.Mount) bool {
			return have.Destination == mount.Destination || mount.Type == "bind" && strings.HasPrefix(have.Destination, mount.Destination+"/") && have.Type != "bind"
		})
		out.Mounts = append(out.Mounts, mount)
	}
	return nil
}

func renderNamespaces(out *specs.Spec, s Spec, h Host) {
	shared := map[specs.LinuxNamespaceType]bool{
		specs.NetworkNamespace: s.HostNetwork, specs.UTSNamespace: s.HostNetwork,
		specs.PIDNamespace: s.HostPID, specs.IPCNamespace: s.HostIPC,
	}
	out.Linux.Namespaces = slices.DeleteFunc(out.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return shared[n.Type] })
	if h.UnifiedCgroups && !s.HostSys {
		out.Linux.Namespaces = append(out.Linux.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
}
