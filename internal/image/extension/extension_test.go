package extension

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// The three sorts of extensions, as people make them: a service, a kernel module, a container runtime.
const (
	serviceManifest = `version: v1alpha1
metadata:
    name: nut-client
    version: 2.8.2-v1.15.0
    author: Example
    description: |
        This extension watches an uninterruptible power supply.
    compatibility:
        talos:
            version: ">= v1.15.0"
`
	moduleManifest = `version: v1alpha1
metadata:
    name: gadget
    version: 6.12.1-v1.15.0
    author: Example
    description: The driver of a gadget.
    compatibility:
        talos:
            version: ">= v1.15.0 < v1.16.0"
`
	runtimeManifest = `version: v1alpha1
metadata:
    name: gvisor
    version: 20261101.0-v1.15.0
    author: Example
    description: Another container runtime.
    compatibility:
        talos:
            version: ">= v1.13.0"
`
	service = "name: nut-client\ncontainer:\n    entrypoint: ./upsmon\ndepends:\n    - network:\n        - addresses\nrestart: always\n"
	part    = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]\n  runtime_type = 'io.containerd.runsc.v1'\n"
)

func samples() map[string][]rootfs.Entry {
	file := func(name string, mode fs.FileMode, text string) rootfs.Entry {
		return rootfs.Bytes(name, mode, []byte(text))
	}
	return map[string][]rootfs.Entry{
		"ghcr.example/nut-client:2.8.2": {
			file("manifest.yaml", 0o644, serviceManifest),
			file("rootfs/usr/local/etc/containers/nut-client.yaml", 0o644, service),
			file("rootfs/usr/local/lib/containers/nut-client/upsmon", 0o755, "a program"),
			rootfs.Dir("rootfs/usr/local/lib/containers/nut-client/proc", 0o555),
		},
		"ghcr.example/gadget:6.12.1": {
			file("manifest.yaml", 0o644, moduleManifest),
			file("rootfs/lib/modules/6.12.1-test/extra/gadget.ko.xz", 0o644, "a module"),
			file("rootfs/lib/modules/6.12.1-test/modules.dep", 0o644, "extra/gadget.ko.xz:"),
			file("rootfs/usr/lib/firmware/gadget.bin", 0o644, "firmware"),
		},
		"ghcr.example/gvisor:20261101": {
			file("manifest.yaml", 0o644, runtimeManifest),
			file("rootfs/etc/cri/conf.d/10-gvisor.part", 0o644, part),
			file("rootfs/usr/local/bin/runsc", 0o755, "a runtime"),
			rootfs.Symlink("rootfs/usr/local/bin/containerd-shim-runsc-v1", "runsc"),
		},
	}
}

// layout writes images to a layout.
func layout(t *testing.T, images map[string][]rootfs.Entry) string {
	t.Helper()
	dir := t.TempDir()
	var all []oci.Image
	for ref, entries := range images {
		tree := &rootfs.Tree{}
		if err := tree.Add(entries...); err != nil {
			t.Fatal(err)
		}
		l, err := oci.NewLayer(tree, dir)
		if err != nil {
			t.Fatal(err)
		}
		img, err := oci.NewImage(ref, oci.Config{Arch: runtime.GOARCH}, []*oci.Layer{l}, []string{"all"})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, img)
	}
	out := filepath.Join(dir, "layout")
	if err := oci.WriteLayout(out, all); err != nil {
		t.Fatal(err)
	}
	return out
}

func text(t *testing.T, e rootfs.Entry) string {
	t.Helper()
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != e.Size {
		t.Errorf("/%s has %d bytes, %v; want %d", e.Path, len(b), err, e.Size)
	}
	return string(b)
}

