//go:build linux

package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"talos.internal/config/schema"
	"talos.internal/internal/provision"
)

// Provisioner implements provision.Provisioner. It has no state but that of its store.
type Provisioner struct {
	store    provision.Own
	launcher []string
	options  Options // of machines that are made
	qemu     string
	kvm      bool
	grace    time.Duration // that a node has to shut down
	// trace, which is never nil, is called before each thing that is made. A test stops there.
	trace func(what string)
}

var _ provision.Provisioner = (*Provisioner)(nil)

// New returns a provisioner. It fails with provision.ErrNotSupported if QEMU is not installed.
func New(o Options) (provision.Provisioner, error) { return Open(o) }

// Open is New, with what only this provisioner can do.
func Open(o Options) (*Provisioner, error) {
	no := func(format string, args ...any) (*Provisioner, error) {
		return nil, fmt.Errorf("provisioner %s: %w: %s", Name, provision.ErrNotSupported, fmt.Sprintf(format, args...))
	}
	if len(o.Switch) < 2 {
		return no("there is no command for the switch")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return no("%v; install Debian's qemu-system-x86 and qemu-utils", err)
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return no("%v; install Debian's qemu-utils", err)
	}
	for _, path := range []*string{&o.Dir, &o.Kernel, &o.Initramfs} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, fmt.Errorf("provisioner %s: %w", Name, err)
		}
	}
	if o.Disk == 0 {
		o.Disk = DefaultDisk
	}
	kvm, _ := accelerator()
	return &Provisioner{
		store: provision.Own{Store: provision.Store{Dir: o.Dir}, Provisioner: Name}, launcher: o.Switch, options: o, qemu: qemu, kvm: kvm,
		grace: provision.StopTimeout, trace: func(string) {},
	}, nil
}

// Name implements provision.Provisioner.
func (p *Provisioner) Name() string { return Name }

// The keys of a state's data.
const (
	keyForwards  = "forwards" // see parseForwards
	keyImage     = "image"    // absolute path of the request's image
	keyMedium    = "medium"   // what it is
	keyKernel    = "kernel"
	keyInitramfs = "initramfs"
	keyCmdline   = "cmdline"
	keyDisk      = "disk"       // bytes
	keyUEFI      = "uefi"       // path of the firmware's code; "" for none
	keyVars      = "vars"       // path of the variables that machines begin with
	keySecure    = "secureboot" // "true", or ""
	keyTPM       = "tpm"        // "true", or ""
	keyDHCP      = "dhcp"       // "true", or ""
	keyClock     = "clock"      // in the form of clockForm; "" is the right time
)

// Create implements provision.Provisioner.
func (p *Provisioner) Create(ctx context.Context, r provision.ClusterRequest, progress provision.Progress) (*provision.Cluster, error) {
	if err := p.check(r); err != nil {
		return nil, fmt.Errorf("create cluster %s: %w", r.Name, err)
	}
	if err := os.MkdirAll(p.store.Dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := p.store.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.create(ctx, r, progress); err != nil {
		return nil, fmt.Errorf("create cluster %s: %w", r.Name, err)
	}
	return p.Reflect(ctx, r.Name)
}

// check is what a request must be here, beyond what every provisioner wants.
func (p *Provisioner) check(r provision.ClusterRequest) error {
	errs := []error{r.Check()}
	for _, n := range r.Nodes {
		errs = append(errs, p.checkNode(r.Name, n, r.Network.CIDR))
	}
	for _, port := range r.Ports {
		if port.Protocol != "tcp" && port.Protocol != "udp" || port.HostPort == 0 || port.NodePort == 0 || port.Host.IsValid() && !port.Host.Is4() {
			errs = append(errs, fmt.Errorf("publish port %d at %v:%d/%s: %w: want tcp or udp, ports from 1, and an IPv4 address", port.NodePort,
				port.Host, port.HostPort, port.Protocol, provision.ErrInvalid))
		}
	}
	return errors.Join(errs...)
}

func (p *Provisioner) checkNode(cluster string, n provision.NodeRequest, network netip.Prefix) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("node %s: %w: %s", n.Name, provision.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case n.Name == gatewayName:
		return bad("the gateway has this name")
	case len(n.Config) > schema.MaxSize:
		return bad("its config has %d bytes; at most %d", len(n.Config), schema.MaxSize)
	case len(n.Mounts) > 0:
		return bad("a virtual machine cannot have folders of this computer; leave the mounts out")
	case n.Memory != 0 && n.Memory < 64<<20:
		return bad("%d bytes of memory; a machine has at least 64 MiB", n.Memory)
	}
	if !network.IsValid() || !n.Address.Is4() {
		return nil // which is said elsewhere
	}
	if n.Address == reserved(network) {
		return bad("the gateway has the address %s of %s, too", n.Address, network)
	}
	if path := filepath.Join(p.runDir(cluster), strconv.FormatUint(uint64(offset(network, n.Address)), 10)) + monitorSuffix; len(path) > mostSocket {
		return bad("the path of its socket, %s, has %d bytes; at most %d: choose a shorter folder of clusters, or name", path, len(path), mostSocket)
	}
	return nil
}

