package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/image/rootfs"
)

// versions are those of all components that specs name.
func versions(results string) map[string]Component {
	all := map[string]Component{}
	for _, name := range []string{"kubernetes", "kubernetes-1.36", "etcd", "coredns", "flannel", "cni", "pause", "containerd", "runc", Node} {
		all[name] = Component{Version: "v1.2.3", Licence: "Apache-2.0"}
	}
	all["kubernetes-1.36"] = Component{Version: "v1.1.0", Licence: "Apache-2.0"}
	for name, c := range all {
		c.Dir = filepath.Join(results, name)
		all[name] = c
	}
	return all
}

// packages is a source with every package that tools and certificates are in: small, and not of Debian.
type packages map[string]*debian.Deb

func (p packages) Package(_ context.Context, name string) (*debian.Deb, error) {
	if d, ok := p[name]; ok {
		return d, nil
	}
	return nil, debian.ErrNoPackage
}

func fakePackages() packages {
	all := packages{}
	add := func(name string, e rootfs.Entry) {
		if all[name] == nil {
			doc := rootfs.Bytes("usr/share/doc/"+name+"/copyright", 0o644, []byte("rights of "+name))
			all[name] = &debian.Deb{
				Control: debian.Stanza{"Package": name, "Version": "1", "Architecture": "amd64"},
				Files:   map[string]rootfs.Entry{doc.Path: doc},
			}
		}
		all[name].Files[e.Path] = e
	}
	for _, t := range Tools() {
		add(t.Package, rootfs.Bytes(t.Path, 0o755, []byte(t.Name)))
	}
	add(caBundle.Package, rootfs.Bytes(caBundle.Path+"/b.crt", 0o644, []byte("B\n")))
	add(caBundle.Package, rootfs.Bytes(caBundle.Path+"/a.crt", 0o644, []byte("A")))
	return all
}

// program returns a small Go program.
func program(t *testing.T) []byte {
	t.Helper()
	data, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var buildProgram = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // a temporary folder
	for name, text := range map[string]string{"go.mod": "module example.org/program\n", "main.go": "package main\n\nfunc main() { println(1) }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "program", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "program"))
})

