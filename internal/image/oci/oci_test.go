package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"talos.internal/internal/image/rootfs"
)

func layerOf(t *testing.T, dir string, entries ...rootfs.Entry) *Layer {
	t.Helper()
	var tree rootfs.Tree
	if err := tree.Add(entries...); err != nil {
		t.Fatal(err)
	}
	l, err := NewLayer(&tree, dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// text is a file that takes more than one block (128 KiB) of the compressor.
var text = rootfs.Bytes("usr/text", 0o644, bytes.Repeat([]byte("text that repeats itself\n"), 8000))

// layers is the folder of the samples' layers.
var layers string

func TestMain(m *testing.M) {
	code := 1
	var err error
	if layers, err = os.MkdirTemp("", "layers-"); err == nil {
		code = m.Run()
		err = os.RemoveAll(layers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// samples are two images that share a layer. They are made once: the compressor's tables take their time.
func samples(t *testing.T) []Image {
	t.Helper()
	images, err := makeSamples()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(images)
}

var makeSamples = sync.OnceValues(func() ([]Image, error) {
	newLayer := func(e rootfs.Entry) (*Layer, error) {
		var tree rootfs.Tree
		if err := tree.Add(e); err != nil {
			return nil, err
		}
		return NewLayer(&tree, layers)
	}
	shared, err := newLayer(text)
	if err != nil {
		return nil, err
	}
	var images []Image
	for _, name := range []string{"two", "one"} {
		own, err := newLayer(rootfs.Symlink("usr/"+name, "text"))
		if err != nil {
			return nil, err
		}
		img, err := NewImage("example.internal/"+name+":v1", Config{
			Arch: "amd64", User: "60:60", Entrypoint: []string{"/usr/" + name}, Env: []string{"A=b"}, Labels: map[string]string{"l": name},
		}, []*Layer{shared, own}, []string{"shared", "own"})
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	return images, nil
})

func TestLayerDependsOnlyOnTheTree(t *testing.T) {
	want := layerOf(t, t.TempDir(), text)
	old := runtime.GOMAXPROCS(1)
	got := layerOf(t, t.TempDir(), text)
	runtime.GOMAXPROCS(old)
	if got.digest != want.digest || got.diffID != want.diffID || got.size != want.size {
		t.Errorf("with one processor the layer is %v; want %v", got.digest, want.digest)
	}
	other := layerOf(t, t.TempDir(), rootfs.Bytes("usr/text", 0o600, []byte("text")))
	if other.digest == want.digest {
		t.Error("another tree gave the same digest")
	}
}

func TestLayoutHoldsImagesThatOthersCanRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	old := syscall.Umask(0o077)
	err := WriteLayout(dir, samples(t))
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir); err != nil {
		t.Errorf("Verify = %v; want nil", err)
	}
	images, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, img := range images {
		refs = append(refs, img.Ref)
		// What the library thinks of it. Without Fast it takes every layer for gzip.
		if err := validate.Image(img, validate.Fast); err != nil {
			t.Errorf("validate %s: %v", img.Ref, err)
		}
	}
	if diff := cmp.Diff([]string{"example.internal/one:v1", "example.internal/two:v1"}, refs); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	config, err := images[0].ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		User: "60:60", Entrypoint: []string{"/usr/one"}, Env: []string{"A=b"}, WorkingDir: "/", Labels: map[string]string{"l": "one"},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if blobs := blobsOf(t, dir); len(blobs) != 7 {
		t.Errorf("%d blobs; want 7: 2 manifests, 2 configs, 3 layers, of which one is in both images", len(blobs))
	}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o044 != 0o044 {
			t.Errorf("%s has mode %v; want it readable by all", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func blobsOf(t *testing.T, dir string) []string {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

// digestOf returns the digest of the first image's manifest, config or first layer.
func digestOf(t *testing.T, dir, what string) string {
	t.Helper()
	images, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := images[0].Manifest()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := images[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"manifest": digest.Hex, "config": manifest.Config.Digest.Hex, "layer": manifest.Layers[0].Digest.Hex}[what]
}

func TestVerifyNamesWhatIsBroken(t *testing.T) {
	for _, blob := range []string{"manifest", "config", "layer"} {
		for _, tc := range []struct {
			name  string
			spoil func([]byte) []byte
			want  string
		}{
			{"cut", func(b []byte) []byte { return b[:len(b)-1] }, " bytes; want "},
			{"empty", func([]byte) []byte { return nil }, "0 bytes; want "},
			{"longer", func(b []byte) []byte { return append(b, ' ') }, "longer than its "},
			{"one bit altered", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, "its content has digest sha256:"},
			{"gone", nil, "no such file"},
		} {
			t.Run(blob+" "+tc.name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "images")
				if err := WriteLayout(dir, samples(t)); err != nil {
					t.Fatal(err)
				}
				digest := digestOf(t, dir, blob)
				file := filepath.Join(dir, "blobs", "sha256", digest)
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if tc.spoil == nil {
					err = os.Remove(file)
				} else {
					err = os.WriteFile(file, tc.spoil(data), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				err = Verify(dir)
				var broken *BlobError
				if !errors.As(err, &broken) || broken.Digest != "sha256:"+digest {
					t.Fatalf("Verify = %v; want an error about %s", err, digest)
				}
				role := map[string]string{"layer": "layer 1"}[blob]
				if role == "" {
					role = blob
				}
				for _, part := range []string{"blob sha256:" + digest + ", the " + role + " of example.internal/one:v1: ", tc.want} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("Verify = %v; want %q in it", err, part)
					}
				}
				if n := strings.Count(err.Error(), "blob sha256:"); n != 1 {
					t.Errorf("Verify names %d blobs: %v; want 1", n, err)
				}
			})
		}
	}
}

func TestVerifyNoticesWhatDigestsDoNot(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"a blob of no image", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "blobs", "sha256", "stray"), "x")
		}, "blobs/sha256/stray belongs to no image"},
		{"no index", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "index.json")) }, "index.json: no such file"},
		{"an index that is no JSON", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "index.json"), "{") }, "index.json: broken"},
		{"another layout version", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion": "2"}`)
		}, `version "2"; want 1.0.0`},
		{"no layout", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "oci-layout")) }, "oci-layout: no such file"},
		{"an image without a name", func(t *testing.T, dir string) {
			replaceIn(t, filepath.Join(dir, "index.json"), refName, "other")
		}, "manifest of an image without a name"},
		{"an index of indexes", func(t *testing.T, dir string) {
			replaceIn(t, filepath.Join(dir, "index.json"), string(types.OCIManifestSchema1), string(types.OCIImageIndex))
		}, "media type"},
		{"a digest that leads elsewhere", func(t *testing.T, dir string) {
			replaceIn(t, filepath.Join(dir, "index.json"), digestOf(t, dir, "manifest"), strings.Repeat("../", 21)+"x")
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "images")
			if err := WriteLayout(dir, samples(t)); err != nil {
				t.Fatal(err)
			}
			tc.spoil(t, dir)
			if err := Verify(dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Verify = %v; want %q", err, tc.want)
			}
		})
	}
}

