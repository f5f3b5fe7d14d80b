package container

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/registryd"
)

const testImage = "registry.example.internal/program:v1"

// component returns a program that "make components" builds.
func component(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TALOS_COMPONENTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "_out", "components")
	}
	p, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the component %s is missing: %v", name, err)
		}
		t.Skipf("%v: build it with \"make components\"", err)
	}
	return p
}

// daemon is a containerd of the test's own.
type daemon struct {
	dir, program, path string
	cmd                *exec.Cmd
	log                *syncBuffer
}

func startDaemon(t testing.TB) *daemon {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	program, runc := component(t, "containerd/containerd"), component(t, "runc/runc")
	dir, err := os.MkdirTemp("", "ctd") // short: the paths of sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{dir: dir, program: program, path: filepath.Dir(program) + ":" + filepath.Dir(runc), log: &syncBuffer{}}
	conf := fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]
[plugins."io.containerd.server.v1.grpc"]
  address = %q
[plugins."io.containerd.server.v1.ttrpc"]
  address = %q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), d.socket(), d.socket()+".ttrpc")
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.stop(t, syscall.SIGTERM)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("something is left of containerd: %v", err)
		}
	})
	d.start(t)
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "c.sock") }

func (d *daemon) start(t testing.TB) {
	t.Helper()
	d.cmd = exec.Command(d.program, "-c", filepath.Join(d.dir, "config.toml"))
	d.cmd.Env = []string{"PATH=" + d.path}
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (d *daemon) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		t.Errorf("stop containerd: %v", err)
	}
	_ = d.cmd.Wait() // its status is that of the signal
}

// newClient returns a client of the daemon that finds the test's image in a registryd.
func (d *daemon) newClient(t testing.TB) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- registryd.New(slog.New(slog.DiscardHandler), newImageCache(t)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	hosts := filepath.Join(d.dir, "hosts")
	if err := os.MkdirAll(filepath.Join(hosts, "_default"), 0o755); err != nil {
		t.Fatal(err)
	}
	toml := fmt.Sprintf("server = %q\n", "http://"+l.Addr().String())
	if err := os.WriteFile(filepath.Join(hosts, "_default", "hosts.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	c := New(Options{Socket: d.socket(), Hosts: hosts, RuncRoot: filepath.Join(d.dir, "runc")})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	wait, cancelWait := context.WithTimeout(ctx, 30*time.Second)
	defer cancelWait()
	for c.Healthy(wait) != nil {
		select {
		case <-wait.Done():
			t.Fatalf("containerd does not answer: %v\n%s", c.Healthy(context.Background()), d.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return c
}

// newImageCache makes a layout with testImage, whose program is testdata/program.
func newImageCache(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-o", program, "./testdata/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program of the test's image: %v\n%s", err, out)
	}
	var tree rootfs.Tree
	file, err := rootfs.Host("program", 0o755, program)
	if err == nil {
		err = tree.Add(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	layer, err := oci.NewLayer(&tree, dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.NewImage(testImage, oci.Config{Arch: "amd64", User: "60:61", Entrypoint: []string{"/program"}, Env: []string{"FROM_IMAGE=i"}},
		[]*oci.Layer{layer}, []string{"the program"})
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout")
	if err := oci.WriteLayout(layout, []oci.Image{img}); err != nil {
		t.Fatal(err)
	}
	return layout
}

// syncBuffer is a buffer for several writers and readers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
