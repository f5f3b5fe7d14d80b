package registryd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

const etcdRef = "registry.k8s.io/etcd:v3.7.3"

// cache is a layout with one image of one layer.
type cache struct {
	dir                     string
	layer, config, manifest digest.Digest
	content                 []byte // of the layer
	isFlat                  bool
}

// forms are the two forms of the same cache.
func forms(t *testing.T, f func(t *testing.T, make func() cache)) {
	t.Run("layout", func(t *testing.T) { f(t, func() cache { return newCache(t) }) })
	t.Run("flat", func(t *testing.T) { f(t, func() cache { return newCache(t).flat(t) }) })
}

func newCache(t testing.TB) cache {
	t.Helper()
	c := cache{dir: t.TempDir(), content: bytes.Repeat([]byte("layer"), 1000)}
	c.layer = c.put(t, c.content)
	c.config = c.put(t, []byte(`{"architecture":"amd64","os":"linux"}`))
	m, err := json.Marshal(imagespec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config: imagespec.Descriptor{MediaType: imagespec.MediaTypeImageConfig, Digest: c.config, Size: 37},
		Layers: []imagespec.Descriptor{{MediaType: imagespec.MediaTypeImageLayerZstd, Digest: c.layer, Size: int64(len(c.content))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.manifest = c.put(t, m)
	index, err := json.Marshal(imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imagespec.Descriptor{{
		MediaType: imagespec.MediaTypeImageManifest, Digest: c.manifest, Size: int64(len(m)),
		Annotations: map[string]string{annotationName: etcdRef, annotationRef: etcdRef},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.dir, "index.json"), index)
	return c
}

func (c cache) path(d digest.Digest) string {
	switch {
	case c.isFlat && d == c.manifest:
		return filepath.Join(c.dir, FlatManifest("registry.k8s.io/etcd", d))
	case c.isFlat:
		return filepath.Join(c.dir, FlatBlob(d))
	}
	return filepath.Join(c.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func (c cache) put(t testing.TB, content []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(content)
	write(t, c.path(d), content)
	return d
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// flat moves a cache into a flat one.
func (c cache) flat(t testing.TB) cache {
	t.Helper()
	dir := t.TempDir()
	named, tag, _ := strings.Cut(etcdRef, ":")
	for name, d := range map[string]digest.Digest{
		FlatTag(named, tag): c.manifest, FlatManifest(named, c.manifest): c.manifest, FlatBlob(c.config): c.config, FlatBlob(c.layer): c.layer,
	} {
		content, err := os.ReadFile(c.path(d))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	c.dir, c.isFlat = dir, true
	return c
}

// get asks a server that has the directories given; header is "Name: value".
func get(t testing.TB, s *Server, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestWhatTheCacheHasIsServed(t *testing.T) {
	forms(t, func(t *testing.T, make func() cache) { checkServed(t, make()) })
}

func checkServed(t *testing.T, c cache) {
	s := New(quiet(), filepath.Join(t.TempDir(), "not-there"), c.dir)
	manifest, err := os.ReadFile(c.path(c.manifest))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, target string
		header       []string
		status       int
		mediaType    string
		want         string
	}{
		{"the API", "/v2/", nil, 200, "application/json", "{}"},
		{"a manifest by tag, as a mirror", "/v2/etcd/manifests/v3.7.3?ns=registry.k8s.io", nil, 200, imagespec.MediaTypeImageManifest, string(manifest)},
		{"a manifest by tag, with the registry in the path", "/v2/registry.k8s.io/etcd/manifests/v3.7.3", nil, 200, imagespec.MediaTypeImageManifest, string(manifest)},
		{"a manifest by digest", "/v2/etcd/manifests/" + c.manifest.String() + "?ns=registry.k8s.io", nil, 200, imagespec.MediaTypeImageManifest, string(manifest)},
		{"a blob", "/v2/etcd/blobs/" + c.layer.String() + "?ns=registry.k8s.io", nil, 200, "application/octet-stream", string(c.content)},
		{"a range of a blob", "/v2/etcd/blobs/" + c.layer.String() + "?ns=registry.k8s.io", []string{"Range: bytes=4990-"}, 206, "application/octet-stream", "layerlayer"},
		{"a range behind the end", "/v2/etcd/blobs/" + c.layer.String() + "?ns=registry.k8s.io", []string{"Range: bytes=9999-"}, 416, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := get(t, s, "GET", tc.target, tc.header...)
			if r.StatusCode != tc.status {
				t.Fatalf("GET %s = %s, %s; want %d", tc.target, r.Status, body(t, r), tc.status)
			}
			if tc.want == "" {
				return
			}
			if got := body(t, r); got != tc.want {
				t.Errorf("GET %s = %.80q; want %.80q", tc.target, got, tc.want)
			}
			if got := r.Header.Get("Content-Type"); got != tc.mediaType {
				t.Errorf("GET %s has type %q; want %q", tc.target, got, tc.mediaType)
			}
			if head := get(t, s, "HEAD", tc.target, tc.header...); head.StatusCode != tc.status || body(t, head) != "" && tc.target != "/v2/" {
				t.Errorf("HEAD %s = %s; want %d without content", tc.target, head.Status, tc.status)
			}
		})
	}
	r := get(t, s, "HEAD", "/v2/etcd/manifests/v3.7.3?ns=registry.k8s.io")
	if got := r.Header.Get("Docker-Content-Digest"); got != c.manifest.String() {
		t.Errorf("the digest of the manifest is %q; want %q", got, c.manifest)
	}
}

func TestWhatTheCacheHasNotIsNotFound(t *testing.T) {
	forms(t, func(t *testing.T, make func() cache) { checkNotFound(t, make()) })
}

func checkNotFound(t *testing.T, c cache) {
	write(t, filepath.Join(c.dir, "blobs", "sha256", "x"), []byte("no digest"))
	write(t, filepath.Join(c.dir, "blob", "sha256-x"), []byte("no digest"))
	write(t, filepath.Join(filepath.Dir(c.dir), "secret"), []byte("outside"))
	outside := digest.FromString("outside")
	if err := os.Symlink(filepath.Join(filepath.Dir(c.dir), "secret"), c.path(outside)); err != nil {
		t.Fatal(err)
	}
	unknown := digest.FromString("unknown").String()
	s := New(quiet(), c.dir)
	for _, target := range []string{
		"/", "/index.json", "/v2", "/v2/etcd", "/v2/etcd/tags/list?ns=registry.k8s.io", "/v2/_catalog",
		"/v2/etcd/manifests/v3.7.4?ns=registry.k8s.io",
		"/v2/etcd/manifests/v3.7.3?ns=docker.io",
		"/v2/etcd/manifests/v3.7.3",
		"/v2/etcd/manifests/" + unknown + "?ns=registry.k8s.io",
		"/v2/etcd/manifests/" + c.layer.String() + "?ns=registry.k8s.io", // no manifest
		"/v2/etcd/blobs/" + unknown + "?ns=registry.k8s.io",
		"/v2/etcd/blobs/sha256:x?ns=registry.k8s.io",
		"/v2/etcd/blobs/v3.7.3?ns=registry.k8s.io",
		"/v2/etcd/blobs/sha256:../../index.json?ns=registry.k8s.io",
		"/v2/etcd/blobs/..%2f..%2findex.json?ns=registry.k8s.io",
		"/v2/../../etcd/blobs/" + c.layer.String() + "?ns=registry.k8s.io",
		"/v2/etcd/blobs/" + c.layer.String() + "?ns=..%2f..",
		"/v2/etcd/blobs/" + outside.String() + "?ns=registry.k8s.io", // a link out of the layout
		"/v2//manifests/?ns=registry.k8s.io",
		"/v2/etcd/manifests/?ns=registry.k8s.io",
	} {
		want := 404
		if target == "/v2" {
			want = 200
		}
		if r := get(t, s, "GET", target); r.StatusCode != want {
			t.Errorf("GET %s = %s, %.60s; want %d", target, r.Status, body(t, r), want)
		}
	}
	if r := get(t, s, "POST", "/v2/etcd/blobs/uploads/"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST = %s; want 405", r.Status)
	}
}

func TestADamagedBlobIsRefusedBeforeItsFirstByte(t *testing.T) {
	forms(t, checkDamaged)
}

func checkDamaged(t *testing.T, make func() cache) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, path string, content []byte)
	}{
		{"altered", func(t *testing.T, path string, content []byte) {
			content[len(content)-1]++
			write(t, path, content)
		}},
		{"truncated", func(t *testing.T, path string, content []byte) { write(t, path, content[:100]) }},
		{"empty", func(t *testing.T, path string, _ []byte) { write(t, path, nil) }},
		{"longer", func(t *testing.T, path string, content []byte) { write(t, path, append(content, 'x')) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, whole := make(), make()
			var log bytes.Buffer
			s := New(slog.New(slog.NewTextHandler(&log, nil)), c.dir)
			target := "/v2/etcd/blobs/" + c.layer.String() + "?ns=registry.k8s.io"
			if r := get(t, s, "GET", target); r.StatusCode != 200 {
				t.Fatalf("the whole blob: %s", r.Status)
			}
			tc.damage(t, c.path(c.layer), c.content)
			// The size may be the same, and on a coarse clock the time too; on a machine such a file is older.
			if err := os.Chtimes(c.path(c.layer), time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second answer is what was remembered
				r := get(t, s, "GET", target, "Range: bytes=0-3")
				text := body(t, r)
				if r.StatusCode != 404 || !strings.Contains(text, "BLOB_UNKNOWN") || !strings.Contains(text, "cut or altered") {
					t.Fatalf("the damaged blob: %s, %s; want 404 with the reason", r.Status, text)
				}
			}
			if !strings.Contains(log.String(), "cut or altered") {
				t.Errorf("the log says %q; want the damage", log.String())
			}
			// The next layout that has it whole is taken.
			s = New(quiet(), c.dir, whole.dir)
			if r := get(t, s, "GET", target); r.StatusCode != 200 || body(t, r) != string(whole.content) {
				t.Errorf("with a whole copy in the next layout: %s; want it", r.Status)
			}
		})
	}
}

func TestACutTagOfAFlatCacheIsNotFoundAndSaid(t *testing.T) {
	for _, tc := range []struct {
		name, content, want string
		remove              bool // the manifest by its digest
	}{
		{"cut", `{"mediaType`, "is no manifest", false},
		{"altered", `{"layers":[]}`, "cut or altered", false},
		{"its twin is gone", "", "cut or altered", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCache(t).flat(t)
			if tc.remove {
				if err := os.Remove(c.path(c.manifest)); err != nil {
					t.Fatal(err)
				}
			} else {
				write(t, filepath.Join(c.dir, FlatTag("registry.k8s.io/etcd", "v3.7.3")), []byte(tc.content))
			}
			var log bytes.Buffer
			s := New(slog.New(slog.NewTextHandler(&log, nil)), c.dir)
			if r := get(t, s, "GET", "/v2/etcd/manifests/v3.7.3?ns=registry.k8s.io"); r.StatusCode != 404 {
				t.Errorf("GET = %s; want 404", r.Status)
			}
			if !strings.Contains(log.String(), tc.want) {
				t.Errorf("the log says %q; want %q", log.String(), tc.want)
			}
		})
	}
}

func TestLookupKnowsTagsAndDigests(t *testing.T) {
	forms(t, func(t *testing.T, make func() cache) {
		c := make()
		if !Is(c.dir) || Is(t.TempDir()) {
			t.Errorf("Is = %t for the cache, %t for an empty folder; want true, false", Is(c.dir), Is(t.TempDir()))
		}
		for ref, want := range map[string]bool{
			etcdRef: true, "registry.k8s.io/etcd@" + c.manifest.String(): true, "registry.k8s.io/etcd:v3": false, "registry.k8s.io/etcd": false,
			"registry.k8s.io/etcd@" + c.layer.String(): false, "registry.k8s.io/etcd@" + digest.FromString("x").String(): false, "": false,
		} {
			d, err := Open(c.dir).Lookup(ref)
			if want && (err != nil || d.Digest != c.manifest || d.MediaType != imagespec.MediaTypeImageManifest) || !want && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Lookup(%q) = %v, %v; want it found: %t", ref, d.Digest, err, want)
			}
		}
	})
}

func TestFlatNamesHaveNoColon(t *testing.T) {
	d := digest.FromString("x")
	for got, want := range map[string]string{
		FlatTag("localhost:5000/a/b", "v1"): "manifests/localhost_5000_/a/b/reference/v1",
		FlatManifest("quay.io/a/b", d):      "manifests/quay.io/a/b/digest/sha256-" + d.Encoded(),
		FlatBlob(d):                         "blob/sha256-" + d.Encoded(),
	} {
		if got != want {
			t.Errorf("flat name = %s; want %s", got, want)
		}
	}
}

func TestADamagedIndexIsNotFoundAndSaid(t *testing.T) {
	c := newCache(t)
	write(t, filepath.Join(c.dir, "index.json"), []byte(`{"manifests":[{`))
	var log bytes.Buffer
	s := New(slog.New(slog.NewTextHandler(&log, nil)), c.dir)
	if r := get(t, s, "GET", "/v2/etcd/manifests/v3.7.3?ns=registry.k8s.io"); r.StatusCode != 404 {
		t.Errorf("GET = %s; want 404", r.Status)
	}
	if !strings.Contains(log.String(), "damaged") {
		t.Errorf("the log says %q; want the damage", log.String())
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(quiet(), newCache(t).dir).Serve(ctx, l) }()
	r, err := http.Get("http://" + l.Addr().String() + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve = %v; want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve did not return")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("/v2/etcd/manifests/v3.7.3", "registry.k8s.io")
	f.Add("/v2/a/b/blobs/sha256:"+strings.Repeat("0", 64), "")
	f.Add("/v2/../x/blobs/sha256:../../y", "..")
	f.Add("/v2/", "")
	c := newCache(f)
	l := Open(c.dir)
	f.Fuzz(func(t *testing.T, path, registry string) {
		q, err := parse(path, registry)
		if err != nil || q.ping {
			return
		}
		if (q.tag == "") == (q.digest == "") {
			t.Fatalf("parse(%q, %q) = %+v; want a tag or a digest", path, registry, q)
		}
		if q.digest == "" {
			return
		}
		file, _, err := l.Blob(q.repository, q.digest)
		switch {
		case err == nil:
			_ = file.Close()
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrBroken):
			t.Fatalf("blob(%q) = %v", q.digest, err)
		}
	})
}

func FuzzReadIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","annotations":{"io.containerd.image.name":"a/b:c"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := readIndex(bytes.NewReader(b)); err != nil && !errors.Is(err, ErrBroken) {
			t.Fatalf("readIndex = %v; want ErrBroken", err)
		}
		mediaTypeOf(bytes.NewReader(b))
	})
}
