package provisiontest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// ImageRef is the reference of the image of [Layout].
const ImageRef = "talos.internal/talos:v0.0.1"

// program is the package of the nodes' PID 1.
const program = "talos.internal/internal/provision/provisiontest/testdata/init"

// Layout makes an image cache in the folder dir/images and returns its path. It has a node image whose PID 1 does what [Suite]
// wants, and answers the questions of [Ask].
func Layout(dir string) (string, error) {
	file := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	init, err := rootfs.Host("usr/sbin/init", 0o755, file)
	if err != nil {
		return "", err
	}
	entries := []rootfs.Entry{init, rootfs.Symlink("sbin", "usr/sbin"), rootfs.Bytes("opt/cni/bin/plugin", 0o755, []byte("plugin"))}
	for _, name := range []string{"dev", "proc", "sys", "run", "system", "tmp", "var", "opt"} {
		entries = append(entries, rootfs.Dir(name, 0o755))
	}
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		entries = append(entries, rootfs.Bytes("etc/"+name, 0o644, nil))
	}
	var tree rootfs.Tree
	if err := tree.Add(entries...); err != nil {
		return "", err
	}
	layer, err := oci.NewLayer(&tree, dir)
	if err != nil {
		return "", err
	}
	img, err := oci.NewImage(ImageRef, oci.Config{Arch: "amd64", Entrypoint: []string{"/sbin/init"}}, []*oci.Layer{layer}, []string{"test"})
	if err != nil {
		return "", err
	}
	images := filepath.Join(dir, "images")
	return images, oci.WriteLayout(images, []oci.Image{img})
}

// Ask asks a node of the image of [Layout], which it reaches at a host, or a host and port, and returns the answer.
func Ask(ctx context.Context, endpoint, question string) (string, error) {
	var d net.Dialer
	if !strings.Contains(endpoint, ":") {
		endpoint = net.JoinHostPort(endpoint, "50000")
	}
	for { // the port is there a moment after the start
		c, err := d.DialContext(ctx, "tcp4", endpoint)
		if err != nil {
			select {
			case <-ctx.Done():
				return "", fmt.Errorf("dial: %w", err)
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		defer c.Close()
		if deadline, ok := ctx.Deadline(); ok {
			_ = c.SetDeadline(deadline)
		}
		if _, err := io.WriteString(c, question+"\n"); err != nil {
			return "", err
		}
		text, err := io.ReadAll(c)
		return string(text), err
	}
}
