package node

import (
	"context"
	"fmt"
	"os"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/container"
	"talos.internal/internal/ctrl/accessctrl"
	"talos.internal/internal/ctrl/clusterctrl"
	"talos.internal/internal/ctrl/configctrl"
	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/ctrl/filesctrl"
	"talos.internal/internal/ctrl/hardwarectrl"
	"talos.internal/internal/ctrl/hostdnsctrl"
	"talos.internal/internal/ctrl/kubectrl"
	"talos.internal/internal/ctrl/kubeletctrl"
	"talos.internal/internal/ctrl/kubeprismctrl"
	"talos.internal/internal/ctrl/manifestctrl"
	"talos.internal/internal/ctrl/netctrl"
	"talos.internal/internal/ctrl/nodectrl"
	"talos.internal/internal/ctrl/runtimectrl"
	"talos.internal/internal/ctrl/secretsctrl"
	"talos.internal/internal/ctrl/servicectrl"
	"talos.internal/internal/ctrl/timectrl"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/adjtime"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/process"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
)

// authorities is the file with the certificates that the image trusts.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// registerControllers registers every controller of the node.
func (n *node) registerControllers() error {
	kernel, err := rtnl.Open()
	if err != nil {
		return fmt.Errorf("open the network of the node: %w", err)
	}
	version := runtime.Version{Name: buildinfo.Name, Version: buildinfo.Version}
	var host netctrl.Host = process.Kernel{}
	links := netctrl.Deps{Kernel: kernel, Host: host, Platform: n.platform(), Events: n.events}
	configs := configctrl.Deps{Store: n.configs, Userdata: n.facts.UserData, Mode: n.mode(), Publish: n.publish}
	running := runtimectrl.Deps{Mode: n.mode(), Version: version, Stage: n.stage, Publish: n.publish}
	var clock timectrl.Deps
	garbage := garbageOf(memory(n.groups, n.log))
	var caches chan struct{} // nil: they are there from the start
	volumes := n.machine != nil
	if n.machine != nil {
		links.Seed, links.Cmdline, links.Devices = n.machine.from.Seed, n.machine.line, linkDevice
		configs.Sources, configs.Volumes = n.machine.sources(), true
		running.Settled, running.BootImage = n.machine.settled, runtimectrl.StartedFrom(boot.Medium+"/"+mediumUKI, n.machine.cmdline)
		clock.Clock = adjtime.Kernel{}
		caches = n.machine.caches
	}
	all := slices.Concat(
		[]controller.Controller{
			gatesController{n.gates},
			trustdController{services: n.services, service: n.trustd()},
		},
		configctrl.Controllers(configs),
		n.ofMachine(kernel),
		n.upgrades.controllers(),
		n.ofKernel(),
		n.ofLogs(),
		n.ofExtensions(),
		servicectrl.Controllers(servicectrl.Deps{Supervisor: n.services, Publish: n.publish}),
		runtimectrl.Controllers(running),
		clusterctrl.Controllers(clusterctrl.Deps{StateDir: stateDir, Volumes: volumes, Version: version}),
		discoveryctrl.Controllers(discoveryctrl.Deps{Door: n.discovery, Version: buildinfo.Version}),
		timectrl.Controllers(clock),
		hardwarectrl.Controllers(hardwarectrl.Deps{}),
		netctrl.Controllers(links),
		filesctrl.Controllers(filesctrl.Deps{Root: boot.SystemEtc, Binder: binder{mount.Kernel{}}}),
		crictrl.Controllers(crictrl.Deps{
			Services: n.services, Launcher: n.processes, Client: n.runtime, Snapshotter: n.snapshots,
			Conditions: []supervise.Condition{n.gates.network, n.gates.ephemeral}, CachesKnown: caches, Garbage: garbage,
		}),
		etcdctrl.Controllers(etcdctrl.Deps{
			Services: n.services, Client: n.runtime, Door: n.door,
			Conditions: []supervise.Condition{n.gates.network, n.gates.time},
		}),
		kubectrl.Controllers(kubectrl.Deps{
			Image:   func(ctx context.Context, ref string) error { return n.runtime.Ensure(ctx, container.Pods, ref) },
			Garbage: garbage,
		}),
		kubeletctrl.Controllers(kubeletctrl.Deps{
			Services:   n.services,
			Runner:     func(s container.Spec) supervise.Runner { return container.Runner{Client: n.runtime, Spec: s} },
			Conditions: []supervise.Condition{n.gates.network, n.gates.time},
			Container:  n.facts.Mode == boot.Container,
			Image:      func(ctx context.Context, ref string) error { return n.runtime.Ensure(ctx, container.System, ref) },
			Garbage:    garbage,
		}),
		manifestctrl.Controllers(manifestctrl.Deps{Lock: etcdop.Operator{PKI: etcdctrl.DefaultPKI}}),
		nodectrl.Controllers(nodectrl.Deps{}),
		accessctrl.Controllers(accessctrl.Deps{}),
		kubeprismctrl.Controllers(kubeprismctrl.Deps{}),
		hostdnsctrl.Controllers(n.hostDNS(kernel)),
		secretsctrl.Controllers(secretsctrl.Deps{
			StateDir: stateDir, Volumes: volumes, SystemRoots: func() ([]byte, error) { return os.ReadFile(authorities) },
		}),
	)
	for _, c := range all {
		if err := n.scheduler.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// hostDNS is what the node's resolver needs. In a container nothing else gives the loopback its addresses for pods.
func (n *node) hostDNS(kernel *rtnl.Conn) hostdnsctrl.Deps {
	if n.facts.Mode == boot.Container {
		return hostdnsctrl.Deps{Kernel: kernel}
	}
	return hostdnsctrl.Deps{}
}

// platform is what the container runtime has said; a machine's platform says it later.
func (n *node) platform() network.PlatformConfig {
	if n.facts.Mode != boot.Container {
		return network.PlatformConfig{}
	}
	return netctrl.Container{
		Hostname: n.facts.Hostname, ResolvConf: string(n.facts.Files["resolv.conf"]), SKU: n.facts.SKU,
	}.Config()
}

// binder shows files of boot.SystemEtc in /etc.
type binder struct{ verbs mount.Verbs }

// Bind implements filesctrl.Binder.
func (b binder) Bind(name string) error {
	spec, err := boot.EtcMount(name)
	if err != nil {
		return err
	}
	_, err = mount.Ensure(b.verbs, spec)
	return err
}