// offset is the place of an address in a network.
func offset(network netip.Prefix, a netip.Addr) uint32 {
	x, y := network.Masked().Addr().As4(), a.As4()
	return binary.BigEndian.Uint32(y[:]) - binary.BigEndian.Uint32(x[:])
}

func stateNode(n provision.NodeRequest) provision.StateNode {
	return provision.StateNode{Name: n.Name, Type: n.Type, Address: n.Address, CPUs: n.CPUs, Memory: n.Memory}
}

// plan is what a state says of the machines that are to be made.
func (p *Provisioner) plan(image string) (map[string]string, error) {
	o := p.options
	path, err := filepath.Abs(image)
	if err != nil {
		return nil, err
	}
	what, err := look(path)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if what.medium == kernelImage {
		if o.Kernel != "" {
			return nil, fmt.Errorf("image %s: %w: it is a kernel, and another one is named beside", path, provision.ErrInvalid)
		}
		o.Kernel = path
	}
	data := map[string]string{keyImage: path, keyMedium: string(what.medium), keyDisk: strconv.FormatInt(max(o.Disk, what.size), 10)}
	if o.Kernel != "" {
		if o.UEFI {
			return nil, fmt.Errorf("%w: a kernel is started without firmware; leave out --with-uefi, or the kernel", provision.ErrInvalid)
		}
		for _, f := range []string{o.Kernel, o.Initramfs} {
			if f == "" {
				continue
			}
			if _, err := os.Stat(f); err != nil {
				return nil, err
			}
		}
		data[keyKernel], data[keyInitramfs], data[keyCmdline] = o.Kernel, o.Initramfs, o.Cmdline
	} else if o.Initramfs != "" || o.Cmdline != "" {
		return nil, fmt.Errorf("%w: an initramfs and a command line are for a kernel, and there is none", provision.ErrInvalid)
	}
	if o.UEFI {
		f, err := findFirmware(o.SecureBoot)
		if err != nil {
			return nil, err
		}
		data[keyUEFI], data[keyVars] = f.code, f.vars
		if o.SecureBoot {
			data[keySecure] = "true"
		}
	} else if o.SecureBoot {
		return nil, fmt.Errorf("%w: Secure Boot is of UEFI, and the machine is to boot without", provision.ErrInvalid)
	}
	if o.TPM {
		for _, program := range []string{"swtpm", "swtpm_setup"} {
			if _, err := exec.LookPath(program); err != nil {
				return nil, fmt.Errorf("TPM: %w: %w; install Debian's swtpm and swtpm-tools", provision.ErrNotSupported, err)
			}
		}
		data[keyTPM] = "true"
	}
	if o.DHCP {
		data[keyDHCP] = "true"
	}
	if !o.Clock.IsZero() {
		data[keyClock] = o.Clock.UTC().Format(clockForm)
	}
	return data, nil
}

func (p *Provisioner) create(ctx context.Context, r provision.ClusterRequest, progress provision.Progress) error {
	dir := p.store.Path(r.Name)
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s: %w: remove it with: talosctl cluster destroy --name %s", dir, fs.ErrExist, r.Name)
	}
	data, err := p.plan(r.Image)
	if err != nil {
		return err
	}
	state := &provision.State{
		Provisioner: Name, Name: r.Name, Phase: provision.Creating, Created: time.Now().UTC().Truncate(time.Second),
		Network: provision.StateNetwork{
			Name: r.Name, CIDR: r.Network.CIDR.Masked(), Gateway: r.Network.Gateway(), MTU: r.Network.MTU, Nameservers: r.Network.Nameservers,
		},
		Image: r.Image, KubernetesEndpoint: r.KubernetesEndpoint, Data: data,
	}
	var forwards []forward
	for i, n := range r.Nodes {
		state.Nodes = append(state.Nodes, stateNode(n))
		own, err := wanted(state.Nodes[i], freePort)
		if err != nil {
			return err
		}
		forwards = append(forwards, own...)
	}
	data[keyForwards] = formatForwards(append(forwards, asked(r.Ports, r.Nodes[0].Name)...))
	p.trace("folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p.trace("state")
	if err := p.store.Save(state); err != nil {
		return err
	}
	err = progress.Do(fmt.Sprintf("make network %s", state.Network.CIDR), func() error {
		p.trace("folder of sockets")
		if err := os.Mkdir(p.runDir(r.Name), 0o700); err != nil {
			return err
		}
		return p.ensureNetwork(ctx, state)
	})
	if err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		err := progress.Do(fmt.Sprintf("start node %s (%s)", n.Name, n.Address), func() error {
			return p.makeNode(ctx, state, stateNode(n), n.Config)
		})
		if err != nil {
			return err
		}
	}
	p.trace("state, created")
	state.Phase = provision.Created
	return p.store.Save(state)
}

