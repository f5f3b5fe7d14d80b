// Package probe makes images with one program of a test in them, for pods that look at a cluster from within.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// Image builds a program, a package as the go command names it, and makes it the only file, /probe, and the entrypoint of the image ref.
// User is as in [oci.Config]; empty is root. What the image is made of is in dir as long as the image is used.
func Image(dir, ref, program, user string) (oci.Image, error) {
	file := filepath.Join(dir, "probe")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return oci.Image{}, fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	entry, err := rootfs.Host("probe", 0o755, file)
	if err != nil {
		return oci.Image{}, err
	}
	tree := new(rootfs.Tree)
	if err := tree.Add(entry); err != nil {
		return oci.Image{}, err
	}
	layer, err := oci.NewLayer(tree, dir)
	if err != nil {
		return oci.Image{}, err
	}
	return oci.NewImage(ref, oci.Config{Arch: runtime.GOARCH, User: user, Entrypoint: []string{"/probe"}}, []*oci.Layer{layer}, []string{"the probe"})
}

// Archive is [Image] as docker load takes it.
func Archive(ref, program, user string) (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	img, err := Image(dir, ref, program, user)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	err = oci.WriteDocker(img, &archive)
	return archive.Bytes(), err
}

// Import gives an image, as [Archive] makes it, to the pods of the machine that a call with ctx is for, and returns its name.
func Import(ctx context.Context, c *client.Client, archive []byte) (name string, err error) {
	s, err := c.Images().Import(ctx)
	if err != nil {
		return "", err
	}
	in := &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CRI, Namespace: commonpb.ContainerdNamespace_NS_CRI}
	err = s.Send(&machinepb.ImageServiceImportRequest{Request: &machinepb.ImageServiceImportRequest_Containerd{Containerd: in}})
	for rest := archive; err == nil && len(rest) > 0; {
		part := rest[:min(len(rest), 1<<20)]
		rest = rest[len(part):]
		err = s.Send(&machinepb.ImageServiceImportRequest{Request: &machinepb.ImageServiceImportRequest_ImageChunk{
			ImageChunk: &commonpb.Data{Bytes: part},
		}})
	}
	reply, closed := s.CloseAndRecv()
	if closed != nil {
		return "", closed // it says why nothing more was taken
	}
	return reply.GetName(), err
}
