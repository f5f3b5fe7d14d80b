package clusters

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"talos.internal/internal/provision"
	"talos.internal/internal/provision/docker"
	"talos.internal/internal/provision/native"
)

// containers are the flags of create that are about containers.
type containers struct {
	ports  []string
	hostIP string
	mounts []string
	noIPv6 bool
}

// containerAliases are other published spellings of these flags.
var containerAliases = map[string]string{"docker-host-ip": "host-ip"}

// bind makes the flags.
func (c *containers) bind(fl *pflag.FlagSet) {
	fl.StringSliceVarP(&c.ports, "exposed-ports", "p", nil, "docker: ports of the first machine to publish on this computer, as PORT:PORT or PORT:PORT/udp, this computer's first")
	fl.StringVar(&c.hostIP, "host-ip", "0.0.0.0", "docker: the address of this computer at which they are published")
	fl.BoolVar(&c.noIPv6, "docker-disable-ipv6", false, "docker: machines without IPv6")
	fl.StringArrayVar(&c.mounts, "mount", nil, "docker, native: a folder of this computer for all machines, as type=bind,source=PATH,target=PATH[,readonly]; may be given several times")
}

// apply puts them into a request for a provisioner.
func (c *containers) apply(r *provision.ClusterRequest, provisioner string) error {
	if len(c.ports) > 0 && provisioner != docker.Name {
		return fmt.Errorf("--exposed-ports is for docker alone: other machines are reached at their addresses, on every port")
	}
	if c.noIPv6 && provisioner != docker.Name {
		return fmt.Errorf("--docker-disable-ipv6 is for docker alone")
	}
	r.Network.NoIPv6 = c.noIPv6
	host, err := netip.ParseAddr(c.hostIP)
	if err != nil {
		return fmt.Errorf("expected --host-ip to be an address such as 127.0.0.1, got %q", c.hostIP)
	}
	for _, text := range c.ports {
		p, err := parsePort(text)
		if err != nil {
			return fmt.Errorf("--exposed-ports: %w", err)
		}
		p.Host = host
		r.Ports = append(r.Ports, p)
	}
	for _, text := range c.mounts {
		m, err := parseMount(text)
		if err != nil {
			return fmt.Errorf("--mount: %w", err)
		}
		for i := range r.Nodes {
			r.Nodes[i].Mounts = append(r.Nodes[i].Mounts, m)
		}
	}
	return nil
}

// parsePort reads HOSTPORT:NODEPORT[/tcp|/udp], as published.
func parsePort(text string) (provision.Port, error) {
	ports, protocol, ok := strings.Cut(text, "/")
	if !ok {
		protocol = "tcp"
	}
	host, node, ok := strings.Cut(ports, ":")
	a, errA := strconv.ParseUint(host, 10, 16)
	b, errB := strconv.ParseUint(node, 10, 16)
	if !ok || errA != nil || errB != nil || a == 0 || b == 0 || protocol != "tcp" && protocol != "udp" {
		return provision.Port{}, fmt.Errorf("expected ports such as 8080:80 or 5353:53/udp, got %q", text)
	}
	return provision.Port{HostPort: uint16(a), NodePort: uint16(b), Protocol: protocol}, nil
}

// parseMount reads a mount as docker run does, of type bind alone.
func parseMount(text string) (provision.Mount, error) {
	var m provision.Mount
	bad := func(why string) (provision.Mount, error) {
		return provision.Mount{}, fmt.Errorf("expected type=bind,source=PATH,target=PATH[,readonly], got %q: %s", text, why)
	}
	for field := range strings.SplitSeq(text, ",") {
		key, value, given := strings.Cut(field, "=")
		switch key {
		case "type":
			if value != "bind" {
				return bad("there is no type " + value)
			}
		case "source", "src":
			m.Source = value
		case "target", "destination", "dst":
			m.Target = value
		case "readonly", "ro":
			m.ReadOnly = true
			if given {
				var err error
				if m.ReadOnly, err = strconv.ParseBool(value); err != nil {
					return bad(key + " is true or false")
				}
			}
		default:
			return bad(fmt.Sprintf("there is no %q", key))
		}
	}
	if m.Source == "" || m.Target == "" {
		return bad("it needs both paths")
	}
	return m, nil
}

// doors are the ways to get containers. Tests have others.
type doors struct {
	native Opener
	// docker opens the provisioner docker; answers says why there is no daemon.
	docker  func(ctx context.Context, o docker.Options) (provision.Provisioner, error)
	answers func(ctx context.Context) error
}

// openDefault opens the provisioner of a cluster that nobody has chosen one for: docker if its daemon answers, else native.
func (b *base) openDefault(cmd *cobra.Command, store provision.Store) (provision.Provisioner, error) {
	silent := b.doors.answers(cmd.Context())
	if silent == nil {
		return b.openDocker(cmd.Context(), store)
	}
	p, err := b.openNative(store)
	if errors.Is(err, provision.ErrNotSupported) {
		err = fmt.Errorf("there is no way to get machines here:\n  %w\n  provisioner %s: %w", err, docker.Name, silent)
	}
	return p, err
}

func (b *base) openDocker(ctx context.Context, store provision.Store) (provision.Provisioner, error) {
	return b.doors.docker(ctx, docker.Options{Dir: store.Dir, Images: b.findImages()})
}

func (b *base) openNative(store provision.Store) (provision.Provisioner, error) {
	images := b.findImages()
	return b.doors.native(native.Options{Dir: store.Dir, Images: images, Runc: findRunc(images)})
}
