//go:build linux

package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/initramfs"
	"talos.internal/internal/image/kernel"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
	"talos.internal/internal/provision/provisiontest"
)

// Tests that start machines take minutes: "make e2e-machine" sets this variable, and has what they need.
const machinesVariable = "QEMU_TEST"

const (
	switchArgument    = "test-switch"
	interruptVariable = "QEMU_TEST_INTERRUPT" // N DIR KERNEL INITRAMFS NAME: create, and die before the N-th thing
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == switchArgument {
		if err := layer2.Run(context.Background(), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if text := os.Getenv(interruptVariable); text != "" {
		if err := createAndDie(strings.Fields(text)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	_ = os.RemoveAll(bootDir) // "" if no test needed it
	os.Exit(code)
}

func createAndDie(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	l := lab{dir: args[1], kernel: args[2], initramfs: args[3]}
	p, err := Open(l.options())
	if err != nil {
		return err
	}
	p.trace = func(string) {
		if n--; n == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	_, err = p.Create(context.Background(), l.request(args[4]), nil)
	return err
}

// bootDir is where boot works.
var bootDir string

// modules are those of a machine's devices, in the order in which they are loaded.
var modules = []string{"failover", "net_failover", "virtio_net", "virtio_blk", "cdrom", "isofs", "button", "evdev"}

// boot makes a folder with vmlinuz, the kernel that images have, and initramfs, with testdata/init and the modules.
var boot = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "qemu-boot-")
	if err != nil {
		return "", err
	}
	bootDir = dir
	program := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "./testdata/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	init, err := rootfs.Host("init", 0o755, program)
	if err != nil {
		return "", err
	}
	vmlinuz, files, err := testKernel()
	if err != nil {
		return "", fmt.Errorf("the kernel for tests: %w", err)
	}
	image, err := os.Create(filepath.Join(dir, "vmlinuz"))
	if err != nil {
		return "", err
	}
	defer image.Close()
	from, err := vmlinuz.Open()
	if err != nil {
		return "", err
	}
	defer from.Close()
	if _, err := io.Copy(image, from); err != nil {
		return "", err
	}
	var tree rootfs.Tree
	order := strings.Join(modules, ".ko.xz\n") + ".ko.xz\n"
	entries := []rootfs.Entry{init, rootfs.Dir("modules", 0o755), rootfs.Bytes("modules/order", 0o644, []byte(order))}
	for _, name := range modules {
		i := slices.IndexFunc(files, func(e rootfs.Entry) bool { return path.Base(e.Path) == name+".ko.xz" })
		if i < 0 {
			return "", fmt.Errorf("the kernel has no module %s", name)
		}
		e := files[i]
		e.Path = "modules/" + name + ".ko.xz"
		entries = append(entries, e)
	}
	if err := tree.Add(entries...); err != nil {
		return "", err
	}
	out, err := os.Create(filepath.Join(dir, "initramfs"))
	if err != nil {
		return "", err
	}
	return dir, errors.Join(initramfs.Write(out, &tree), out.Close())
})

// testKernel takes the kernel and modules out of the package that images are built from.
func testKernel() (vmlinuz rootfs.Entry, files []rootfs.Entry, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	const arch = "amd64"
	text, err := os.ReadFile("../../image/packages.lock")
	if err != nil {
		return vmlinuz, nil, err
	}
	lock, err := debian.ParseLock(bytes.NewReader(text))
	if err != nil {
		return vmlinuz, nil, err
	}
	source := &debian.Pinned{Lock: lock, Cache: &debian.Cache{Dir: "../../../_out/cache/debs", Archive: debian.NewApt(arch)}}
	meta, err := source.Package(ctx, kernel.MetaPackage(arch))
	if err != nil {
		return vmlinuz, nil, err
	}
	name, err := kernel.Package(meta)
	if err != nil {
		return vmlinuz, nil, err
	}
	deb, err := source.Package(ctx, name)
	if err != nil {
		return vmlinuz, nil, err
	}
	k, err := kernel.Read(deb)
	if err != nil {
		return vmlinuz, nil, err
	}
	set, err := k.Select(ctx, nil, modules...)
	if err != nil {
		return vmlinuz, nil, err
	}
	return k.Image, set.Entries(), nil
}

// lab is a folder for clusters, and what machines boot.
type lab struct{ dir, kernel, initramfs string }

func newLab(t *testing.T) lab {
	t.Helper()
	if os.Getenv(machinesVariable) == "" {
		t.Skip(machinesVariable + " is not set: make e2e-machine starts virtual machines")
	}
	dir, err := boot()
	if err != nil {
		t.Fatal(err)
	}
	return lab{filepath.Join(t.TempDir(), "clusters"), filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initramfs")}
}

func (l lab) options() Options {
	return Options{
		Dir: l.dir, Switch: []string{os.Args[0], switchArgument}, Initramfs: l.initramfs, Disk: 1 << 20,
		Cmdline: "console=ttyS0 quiet loglevel=0 panic=-1 mitigations=off",
	}
}

func (l lab) provisioner(t *testing.T) *Provisioner {
	t.Helper()
	p, err := Open(l.options())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func config(word string) []byte { return []byte("word: " + word) }

func (l lab) request(name string) provision.ClusterRequest {
	r := provision.ClusterRequest{
		Name: name, Image: l.kernel, KubernetesEndpoint: "https://10.213.0.2:6443",
		Network: provision.NetworkRequest{CIDR: netip.MustParsePrefix("10.213.0.0/24"), MTU: 1500},
	}
	for i, kind := range []string{provision.ControlPlane, provision.Worker} {
		node := provision.NodeName(name, kind, 1)
		r.Nodes = append(r.Nodes, provision.NodeRequest{
			Name: node, Type: kind, Address: r.Network.Address(i), CPUs: 1, Memory: 192 << 20, Config: config(node),
		})
	}
	return r
}

// left is what there is of clusters in the folder: files, and processes whose command line has it.
func (l lab) left(t *testing.T) []string {
	t.Helper()
	var out []string
	all, err := processes(func(args []string) bool {
		return len(args) > 2 && strings.Contains(strings.Join(args[1:], " "), l.dir+string(filepath.Separator))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		out = append(out, fmt.Sprintf("process %d %q", p.PID, p.Args))
	}
	err = filepath.WalkDir(filepath.Dir(l.dir), func(name string, d fs.DirEntry, err error) error {
		if err == nil && name != filepath.Dir(l.dir) && name != l.dir {
			out = append(out, "file "+name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return out
}

// question asks a node something, as soon as it answers.
func question(ctx context.Context, n provision.Node, text string) (string, error) {
	for last := error(nil); ; {
		answer, err := try(ctx, n, text)
		if err == nil && answer != "" || text == "stubborn" && err == nil {
			return answer, nil
		}
		// The gateway takes connections before there is anyone behind it.
		if err != nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("ask %s at %s: %w; last seen: %w", n.Name, n.Endpoint, context.Cause(ctx), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func try(ctx context.Context, n provision.Node, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", n.Endpoint)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), err
}

const bootLimit = 5 * time.Minute

func TestSuite(t *testing.T) {
	l := newLab(t)
	provisiontest.Suite{
		New:     func(t *testing.T) provision.Provisioner { return l.provisioner(t) },
		Request: l.request,
		Config:  config,
		Left:    l.left,
		Interrupt: func(t *testing.T, name string, n int) bool {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s %s %s", interruptVariable, n, l.dir, l.kernel, l.initramfs, name))
			out, err := cmd.CombinedOutput()
			exit := new(exec.ExitError)
			if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
				return false
			}
			if err != nil {
				t.Fatalf("create in another process: %v\n%s", err, out)
			}
			return true
		},
		Kill: func(t *testing.T, n provision.Node) {
			if err := syscall.Kill(n.PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		},
		Reach: func(ctx context.Context, n provision.Node) error {
			answer, err := question(ctx, n, "hello")
			if err == nil && answer != "hello" {
				err = fmt.Errorf("it answered %q", answer)
			}
			return err
		},
		Limit: bootLimit, LongConfig: 17 << 20, PrivateNetworks: true,
	}.Run(t, "qemu-test")
}