// A layer may be what its digest says and still not what the config says: the runtime would refuse it when it unpacks.
func TestVerifyComparesTheUnpackedLayerWithTheConfig(t *testing.T) {
	dir := t.TempDir()
	lying := layerOf(t, dir, text)
	lying.diffID = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	img, err := NewImage("example.internal/lying:v1", Config{Arch: "amd64"}, []*Layer{lying}, []string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "images")
	if err := WriteLayout(out, []Image{img}); err != nil {
		t.Fatal(err)
	}
	want := "unpacked it has digest sha256:"
	if err := Verify(out); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), want) {
		t.Errorf("Verify = %v; want %q", err, want)
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func replaceIn(t *testing.T, name, old, now string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s has no %s", name, old)
	}
	write(t, name, strings.ReplaceAll(string(data), old, now))
}

// failing is an image whose second layer cannot be read.
type failing struct{ v1.Image }

func (f failing) Layers() ([]v1.Layer, error) {
	layers, err := f.Image.Layers()
	return append(layers[:len(layers)-1], unreadable{layers[len(layers)-1]}), err
}

type unreadable struct{ v1.Layer }

func (unreadable) Compressed() (io.ReadCloser, error) { return nil, fs.ErrPermission }

func TestWriteLayoutReplacesAllOrNothing(t *testing.T) {
	images := samples(t)
	parent := t.TempDir()
	dir := filepath.Join(parent, "images")
	for _, now := range [][]Image{images, images[:1]} {
		if err := WriteLayout(dir, now); err != nil {
			t.Fatal(err)
		}
		if err := Verify(dir); err != nil {
			t.Errorf("after %d images: %v", len(now), err)
		}
		if got, err := Read(dir); err != nil || len(got) != len(now) {
			t.Errorf("Read = %d images, %v; want %d", len(got), err, len(now))
		}
	}
	if err := WriteLayout(dir, []Image{images[1], {images[0].Ref, failing{images[0]}}}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("WriteLayout = %v; want the layer's error", err)
	}
	if err := WriteLayout(dir, []Image{images[0], images[0]}); err == nil || !strings.Contains(err.Error(), "is there twice") {
		t.Errorf("WriteLayout = %v; want that a name is there twice", err)
	}
	if got, err := Read(dir); err != nil || len(got) != 1 || got[0].Ref != images[0].Ref {
		t.Errorf("after errors, Read = %v, %v; want the old image", got, err)
	}
	if left, _ := os.ReadDir(parent); len(left) != 1 {
		t.Errorf("beside the layout there is %v; want nothing", left)
	}
	other := filepath.Join(parent, "home")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(other, "diary"), "dear")
	if err := WriteLayout(other, images); !errors.Is(err, fs.ErrExist) {
		t.Errorf("WriteLayout over a folder that is no layout = %v; want ErrExist", err)
	}
}

