package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"talos.internal/controller"
	"talos.internal/internal/boot"
	"talos.internal/internal/ctrl/blockctrl"
	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/ctrl/dhcpctrl"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/ctrl/firewallctrl"
	"talos.internal/internal/ctrl/linkctrl"
	"talos.internal/internal/ctrl/netctrl"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/install"
	"talos.internal/internal/server"
	"talos.internal/internal/sys/announce"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/netdev"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/internal/sys/wg"
	"talos.internal/internal/volume"
)

// encryptionArg is the kernel's argument that says by "config" that a volume is encrypted only if the config asks for it.
const encryptionArg = "talos.encryption"

// ofMachine are the controllers that only a machine has: disks and links of a container are its host's.
func (n *node) ofMachine(kernel *rtnl.Conn) []controller.Controller {
	if n.machine == nil {
		return nil
	}
	links := linkctrl.Deps{Kernel: kernel, Announcer: announcer{}, Cmdline: n.machine.line, Wireguard: &tunnels{}}
	disks := blockctrl.Deps{
		Kernel: n.machine.disks, Meta: n.machine.meta, Mounts: mount.Kernel{}, Watch: watchDisks,
		Keys: n.machine.keys, Measure: pcr.Extend, RootGUID: n.machine.rootGUID(), Persist: n.configs.Keep, Reboot: n.reboot,
		Clear: n.machine.param(encryptionArg) == "config",
	}
	if _, ok := mount.Top(n.facts.Mounts, boot.Medium); ok {
		disks.Assets = mediumAssets
	}
	return slices.Concat(
		[]controller.Controller{
			ephemeralController{gate: n.gates.ephemeral, prepare: n.prepareEphemeral, closed: volume.Closed},
			&crictrl.ImageCacheVolumeController{Show: n.showImageCache, Known: n.machine.caches},
		},
		blockctrl.Controllers(disks),
		linkctrl.Controllers(links),
		firewallctrl.Controllers(firewallctrl.Deps{}),
		dhcpctrl.Controllers(dhcpctrl.Deps{Cmdline: n.machine.line, Election: etcdop.Operator{PKI: etcdctrl.DefaultPKI}}),
	)
}

// tunnels opens WireGuard when somebody wants a tunnel: that loads six modules, which most machines do not need, and all waited for
// in the middle of their start.
type tunnels struct {
	mu   sync.Mutex
	conn *wg.Conn
}

// Configure implements linkctrl.Wireguard.
func (t *tunnels) Configure(name string, cfg wg.Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		c, err := wg.Open()
		if err != nil {
			return fmt.Errorf("configure the tunnel %s: %w", name, err)
		}
		t.conn = c
	}
	return t.conn.Configure(name, cfg)
}

// announcer tells neighbours of addresses that have moved.
type announcer struct{}

// Announce implements linkctrl.Announcer.
func (announcer) Announce(link string, a netip.Addr) error { return announce.Send(link, a) }

// linkDevice is what hardware is behind a link.
func linkDevice(link string) netctrl.Device {
	return netctrl.Device(netdev.Lookup(netdev.Root, link))
}

// reboot starts the machine anew, unless it ends already.
func (n *node) reboot(reason string) {
	n.log.Warn("the machine starts again", "reason", reason)
	if err := n.lifecycle.Request(context.Background(), server.Cause{Action: server.Reboot, Actor: "machine"}); err != nil {
		n.log.Info("it ends already", "error", err)
	}
}

// Files of a medium to install from.
const (
	mediumUKI        = "uki.efi"
	mediumRoot       = "rootfs.img"
	mediumBootLoader = "systemd-boot.efi"
	mediumImageCache = "imagecache.img" // need not be there
)

// files are closed together.
type files []*os.File

// Close implements io.Closer.
func (f files) Close() error {
	var errs []error
	for _, x := range f {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

// mediumAssets opens what is on the medium that the machine was started from.
func mediumAssets(context.Context) (install.Assets, io.Closer, error) {
	var a install.Assets
	var open files
	for _, x := range []struct {
		name   string
		blob   *install.Blob
		needed bool
	}{{mediumUKI, &a.UKI, true}, {mediumRoot, &a.Root, true}, {mediumBootLoader, &a.BootLoader, true}, {mediumImageCache, &a.ImageCache, false}} {
		f, err := os.Open(filepath.Join(boot.Medium, x.name))
		if err != nil && !x.needed && errors.Is(err, os.ErrNotExist) {
			continue
		}
		var size int64
		if err == nil {
			open = append(open, f)
			var st os.FileInfo
			if st, err = f.Stat(); err == nil {
				size = st.Size()
			}
		}
		if err != nil {
			return install.Assets{}, nil, fmt.Errorf("open what is installed: %w", errors.Join(err, open.Close()))
		}
		*x.blob = install.Blob{Reader: f, Size: size}
	}
	return a, open, nil
}

// showImageCache mounts the image caches that there are. What does not work is logged, and images come from elsewhere.
func (n *node) showImageCache(ctx context.Context, partition string) {
	_, _ = boot.Run(ctx, boot.ImageCachePlan(partition), boot.NewHost("", n.services), n.log) // each step may fail
}