func TestExtensionsBecomePartOfTheRoot(t *testing.T) {
	list, err := Open(layout(t, samples()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	entries, modules, err := Merge("v1.15.0-alpha.0", list)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range slices.Concat(entries, modules) {
		switch {
		case e.Mode.IsRegular():
			got[e.Path] = e.Mode.String() + " " + text(t, e)
		case e.Mode.Type() == fs.ModeSymlink:
			got[e.Path] = "-> " + e.Target
		}
	}
	listed := got["etc/extensions.yaml"]
	delete(got, "etc/extensions.yaml")
	want := map[string]string{
		"usr/local/etc/containers/nut-client.yaml":       "-rw-r--r-- " + service,
		"usr/local/lib/containers/nut-client/upsmon":     "-rwxr-xr-x a program",
		"usr/lib/modules/6.12.1-test/extra/gadget.ko.xz": "-rw-r--r-- a module",
		"usr/lib/firmware/gadget.bin":                    "-rw-r--r-- firmware",
		"usr/local/etc/cri/conf.d/10-gvisor.part":        "-rw-r--r-- " + part,
		"usr/local/bin/runsc":                            "-rwxr-xr-x a runtime",
		"usr/local/bin/containerd-shim-runsc-v1":         "-> runsc",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, s := range []string{"image: ghcr.example/gvisor:20261101", "name: nut-client", `version: '>= v1.15.0 < v1.16.0'`} {
		if !strings.Contains(listed, s) {
			t.Errorf("/etc/extensions.yaml = %s; want %q in it", listed, s)
		}
	}
}

func TestWhatIsNoExtensionIsRefused(t *testing.T) {
	manifest := rootfs.Bytes("manifest.yaml", 0o644, []byte(serviceManifest))
	file := func(name string, mode fs.FileMode) rootfs.Entry { return rootfs.Bytes(name, mode, []byte("x")) }
	capable := file("rootfs/usr/local/bin/ping", 0o755)
	capable.Xattrs = map[string]string{"security.capability": "x"}
	for _, test := range []struct {
		name    string
		entries []rootfs.Entry
		wrong   []string
	}{
		{"no manifest", []rootfs.Entry{file("rootfs/usr/local/a", 0o644)}, []string{"no /manifest.yaml"}},
		{"an image of something else", []rootfs.Entry{file("bin/sh", 0o755)}, []string{"/bin/sh: an extension has /manifest.yaml", "no /manifest.yaml"}},
		{"a file of the system", []rootfs.Entry{manifest, file("rootfs/sbin/init", 0o755)}, []string{"/sbin/init: an extension may have files in /usr/local, "}},
		{"a config of the system", []rootfs.Entry{manifest, file("rootfs/etc/passwd", 0o644)}, []string{"/etc/passwd"}},
		{"a file in place of a folder", []rootfs.Entry{manifest, file("rootfs/usr/lib", 0o644)}, []string{"/usr/lib: an extension may"}},
		{"a link in place of a folder", []rootfs.Entry{manifest, rootfs.Symlink("rootfs/usr/lib", "/tmp")}, []string{"/usr/lib: an extension may"}},
		{"several at once", []rootfs.Entry{manifest, file("rootfs/a", 0o644), file("rootfs/b", 0o644)}, []string{"/a: ", "/b: "}},
		{"a service that is not understood", []rootfs.Entry{manifest, rootfs.Bytes("rootfs/usr/local/etc/containers/a.yaml", 0o644, []byte("name: a\nimage: x\n"))}, []string{"/usr/local/etc/containers/a.yaml: ", "image"}},
		{"a service without files", []rootfs.Entry{manifest, rootfs.Bytes("rootfs/usr/local/etc/containers/a.yaml", 0o644, []byte(service))}, []string{"/usr/local/lib/containers/nut-client is not there"}},
		{"setuid", []rootfs.Entry{manifest, file("rootfs/usr/local/bin/su", 0o755|fs.ModeSetuid)}, []string{"setuid"}},
		{"capabilities", []rootfs.Entry{manifest, capable}, []string{"capabilities of its own"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(layout(t, map[string][]rootfs.Entry{"a/b:1": test.entries}), t.TempDir())
			if err == nil {
				t.Fatal("Open = nil; want an error")
			}
			for _, w := range append(test.wrong, "extension a/b:1") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Open = %v; want %q in it", err, w)
				}
			}
		})
	}
}

func TestDevicesAndHardLinksAreRefused(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "rootfs/usr/local/dev", Typeflag: tar.TypeChar}, {Name: "rootfs/usr/local/hard", Typeflag: tar.TypeLink, Linkname: "x"},
		{Name: "rootfs/../../etc/shadow", Typeflag: tar.TypeReg},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	_, err = read(&b, spool)
	for _, w := range []string{"/usr/local/dev: ", "/usr/local/hard: a hard link", "/etc/shadow: an extension has"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("read = %v; want %q in it", err, w)
		}
	}
}