// results lays out component results with that program for all files that specs want.
func results(t *testing.T, program []byte, mode fs.FileMode, modTime time.Time) string {
	t.Helper()
	dir := t.TempDir()
	for _, s := range append(Specs(), MachineSpec()) {
		for _, p := range s.Programs {
			component := filepath.Join(dir, p.Component)
			if err := os.MkdirAll(component, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string][]byte{
				p.File: program, "LICENSE": []byte("free"), "NOTICES.txt": []byte("noted"), "modules.txt": []byte("MIT example.org/m v1\n"),
			} {
				file := filepath.Join(component, name)
				if err := os.WriteFile(file, text, mode); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(file, modTime, modTime); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return dir
}

func expanded(t *testing.T) []Spec {
	t.Helper()
	specs, err := Expand(Specs(), versions(""))
	if err != nil {
		t.Fatal(err)
	}
	return specs
}

// build builds images into a new layout: those of names, or all.
func build(t *testing.T, results string, names ...string) string {
	t.Helper()
	specs, err := Select(expanded(t), names)
	if err != nil {
		t.Fatal(err)
	}
	b := Builder{Components: versions(results), Arch: "amd64", Debian: fakePackages()}
	out := filepath.Join(t.TempDir(), "images")
	if err := b.WriteCache(t.Context(), specs, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheSameInputsGiveTheSameDigests(t *testing.T) {
	program := program(t)
	mask := syscall.Umask(0o077)
	// One with each kind of layer.
	const kubelet, coredns = "talos.internal/kubelet:v1.2.3", "coredns"
	first := build(t, results(t, program, 0o600, time.Unix(1e9, 0)), kubelet, coredns)
	syscall.Umask(0)
	procs := runtime.GOMAXPROCS(1)
	second := build(t, results(t, program, 0o777, time.Now()), kubelet, coredns)
	runtime.GOMAXPROCS(procs)
	syscall.Umask(mask)
	a, b := index(t, first), index(t, second)
	if !bytes.Equal(a, b) {
		t.Errorf("two builds differ:\n%s\n%s", a, b)
	}
	// It can fail: one byte of a program is seen in the digests.
	program = append(slices.Clone(program), 0)
	if third := index(t, build(t, results(t, program, 0o600, time.Unix(1e9, 0)), kubelet, coredns)); bytes.Equal(a, third) {
		t.Error("another program gave the same digests")
	}
	if err := oci.Verify(first); err != nil {
		t.Error(err)
	}
}

func index(t *testing.T, layout string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestImagesAreAsTheTableSays(t *testing.T) {
	images, err := oci.Read(build(t, results(t, program(t), 0o600, time.Now())))
	if err != nil {
		t.Fatal(err)
	}
	specs := expanded(t)
	if len(images) != len(specs) {
		t.Fatalf("%d images; want %d", len(images), len(specs))
	}
	program := map[string]map[string]bool{} // version of Kubernetes to the digests of the program's layer
	for _, img := range images {
		i := slices.IndexFunc(specs, func(s Spec) bool { return s.Ref == img.Ref })
		if i < 0 {
			t.Fatalf("image %s is in no spec", img.Ref)
		}
		spec := specs[i]
		dir := filepath.Join(t.TempDir(), "root")
		if err := oci.Unpack(img, dir); err != nil {
			t.Fatal(err)
		}
		checkRoot(t, dir, spec)
		if len(spec.Programs) > 0 && strings.HasPrefix(spec.Programs[0].Component, "kubernetes") {
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if program[spec.tag()] == nil {
				program[spec.tag()] = map[string]bool{}
			}
			program[spec.tag()][config.RootFS.DiffIDs[1].Hex] = true
		}
	}
	for version, digests := range program {
		if len(digests) != 1 {
			t.Errorf("Kubernetes %s has its program in %d different layers; want one that all share", version, len(digests))
		}
	}
	if len(program) != 2 {
		t.Errorf("%d versions of Kubernetes; want 2", len(program))
	}
}

// checkRoot compares an unpacked image with its spec.
func checkRoot(t *testing.T, dir string, spec Spec) {
	t.Helper()
	// Every path, as the entry point too, is followed inside the image.
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	want := []string{strings.TrimPrefix(spec.Entrypoint[0], "/")}
	for _, name := range spec.Tools {
		tool, _ := tool(name)
		want = append(want, tool.Path, strings.TrimPrefix(tool.Path, "usr/"))
	}
	for _, name := range want {
		if info, err := root.Stat(name); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %s: %v; want an executable", spec.Ref, name, err)
		}
	}
	text, err := root.ReadFile(spec.bill())
	if err != nil || !json.Valid(text) {
		t.Errorf("%s: bill of materials: %v", spec.Ref, err)
	}
	for _, s := range []string{`"` + spec.Ref + `"`, "pkg:golang/stdlib@"} {
		if !bytes.Contains(text, []byte(s)) {
			t.Errorf("%s: the bill of materials has no %s", spec.Ref, s)
		}
	}
	bundle, err := root.ReadFile("etc/ssl/certs/ca-certificates.crt")
	if spec.Base && string(bundle) != "A\nB\n" || !spec.Base && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: CA certificates %q, %v", spec.Ref, bundle, err)
	}
	shell := regexp.MustCompile(`^(ba|da|a|k|z|)sh$|^busybox$|^perl|^python`)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		info, err := os.Lstat(name)
		if err == nil && (shell.MatchString(d.Name()) || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0) {
			t.Errorf("%s: %s is a shell, or setuid", spec.Ref, name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTableOfSpecs(t *testing.T) {
	specs := expanded(t)
	refs, used := map[string]bool{}, map[string]bool{}
	root := []string{Node, "kube-proxy", "kubelet", "flannel", "flannel-cni-plugin"} // each with its reason in the table
	for _, s := range specs {
		if refs[s.Ref] {
			t.Errorf("%s is there twice", s.Ref)
		}
		refs[s.Ref] = true
		if _, err := parseUser(s.User); err != nil {
			t.Errorf("%s: %v", s.Ref, err)
		}
		if (s.User == "") != slices.Contains(root, s.Name) {
			t.Errorf("%s runs as %q; only %v run as root", s.Ref, s.User, root)
		}
		if s.Check.Want == "" || len(s.Entrypoint) == 0 {
			t.Errorf("%s has no check", s.Ref)
		}
		for _, name := range s.Tools {
			if _, ok := tool(name); !ok {
				t.Errorf("%s wants %s, which is not in the list of tools", s.Ref, name)
			}
			used[name] = true
		}
	}
	for _, ref := range []string{
		"talos.internal/talos:v1.2.3", "registry.k8s.io/kube-apiserver:v1.2.3", "registry.k8s.io/kube-apiserver:v1.1.0", "talos.internal/kubelet:v1.2.3",
		"registry.k8s.io/etcd:v1.2.3", "registry.k8s.io/coredns/coredns:v1.2.3", "ghcr.io/flannel-io/flannel:v1.2.3",
	} {
		if !refs[ref] {
			t.Errorf("there is no %s", ref)
		}
	}
	for _, tool := range Tools() {
		if !used[tool.Name] || len(tool.Why) < 20 {
			t.Errorf("tool %s: in an image %v, reason %q; want both", tool.Name, used[tool.Name], tool.Why)
		}
	}
	if _, err := Expand([]Spec{{Ref: "{nothing}"}}, versions("")); err == nil {
		t.Error("Expand of an unknown component = nil; want an error")
	}
}

func TestSelect(t *testing.T) {
	specs := expanded(t)
	for _, tc := range []struct {
		name  string
		names []string
		want  int
	}{
		{"all", nil, len(specs)},
		{"a name, in both versions", []string{"kubelet"}, 2},
		{"a reference", []string{"talos.internal/kubelet:v1.1.0"}, 1},
		{"two", []string{"etcd", "pause", "etcd"}, 2},
		{"unknown", []string{"etcd", "nothing"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Select(specs, tc.names)
			if len(got) != tc.want || (err != nil) != (tc.want == 0) {
				t.Errorf("Select(%v) = %d specs, %v; want %d", tc.names, len(got), err, tc.want)
			}
		})
	}
}

func TestBuildSaysWhatIsNotBuilt(t *testing.T) {
	dir := results(t, program(t), 0o600, time.Now())
	file := filepath.Join(dir, "etcd", "etcd")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	specs, err := Select(expanded(t), []string{"etcd"})
	if err != nil {
		t.Fatal(err)
	}
	b := Builder{Components: versions(dir), Arch: "amd64", Debian: fakePackages()}
	_, err = b.Build(t.Context(), specs, t.TempDir())
	if want := "image etcd: " + file + " is not built: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Build = %v; want %s", err, want)
	}
}

// The committed lock has to have what the table wants, or the next build fails on another machine.
func TestCommittedLockHasThePackages(t *testing.T) {
	f, err := os.Open("packages.lock")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lock, err := debian.ParseLock(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range Wants(Specs()) {
		if !slices.ContainsFunc(lock, func(p debian.Locked) bool { return p.Name == w.Package }) {
			t.Errorf("packages.lock has no %s; renew it: go run ./cmd/imager lock", w.Package)
		}
	}
}

func TestDocumentedTableNamesAllImagesAndTools(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "images-build.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range Tools() {
		if !strings.Contains(string(text), tool.Why) {
			t.Errorf("docs/images-build.md does not say why %s is there; renew it: see its first lines", tool.Name)
		}
	}
	for _, s := range Specs() {
		if repository := s.Ref[:strings.LastIndex(s.Ref, ":")+1]; !strings.Contains(string(text), repository) {
			t.Errorf("docs/images-build.md has no size of %s", repository)
		}
	}
}

func TestTableAddsUpEachLayerOnce(t *testing.T) {
	images, err := oci.Read(build(t, results(t, program(t), 0o600, time.Now()), "kube-apiserver", "kube-scheduler", "kubelet"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteTable(&b, images); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `registry.k8s.io/kube-apiserver:v1.2.3` ", "| kubernetes v1.2.3: usr/local/bin/kubernetes ", "| base ",
		"| **all, each layer once** ", "| `mount` ",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("WriteTable has no %q:\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), "| kubernetes v1.2.3: "); n != 1 {
		t.Errorf("the shared layer has %d rows; want 1", n)
	}
}

func TestCapabilityIsWhatTheKernelReads(t *testing.T) {
	// linux/capability.h: VFS_CAP_REVISION_2 with VFS_CAP_FLAGS_EFFECTIVE; CAP_NET_BIND_SERVICE is bit 10.
	if len(lowPorts) != 20 || lowPorts[:4] != "\x01\x00\x00\x02" || lowPorts[5] != 1<<(10-8) {
		t.Errorf("lowPorts = %x", lowPorts)
	}
}

// fakeRunc answers for the container: its last argument is the container's name, the bundle has what is to be run.
const fakeRunc = `#!/bin/sh
bundle=$5
grep -q '"args":\["/usr/local/bin/etcd","--version"\]' "$bundle/config.json" && echo "etcd Version: $ANSWER"
grep -q '"uid":60,"gid":60' "$bundle/config.json" || echo "wrong user"
test -x "$bundle/rootfs/usr/local/bin/etcd" || echo "no program"
`

func TestStartComparesWhatIsPrinted(t *testing.T) {
	images, err := oci.Read(build(t, results(t, program(t), 0o600, time.Now()), "etcd"))
	if err != nil {
		t.Fatal(err)
	}
	runc := filepath.Join(t.TempDir(), "runc")
	if err := os.WriteFile(runc, []byte(fakeRunc), 0o700); err != nil {
		t.Fatal(err)
	}
	spec, err := Select(expanded(t), []string{"etcd"})
	if err != nil {
		t.Fatal(err)
	}
	img := images[slices.IndexFunc(images, func(i oci.Image) bool { return i.Ref == spec[0].Ref })]
	for answer, ok := range map[string]bool{"1.2.3": true, "1.2.4": false} {
		t.Setenv("ANSWER", answer)
		said, err := Starter{Runc: runc, Dir: t.TempDir()}.Start(t.Context(), img, spec[0])
		if said != "etcd Version: "+answer+"\n" || (err == nil) != ok {
			t.Errorf("Start with version %s = %q, %v; want success %v", answer, said, err, ok)
		}
	}
}
