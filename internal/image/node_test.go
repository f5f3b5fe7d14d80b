package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// node builds the node image and unpacks it.
func node(t *testing.T) (Spec, *os.Root) {
	t.Helper()
	images, err := oci.Read(build(t, results(t, program(t), 0o600, time.Now()), Node))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := oci.Unpack(images[0], dir); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	specs, err := Select(expanded(t), []string{Node})
	if err != nil {
		t.Fatal(err)
	}
	return specs[0], root
}

// The list of what may be executed is read from the unpacked image, not from the table that it is built of.
func TestNodeImageHasNoExecutableThatIsNotListed(t *testing.T) {
	spec, root := node(t)
	var found []string
	err := fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := root.Stat(name); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 14 {
		t.Errorf("only %d executables found: %v", len(found), found)
	}
	for _, name := range found {
		if !slices.Contains(nodeExecutables(), name) {
			t.Errorf("%s can be executed and is not in nodeExecutables", name)
		}
	}
	if !slices.Equal(spec.Executables, nodeExecutables()) {
		t.Error("the spec is held to another list")
	}
}

func TestBuildRefusesAnExecutableThatIsNotListed(t *testing.T) {
	for name, entry := range map[string]rootfs.Entry{
		"a program":                rootfs.Bytes("usr/bin/sh", 0o755, []byte("shell")),
		"a link to a program":      rootfs.Symlink("usr/bin/sh", "../sbin/init"),
		"an absolute link":         rootfs.Symlink("usr/bin/sh", "/usr/sbin/init"),
		"executable by others too": rootfs.Bytes("usr/bin/sh", 0o601, []byte("shell")),
	} {
		t.Run(name, func(t *testing.T) {
			specs, err := Select(expanded(t), []string{Node})
			if err != nil {
				t.Fatal(err)
			}
			specs[0].Files = append(slices.Clone(specs[0].Files), entry)
			b := Builder{Components: versions(results(t, program(t), 0o600, time.Now())), Arch: "amd64", Debian: fakePackages()}
			_, err = b.Build(t.Context(), specs, t.TempDir())
			if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "/usr/bin/sh can be executed") {
				t.Errorf("Build = %v; want that /usr/bin/sh is refused", err)
			}
		})
	}
}

func TestNodeImageHasWhatANodeStandsOn(t *testing.T) {
	_, root := node(t)
	for _, name := range []string{"sbin/init", "sbin/apid", "sbin/trustd", "sbin/dashboard", "bin/containerd", "bin/runc", "opt/cni/bin/loopback"} {
		if info, err := root.Stat(name); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v; want an executable", name, err)
		}
	}
	for _, name := range []string{"dev", "proc", "sys", "run", "system", "tmp", "var", "opt", "etc/cri/conf.d", "etc/cni/net.d", "etc/kubernetes"} {
		if info, err := root.Stat(name); err != nil || !info.IsDir() {
			t.Errorf("%s: %v; want a folder to mount on", name, err)
		}
	}
	for _, name := range []string{"etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id", "etc/os-release", "usr/etc/in-container"} {
		if info, err := root.Lstat(name); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v; want a file, to be there or to mount on", name, err)
		}
	}
	users, err := root.ReadFile("etc/passwd")
	for _, want := range []string{"root:x:0:", "apid:x:50:", "trustd:x:51:", "etcd:x:60:"} {
		if !strings.Contains(string(users), want) {
			t.Errorf("etc/passwd has no %s: %v", want, err)
		}
	}
}

// kubectl get nodes -o wide shows PRETTY_NAME.
func TestOSRelease(t *testing.T) {
	want := "NAME=\"Talos\"\nID=talos\nVERSION_ID=VERSION\nPRETTY_NAME=\"Talos (VERSION)\"\n"
	got := osRelease()
	_, rest, _ := strings.Cut(got, "VERSION_ID=")
	number, _, _ := strings.Cut(rest, "\n")
	if diff := cmp.Diff(want, strings.ReplaceAll(got, number, "VERSION")); diff != "" || !strings.HasPrefix(number, "v") {
		t.Errorf("os-release, version %q (-want +got):\n%s", number, diff)
	}
}
