//go:build linux

package native

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"talos.internal/internal/provision"
)

// host is what a container depends on of the computer that it runs on.
type host struct {
	capabilities []string // that root has here
	openFiles    uint64   // hard limit; 0 if not known
	ipv6         bool     // the kernel has it
	devices      []specs.LinuxDevice
}

// container is a node as a container.
type container struct {
	node   provision.StateNode
	config []byte
	root   string // folder of the unpacked image
	dir    string // of the node
	images string // the image cache; "" for none
	group  string // path of its cgroup
}

// The folders and files of a node's folder that the container has, and where.
var (
	volumes  = [][2]string{{"var", "/var"}, {"state", "/system/state"}, {"opt", "/opt"}}
	etcFiles = []string{"hostname", "hosts", "resolv.conf"}
)

// spec is the container's config.json. It is what docker run makes of the published command line for a node, without what
// stands in the way here (contract.md, 7.1): the capabilities are those that root has and not all; every device is allowed;
// no seccomp filter, and no path of proc and sys hidden or read-only. Control groups are the container's own, in a cgroup
// namespace, and writable: kubelet makes its own below.
//
// The root file system is private to the container. What a node shares of it with its pods it makes shared itself.
func (c container) spec(h host) (*specs.Spec, error) {
	env, err := provision.Environment(c.node, c.config)
	if err != nil {
		return nil, err
	}
	env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}, env...)
	caps := h.capabilities
	s := &specs.Spec{
		Version:  "1.0.2",
		Hostname: c.node.Name,
		Root:     &specs.Root{Path: c.root, Readonly: true},
		Process: &specs.Process{
			Args: []string{"/sbin/init"}, Env: env, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: c.mounts(),
		Linux: &specs.Linux{
			CgroupsPath: c.group,
			Resources:   c.resources(),
			Devices:     h.devices,
		},
	}
	for _, ns := range []specs.LinuxNamespaceType{
		specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.MountNamespace, specs.NetworkNamespace, specs.CgroupNamespace,
	} {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: ns})
	}
	if h.openFiles > 0 {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: h.openFiles, Hard: h.openFiles}}
	}
	if h.ipv6 {
		s.Linux.Sysctl = map[string]string{"net.ipv6.conf.all.disable_ipv6": "0"}
	}
	return s, nil
}

func (c container) resources() *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
	if c.node.CPUs > 0 {
		period := uint64(100_000) // microseconds, the kernel's default
		quota := int64(math.Round(c.node.CPUs * float64(period)))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if c.node.Memory > 0 {
		limit := c.node.Memory
		r.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	return r
}

// mounts are in the order in which they are made: what stands on another comes after it.
func (c container) mounts() []specs.Mount {
	fs := func(target, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: "/" + target, Type: kind, Source: kind, Options: options}
	}
	bind := func(source, target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: "bind", Source: source, Options: append([]string{"rbind"}, options...)}
	}
	all := []specs.Mount{
		fs("proc", "proc", "nosuid", "noexec", "nodev"),
		fs("dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
		fs("dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
		fs("dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777"),
		fs("dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
		fs("sys", "sysfs", "nosuid", "noexec", "nodev"),
		fs("sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime"),
		fs("run", "tmpfs", "nosuid", "nodev", "mode=755"),
		fs("system", "tmpfs", "mode=755"),
		fs("tmp", "tmpfs", "nosuid", "nodev", "mode=1777", "size=64m"),
	}
	for _, v := range volumes {
		all = append(all, bind(path.Join(c.dir, v[0]), v[1]))
	}
	for _, name := range etcFiles {
		all = append(all, bind(path.Join(c.dir, "etc", name), "/etc/"+name))
	}
	if c.images != "" {
		all = append(all, bind(c.images, ImageCache, "ro", "nosuid", "nodev", "noexec"))
	}
	for _, m := range c.node.Mounts {
		options := []string{"rw"}
		if m.ReadOnly {
			options[0] = "ro"
		}
		all = append(all, bind(m.Source, m.Target, options...))
	}
	return all
}

// etc returns the files of a node's /etc that the computer gives it, by name.
func (c container) etc(nameservers []netip.Addr) map[string]string {
	name := c.node.Name
	var resolv strings.Builder
	for _, a := range nameservers {
		fmt.Fprintf(&resolv, "nameserver %s\n", a)
	}
	return map[string]string{
		"hostname":    name + "\n",
		"hosts":       fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n%s\t%s\n", c.node.Address, name),
		"resolv.conf": resolv.String(),
	}
}

// nameservers reads the addresses of a resolv.conf(5) that a node can reach, too: not those of the computer's loopback.
func nameservers(text string) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !a.IsLoopback() && a.Zone() == "" {
			all = append(all, a)
		}
	}
	return all
}