// loadNode is load for one node of the cluster.
func (p *Provisioner) loadNode(cluster, node string) (*provision.State, provision.StateNode, error) {
	state, err := p.store.Load(cluster)
	if err != nil {
		return nil, provision.StateNode{}, err
	}
	i, err := state.Node(node)
	if err != nil {
		return nil, provision.StateNode{}, err
	}
	return state, state.Nodes[i], nil
}

// Reflect implements provision.Provisioner.
func (p *Provisioner) Reflect(_ context.Context, name string) (*provision.Cluster, error) {
	state, err := p.store.Load(name)
	if err != nil {
		return nil, err
	}
	running, err := processes(func(args []string) bool { return belongs(args, p.runDir(name), p.launcher) })
	if err != nil {
		return nil, fmt.Errorf("look at cluster %s: %w", name, err)
	}
	forwards, err := parseForwards(state.Data[keyForwards])
	if err != nil {
		return nil, fmt.Errorf("look at cluster %s: %w", name, err)
	}
	disk, err := strconv.ParseInt(state.Data[keyDisk], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("look at cluster %s: size of disks: %w", name, err)
	}
	c := p.store.Cluster(state)
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Disk = disk
		n.Published = map[uint16]string{}
		for _, f := range forwards {
			if _, ok := n.Published[f.port]; !ok && f.node == n.Name && f.proto == "tcp" {
				n.Published[f.port] = f.host.String()
			}
		}
		n.Endpoint = n.Published[apiPort]
		if _, err := os.Stat(p.nodeDir(name, n.Name, configFile)); err == nil {
			n.Status = provision.Stopped
		}
		for _, process := range running {
			if runs(process.Args, p.run(state, state.Nodes[i])+pidSuffix) {
				n.Status, n.PID = provision.Running, process.PID
			}
		}
	}
	return c, nil
}

// destroyLimit bounds the end of processes that were killed.
const destroyLimit = time.Minute

// Destroy implements provision.Provisioner.
func (p *Provisioner) Destroy(ctx context.Context, name string, progress provision.Progress) error {
	return p.store.Destroy(ctx, name, func(state *provision.State) error { return p.destroy(ctx, state, progress) })
}

func (p *Provisioner) destroy(ctx context.Context, state *provision.State, progress provision.Progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, destroyLimit, fmt.Errorf("not done after %v", destroyLimit))
	defer cancel()
	err := progress.Do(fmt.Sprintf("end %d nodes and their network", len(state.Nodes)), func() error {
		return kill(ctx, "the processes of cluster "+state.Name, func(args []string) bool {
			return belongs(args, p.runDir(state.Name), p.launcher)
		})
	})
	if err != nil {
		return err // the folder is what they are found by
	}
	return progress.Do("remove files", func() error { return os.RemoveAll(p.store.Path(state.Name)) })
}

// Config implements provision.Provisioner.
func (p *Provisioner) Config(_ context.Context, cluster, node string) ([]byte, error) {
	if _, _, err := p.loadNode(cluster, node); err != nil {
		return nil, err
	}
	return os.ReadFile(p.nodeDir(cluster, node, configFile))
}

// Logs implements provision.Provisioner.
func (p *Provisioner) Logs(ctx context.Context, cluster, node string, o provision.LogOptions, w io.Writer) error {
	if _, _, err := p.loadNode(cluster, node); err != nil {
		return err
	}
	if err := provision.CopyLog(ctx, p.nodeDir(cluster, node, consoleFile), o, consoleText{w}); err != nil {
		return fmt.Errorf("log of node %s: %w", node, err)
	}
	return nil
}

// identity returns the UUID and the address of the interface of a node: always the same for a node of a cluster in a folder.
func identity(dir, node string, place uint32) (uuid, mac string) {
	sum := sha256.Sum256([]byte(dir + "\x00" + node))
	sum[6] = sum[6]&0x0f | 0x80 // version 8, of one's own (RFC 9562, section 5.8)
	sum[8] = sum[8]&0x3f | 0x80
	h := hex.EncodeToString(sum[:16])
	uuid = h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	cluster := sha256.Sum256([]byte(dir))
	// Locally administered; the last bytes are the place, so two nodes of a network never have the same.
	return uuid, fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", cluster[0], cluster[1], byte(place>>16), byte(place>>8), byte(place))
}