// Layouts of others name images for several platforms, and have some of them only.
func TestReadTakesTheImageForThisMachineOfAnIndex(t *testing.T) {
	for arch, want := range map[string]int{runtime.GOARCH: 1, "s390x": 0} {
		dir := t.TempDir()
		path, err := layout.Write(dir, empty.Index)
		if err != nil {
			t.Fatal(err)
		}
		inner := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
			mutate.IndexAddendum{Add: samples(t)[0].Image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		if err := path.AppendIndex(inner, layout.WithAnnotations(map[string]string{refName: "example.internal/a:v1"})); err != nil {
			t.Fatal(err)
		}
		images, err := Read(dir)
		if err != nil || len(images) != want {
			t.Errorf("for %s, Read = %d images, %v; want %d", arch, len(images), err, want)
			continue
		}
		if want == 1 {
			got, _ := images[0].Digest()
			if sample, _ := samples(t)[0].Digest(); got != sample || images[0].Ref != "example.internal/a:v1" {
				t.Errorf("Read = %s %s; want example.internal/a:v1 %s", images[0].Ref, got, sample)
			}
		}
	}
}

func TestDockerArchiveIsTheSameImage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	if err := WriteLayout(dir, samples(t)); err != nil {
		t.Fatal(err)
	}
	images, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := WriteDocker(images[0], &first); err != nil {
		t.Fatal(err)
	}
	if err := WriteDocker(samples(t)[1], &second); err != nil { // from its layers, not from a layout
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same image gave different archives")
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(first.Bytes())), nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("validate: %v", err)
	}
	got, _ := img.ConfigName()
	want, _ := images[0].ConfigName()
	if got != want {
		t.Errorf("its ID is %v; want %v", got, want)
	}
}

func TestUnpackStacksLayers(t *testing.T) {
	dir := t.TempDir()
	low := layerOf(t, dir, rootfs.Bytes("a", 0o600, []byte("low")), rootfs.Bytes("b", 0o644, []byte("low")))
	high := layerOf(t, dir, rootfs.Bytes("a", 0o640, []byte("high")))
	img, err := NewImage("example.internal/stack:v1", Config{Arch: "amd64"}, []*Layer{low, high}, []string{"low", "high"})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "root")
	if err := Unpack(img, out); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "high", "b": "low"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); string(got) != want {
			t.Errorf("%s = %q, %v; want %s", name, got, err, want)
		}
	}
	if err := Unpack(img, out); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Unpack over a folder = %v; want ErrExist", err)
	}
}
