package docker

import (
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"talos.internal/internal/provision"
)

// host is what a container depends on of the computer that it runs on.
type host struct {
	local   bool     // it is this one
	missing []string // capabilities that root lacks there; none if it is not known
	noIPv6  bool     // its kernel has none
	devices []string // what kubelet and FUSE file systems use and is there; a privileged container has it anyway
	api     string   // version of the daemon's API
}

// node is a node as a container.
type node struct {
	provision.StateNode
	config []byte
	ports  []provision.Port // to be published
}

var (
	volumes = []string{"/var", "/system/state", "/opt"}
	tmpfs   = []string{"/run", "/system", "/tmp"}
)

// request is what the daemon is asked for. It is what the published command line for a node asks for (contract.md, 7.1), and
// otherwise only:
//
//   - a control group namespace, with version 1 too: the node sees its own groups as the root, as it does with version 2;
//   - the image cache, read-only;
//   - where root lacks capabilities all others instead of a privileged container.
func (n node) request(state *provision.State, path string, h host) (client.ContainerCreateOptions, error) {
	env, err := provision.Environment(n.StateNode, n.config)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	stop := int(provision.StopTimeout.Seconds())
	c := &container.Config{
		Hostname: n.Name, Image: state.Image, Env: env, StopTimeout: &stop, ExposedPorts: network.PortSet{},
		Labels: labels(state.Name, path),
	}
	c.Labels[labelType] = n.Type
	hc := &container.HostConfig{
		NetworkMode: container.NetworkMode(state.Network.Name), RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		ReadonlyRootfs: true, CgroupnsMode: container.CgroupnsModePrivate, DNS: state.Network.Nameservers, PortBindings: network.PortMap{},
		Mounts: n.mounts(state, path),
	}
	if !h.noIPv6 {
		disabled := "0"
		if state.Network.NoIPv6 {
			disabled = "1"
		}
		hc.Sysctls = map[string]string{"net.ipv6.conf.all.disable_ipv6": disabled}
	}
	hc.NanoCPUs = int64(math.Round(n.CPUs * 1e9))
	hc.Memory = n.Memory
	privileges(hc, h)
	for _, p := range n.ports {
		port, ok := network.PortFrom(p.NodePort, network.IPProtocol(p.Protocol))
		if !ok {
			continue // checked before
		}
		c.ExposedPorts[port] = struct{}{}
		hc.PortBindings[port] = append(hc.PortBindings[port], network.PortBinding{HostIP: p.Host, HostPort: strconv.Itoa(int(p.HostPort))})
	}
	return client.ContainerCreateOptions{
		Name: n.Name, Config: c, HostConfig: hc,
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			state.Network.Name: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: n.Address}},
		}},
	}, nil
}

// labels are those of all that is made for a cluster.
func labels(cluster, path string) map[string]string {
	return map[string]string{labelOwned: "true", labelCluster: cluster, labelState: path}
}

// mounts: the daemon makes those first that others stand on.
func (n node) mounts(state *provision.State, path string) []mount.Mount {
	var all []mount.Mount
	for _, target := range tmpfs {
		all = append(all, mount.Mount{Type: mount.TypeTmpfs, Target: target})
	}
	for _, target := range volumes {
		// With labels, so that those are found whose container was removed without them.
		all = append(all, mount.Mount{Type: mount.TypeVolume, Target: target, VolumeOptions: &mount.VolumeOptions{Labels: labels(state.Name, path)}})
	}
	if images := state.Data[keyImages]; images != "" {
		all = append(all, mount.Mount{Type: mount.TypeBind, Source: images, Target: provision.ImageCache, ReadOnly: true})
	}
	for _, m := range n.Mounts {
		all = append(all, mount.Mount{Type: mount.TypeBind, Source: filepath.ToSlash(m.Source), Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return all
}

// recent are capabilities that daemons before API 1.42 (Docker 23) do not know: they give them to nobody, and refuse the names.
var recent = []string{"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"}

// privileges makes a container privileged. A daemon whose root lacks a capability cannot do that (seen with Docker 20.10:
// "unable to apply caps"). There the container gets all others; no filter of system calls; no path of proc and sys hidden or
// read-only; all devices allowed. PID 1 makes sys and the control groups writable itself.
func privileges(hc *container.HostConfig, h host) {
	hc.SecurityOpt = []string{"seccomp=unconfined"}
	missing := slices.DeleteFunc(slices.Clone(h.missing), func(c string) bool {
		return slices.Contains(recent, c) && versions.LessThan(h.api, "1.42")
	})
	if len(missing) == 0 {
		hc.Privileged = true
		return
	}
	hc.CapAdd, hc.CapDrop = []string{"ALL"}, missing
	hc.SecurityOpt = append(hc.SecurityOpt, "apparmor=unconfined", "label=disable")
	hc.MaskedPaths, hc.ReadonlyPaths = []string{}, []string{}
	hc.DeviceCgroupRules = []string{"a *:* rwm"}
	for _, d := range h.devices {
		hc.Devices = append(hc.Devices, container.DeviceMapping{PathOnHost: d, PathInContainer: d, CgroupPermissions: "rwm"})
	}
}

// published returns the addresses on this computer of a container's TCP ports.
func published(ports network.PortMap) map[uint16]string {
	var all map[uint16]string
	for port, bindings := range ports {
		if port.Proto() != network.TCP || len(bindings) == 0 {
			continue
		}
		b := bindings[0]
		n, err := strconv.ParseUint(b.HostPort, 10, 16)
		if err != nil || n == 0 {
			continue // the daemon chooses one at each start
		}
		at := b.HostIP
		if !at.IsValid() || at.IsUnspecified() {
			at = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if all == nil {
			all = map[uint16]string{}
		}
		all[port.Num()] = netip.AddrPortFrom(at, uint16(n)).String()
	}
	return all
}