func TestExtensionsHaveToFitTheSystemAndEachOther(t *testing.T) {
	x := func(name, versions string, files ...string) Extension {
		e := Extension{Manifest: Manifest{Version: "v1alpha1", Metadata: Metadata{Name: name, Version: "1", Compatibility: Compatibility{Constraint{versions}}}}}
		for _, f := range files {
			e.Entries = append(e.Entries, rootfs.Bytes(f, 0o644, nil))
		}
		return e
	}
	for _, test := range []struct {
		name  string
		list  []Extension
		wrong string
	}{
		{"none", nil, ""},
		{"two", []Extension{x("a", "", "usr/local/a"), x("b", ">= 1.15", "usr/local/b")}, ""},
		{"too new", []Extension{x("a", ">= v1.16.0")}, "extension a 1 is for versions >= v1.16.0 of the system, and this is v1.15.0-alpha.0"},
		{"twice", []Extension{x("a", ""), x("a", "")}, "extension a is there twice"},
		{"one file", []Extension{x("a", "", "usr/local/f"), x("b", "", "usr/local/f")}, "/usr/local/f is in the extensions a and b"},
		{"a file and a folder", []Extension{x("a", "", "usr/local/f"), x("b", "", "usr/local/f/g")}, "extension b"},
	} {
		_, _, err := Merge("v1.15.0-alpha.0", test.list)
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: Merge = %v; want an error with %q", test.name, err, test.wrong)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, test := range []struct {
		text    string
		in, out []string
	}{
		{"", []string{"v0.0.1", "v9.0.0"}, nil},
		{">= v1.14.0", []string{"v1.14.0", "1.15.3", "v2.0.0"}, []string{"v1.13.9", "v1.14.0-rc.1"}},
		{">=1.14.0, <1.16", []string{"1.14.0", "1.15.9"}, []string{"1.16.0", "1.13.0"}},
		{"v1.14.2 || > 2", []string{"1.14.2", "2.0.1"}, []string{"1.14.3", "2.0.0"}},
		{"!= 1.14.1 <= 1.15.0", []string{"1.14.0", "1.15.0"}, []string{"1.14.1", "1.15.1"}},
	} {
		r, err := ParseRange(test.text)
		if err != nil {
			t.Errorf("ParseRange(%q) = %v", test.text, err)
			continue
		}
		for want, list := range map[bool][]string{true: test.in, false: test.out} {
			for _, s := range list {
				v, err := ParseVersion(s)
				if err != nil || r.Has(v) != want {
					t.Errorf("%q has %s: %t, %v; want %t", test.text, s, !want, err, want)
				}
			}
		}
	}
	for _, s := range []string{"new", ">=", ">= 1.2.3.4", "1.2 ||", "~1.2", "01.2"} {
		if _, err := ParseRange(s); err == nil {
			t.Errorf("ParseRange(%q) = nil; want an error", s)
		}
	}
}

func TestVersionsAreInOrder(t *testing.T) {
	// The example of Semantic Versioning, clause 11.
	order := []string{"1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.1.0", "2.0.0"}
	for i, a := range order {
		for j, b := range order {
			x, errX := ParseVersion(a)
			y, errY := ParseVersion(b)
			if errX != nil || errY != nil {
				t.Fatal(errX, errY)
			}
			if got := x.Compare(y); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s compared with %s = %d", a, b, got)
			}
		}
	}
}

func TestManifests(t *testing.T) {
	if m, err := ParseManifest([]byte(moduleManifest)); err != nil || m.Metadata.Name != "gadget" || m.Check("v1.15.7") != nil || m.Check("v1.16.0") == nil {
		t.Errorf("ParseManifest = %+v, %v", m, err)
	}
	for _, test := range []struct{ text, wrong string }{
		{"", "EOF"},
		{"version: v2\nmetadata:\n  name: a\n  version: b\n", "version: expected v1alpha1"},
		{"version: v1alpha1\nmetadata:\n  name: ../a\n  version: b\n", "metadata.name"},
		{"version: v1alpha1\nmetadata:\n  name: a\n", "metadata.version"},
		{"version: v1alpha1\nmetadata:\n  name: a\n  version: b\n  privileged: true\n", "privileged"},
		{"version: v1alpha1\nmetadata:\n  name: a\n  version: b\n  compatibility:\n    talos:\n      version: soon\n", "compatibility.talos.version"},
		{serviceManifest + "---\nx: y\n", "more than one"},
		{strings.Repeat("#", maxManifest+1), "bytes"},
	} {
		if _, err := ParseManifest([]byte(test.text)); !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("ParseManifest(%.60q) = %v; want ErrManifest with %q", test.text, err, test.wrong)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, s := range []string{serviceManifest, moduleManifest, runtimeManifest, "", "version: v1alpha1\n", "a: *a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		if m.Metadata.Name == "" || strings.ContainsAny(m.Metadata.Name, "/\x00\n") {
			t.Errorf("the name %q was taken", m.Metadata.Name)
		}
		if _, err := ParseRange(m.Metadata.Compatibility.Talos.Version); err != nil {
			t.Error(err)
		}
	})
}
