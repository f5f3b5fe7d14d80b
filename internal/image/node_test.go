package image

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/image/debian"
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

// Few executables are a feature. What comes from the list of C programs has its reason there.
func TestNodeImageHasAtMostTwelvePrograms(t *testing.T) {
	spec, root := node(t)
	var tools, programs []string
	for _, name := range spec.Tools {
		if tool, ok := tool(name); ok {
			tools = append(tools, tool.Path)
		}
	}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&0o111 != 0 && !slices.Contains(tools, name) {
			programs = append(programs, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(programs) > 12 || len(programs) < len(spec.Programs) {
		t.Errorf("%d programs beside C tools; want %d to 12:\n  %s", len(programs), len(spec.Programs), strings.Join(programs, "\n  "))
	}
}

func TestBuildRefusesAnImageThatIsTooLarge(t *testing.T) {
	specs, err := Select(expanded(t), []string{Node})
	if err != nil {
		t.Fatal(err)
	}
	if specs[0].MaxSize != 80e6 {
		t.Errorf("the node image may weigh %d bytes; want 80 MB", specs[0].MaxSize)
	}
	specs[0].MaxSize = 1000
	b := Builder{Components: versions(results(t, program(t), 0o600, time.Now())), Arch: "amd64", Debian: fakePackages()}
	if _, err = b.Build(t.Context(), specs, t.TempDir()); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "at most 1000") {
		t.Errorf("Build = %v; want that it is too large", err)
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
	want := "NAME=\"Talos\"\nID=talos\nVERSION_ID=VERSION\nPRETTY_NAME=\"Talos (VERSION)\"\nTALOS_CONFIG_FORMAT=1\n"
	got := OSRelease()
	_, rest, _ := strings.Cut(got, "VERSION_ID=")
	number, _, _ := strings.Cut(rest, "\n")
	if diff := cmp.Diff(want, strings.ReplaceAll(got, number, "VERSION")); diff != "" || !strings.HasPrefix(number, "v") {
		t.Errorf("os-release, version %q (-want +got):\n%s", number, diff)
	}
}

func TestAMachinesRootIsTheNodesAndMore(t *testing.T) {
	specs, err := Expand([]Spec{MachineSpec()}, versions(""))
	if err != nil {
		t.Fatal(err)
	}
	all := fakePackages()
	kernel := "linux-image-6.12"
	doc := rootfs.Bytes("usr/share/doc/"+kernel+"/copyright", 0o644, []byte("rights"))
	all[kernel] = &debian.Deb{
		Control: debian.Stanza{"Package": kernel, "Version": "6.12.1-1", "Architecture": "amd64"}, Files: map[string]rootfs.Entry{doc.Path: doc},
	}
	b := Builder{Components: versions(results(t, program(t), 0o600, time.Now())), Arch: "amd64", Debian: all}
	module := rootfs.Bytes("usr/lib/modules/6.12/kernel/x.ko.xz", 0o644, []byte("module"))
	tree, err := b.Tree(t.Context(), specs[0], []rootfs.Entry{module}, kernel)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		module.Path, doc.Path, "usr/sbin/init", "usr/sbin/mkfs.xfs", "usr/sbin/modprobe", "etc/ssl/certs/ca-certificates.crt", "usr/bin/containerd", "etc/os-release",
	} {
		if _, ok := tree.Get(name); !ok {
			t.Errorf("no %s", name)
		}
	}
	if _, ok := tree.Get("usr/etc/in-container"); ok {
		t.Error("the root of a machine says that it is in a container")
	}
	bill, ok := tree.Get(specs[0].bill())
	if !ok {
		t.Fatal("no bill of materials")
	}
	r, err := bill.Open()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || !strings.Contains(string(text), kernel) {
		t.Errorf("the kernel is not in the bill of materials, %v", err)
	}
	// What may not be executed is refused here too.
	bad := rootfs.Bytes("usr/bin/shell", 0o755, nil)
	if _, err := b.Tree(t.Context(), specs[0], []rootfs.Entry{bad}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("with a shell: %v; want fs.ErrInvalid", err)
	}
}
