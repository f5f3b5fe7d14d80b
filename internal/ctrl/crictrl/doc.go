// Package crictrl has the controllers of containerd: its configuration, the registries that it pulls from, the image cache, and the
// service itself.
//
// # Model
//
// What the machine config says becomes resources: cri.RegistryConfig (mirrors, TLS, credentials), cri.CustomizationConfig (parts of
// containerd's own configuration), cri.BaseRuntimeSpecConfig, cri.SeccompProfile. [ServiceController] makes files of them in the
// directory of the CRI, /etc/cri, and runs containerd. The files are made by pure functions, [Files]:
//
//	containerd.toml              what the node needs; imports the extensions' parts, and conf.d/*.part
//	conf.d/NAME.part             20-NAME.part for each CustomizationConfig
//	conf.d/base-spec.json        what the runtime specification of every pod begins with, if the config changes it
//	conf.d/hosts/HOST/hosts.toml how a registry is reached: "_default" is any other
//
// containerd reads the hosts files at each pull; when another file changes it is restarted. Containers live on then.
//
// The image cache is served on loopback by package registryd, as the service "registryd". While it is up it is the first mirror of
// every registry. containerd starts when it is known whether there is a cache: nothing is pulled from elsewhere because the cache was
// late.
//
// Where the config has rules for signatures (security.ImageVerificationRule), pulls of the node itself are held to them by
// container.Client, which [Policy] is for, and those for pods by containerd, which asks the program "image-verifier" about each. Rules
// are about pulls: an image that is there already may be used.
//
// /etc/cri has to be writable: the root file system is not, so the boot plan puts a file system in memory there.
package crictrl

import (
	"context"

	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/child"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// The services of the package.
const (
	ContainerdID = "containerd"
	RegistrydID  = "registryd"
)

// Verifier is the name of the program that containerd asks about images.
const Verifier = "image-verifier"

// Services is what the package needs of the supervisor.
type Services interface {
	Load(...supervise.Service) error
	Start(ids ...string) error
	Restart(ctx context.Context, id string) error
	Unload(ctx context.Context, ids ...string) error
	Status(id string) (supervise.Status, error)
}

// Deps is what the controllers need of the outside. The zero values of paths are those of a node.
type Deps struct {
	// Services runs containerd and registryd. Required.
	Services Services
	// Launcher starts containerd. Required.
	Launcher child.Launcher
	// Client is the connection to containerd. Required.
	Client *container.Client
	// Conditions are what containerd waits for: the gate of the network.
	Conditions []supervise.Condition
	// Host tells what this process may give to containers; nil means container.ReadHost.
	Host func() (container.Host, error)
	// Snapshotter is what [Snapshotter] chose; empty means overlayfs.
	Snapshotter string
	// Garbage is the GOGC of containerd and its shims: how much garbage there may be, in percent of what is in use. "" leaves it to them.
	Garbage string
	// Dir is the directory of the CRI's files, /etc/cri. It is there and can be written to.
	Dir string
	// Root is for containerd's data, /var/lib/containerd; State for its sockets and what it runs, /run/containerd.
	Root, State string
	// Caches are where an image cache may be, in the order in which they are searched: /system/imagecache, or below it disk and iso.
	Caches []string
	// CachesKnown is closed when all caches are there that a start finds; until then nobody looks, and containerd does not begin. Nil
	// means that they are there already.
	CachesKnown <-chan struct{}
	// Seccomp is for the profiles that pods can name, /var/lib/kubelet/seccomp/profiles.
	Seccomp string
	// Program is containerd, /usr/bin/containerd; its shim and runc are beside it.
	Program string
	// Verifiers is the folder with the program that containerd asks about images, /usr/libexec/image-verifier. There is no other
	// file in it.
	Verifiers string
}

func (d Deps) withDefaults() Deps {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&d.Snapshotter, Overlay)
	set(&d.Dir, "/etc/cri")
	set(&d.Root, "/var/lib/containerd")
	set(&d.State, "/run/containerd")
	set(&d.Seccomp, "/var/lib/kubelet/seccomp/profiles")
	set(&d.Program, "/usr/bin/containerd")
	set(&d.Verifiers, "/usr/libexec/"+Verifier)
	if d.Caches == nil {
		d.Caches = []string{"/system/imagecache", "/system/imagecache/disk", "/system/imagecache/iso"}
	}
	if d.Host == nil {
		d.Host = container.ReadHost
	}
	return d
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	d = d.withDefaults()
	return []controller.Controller{
		customization(), runtimeSpec(), seccompProfile(), verificationRules(), RegistriesConfigController{},
		&SeccompProfileFileController{Dir: d.Seccomp},
		&ImageCacheConfigController{Services: d.Services, Caches: d.Caches, Known: d.CachesKnown},
		&ServiceController{deps: d},
	}
}

// all returns the specs of a kind by id, but for those that go.
func all[S resource.Spec](ctx context.Context, st state.Reader) (map[string]S, error) {
	list, err := state.List[S](ctx, st)
	if err != nil {
		return nil, err
	}
	out := map[string]S{}
	for _, r := range list {
		if r.Metadata().Phase() == resource.Running {
			out[r.Metadata().ID()] = r.Spec()
		}
	}
	return out, nil
}

// configInput is the input of a controller that reads the machine config.
func configInput() controller.Input {
	return controller.Weak[machineconfig.Config]().Named(machineconfig.Active)
}
