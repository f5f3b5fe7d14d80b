package imagecache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/image/oci"
	"talos.internal/internal/registryd"
)

// remote is what a registry has, by digest and by full reference. It is a Source, and can be written as a layout.
type remote struct {
	name    string
	content map[digest.Digest][]byte
	names   map[string]imagespec.Descriptor
	asked   func(d digest.Digest) // may be nil
}

func newRemote(name string) *remote {
	return &remote{name: name, content: map[digest.Digest][]byte{}, names: map[string]imagespec.Descriptor{}}
}

func (r *remote) String() string { return r.name }

func (r *remote) Resolve(_ context.Context, ref string) (imagespec.Descriptor, error) {
	if d, ok := r.names[ref]; ok {
		return d, nil
	}
	return imagespec.Descriptor{}, fs.ErrNotExist
}

func (r *remote) Fetch(_ context.Context, _ string, d imagespec.Descriptor) (io.ReadCloser, error) {
	if r.asked != nil {
		r.asked(d.Digest)
	}
	if b, ok := r.content[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	return nil, fs.ErrNotExist
}

func (r *remote) put(mediaType string, content []byte) imagespec.Descriptor {
	d := imagespec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	r.content[d.Digest] = content
	return d
}

func (r *remote) json(t testing.TB, mediaType string, v any) imagespec.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return r.put(mediaType, b)
}

// image adds an image of two layers, of which one is the same in all, and returns its manifest and its own layer.
func (r *remote) image(t testing.TB, text string) (manifest, layer imagespec.Descriptor) {
	t.Helper()
	shared := r.put(imagespec.MediaTypeImageLayerZstd, bytes.Repeat([]byte("shared"), 1000))
	layer = r.put(imagespec.MediaTypeImageLayerZstd, bytes.Repeat([]byte(text), 500))
	config := r.json(t, imagespec.MediaTypeImageConfig, map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{"User": text}})
	m := imagespec.Manifest{MediaType: imagespec.MediaTypeImageManifest, Config: config, Layers: []imagespec.Descriptor{shared, layer}}
	m.SchemaVersion = 2
	return r.json(t, imagespec.MediaTypeImageManifest, m), layer
}

// clone is a copy that can be damaged.
func (r *remote) clone(name string) *remote {
	return &remote{name: name, content: maps.Clone(r.content), names: maps.Clone(r.names)}
}

const (
	etcd = "registry.k8s.io/etcd:v3.7.3"
	app  = "docker.io/library/app:latest"
)

// two is a remote with two images, and the layer that only etcd has.
func two(t testing.TB) (*remote, imagespec.Descriptor) {
	t.Helper()
	r := newRemote("origin")
	var layer imagespec.Descriptor
	r.names[etcd], layer = r.image(t, "etcd")
	r.names[app], _ = r.image(t, "app")
	return r, layer
}

func options(dir string, sources ...Source) Options {
	return Options{Dir: dir, Form: Layout, Images: []string{etcd, "app", etcd}, Sources: sources, Platforms: []string{"linux/amd64"}}
}

// check reads all that a cache should have of the images.
func check(t *testing.T, dir string, r *remote, refs ...string) {
	t.Helper()
	c := registryd.Open(dir)
	for _, ref := range refs {
		d, err := c.Lookup(ref)
		if err != nil || d.Digest != r.names[ref].Digest {
			t.Errorf("Lookup(%s) = %v, %v; want %s", ref, d.Digest, err, r.names[ref].Digest)
			continue
		}
		for _, d := range append([]imagespec.Descriptor{d}, parts(t, r, d)...) {
			f, _, err := c.Blob(repositoryOf(ref), d.Digest)
			if err != nil {
				t.Errorf("%s: blob %s: %v", ref, d.Digest, err)
				continue
			}
			_ = f.Close()
		}
	}
}

func parts(t *testing.T, r *remote, d imagespec.Descriptor) []imagespec.Descriptor {
	t.Helper()
	var m imagespec.Manifest
	if err := json.Unmarshal(r.content[d.Digest], &m); err != nil {
		t.Fatal(err)
	}
	return append([]imagespec.Descriptor{m.Config}, m.Layers...)
}

// tree is the content of all files below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// recorder collects the lines of a log.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) log(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) has(parts ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

func TestBothFormsHaveTheImagesAndEachFormIsASource(t *testing.T) {
	r, _ := two(t)
	dir := t.TempDir()
	for i, form := range []Form{Layout, Flat, Layout} {
		o := options(filepath.Join(dir, fmt.Sprint(i)), r)
		o.Form = form
		if i > 0 { // from the cache that was made before
			s, err := Folder(filepath.Join(dir, fmt.Sprint(i-1)))
			if err != nil {
				t.Fatal(err)
			}
			o.Sources = []Source{s}
		}
		got, err := Create(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if got.Images != 2 || got.Blobs != 5 { // the shared layer once
			t.Errorf("%s: Create = %+v; want 2 images, 5 blobs", form, got)
		}
		check(t, o.Dir, r, etcd, app)
	}
	if d := cmp.Diff(tree(t, filepath.Join(dir, "0")), tree(t, filepath.Join(dir, "2"))); d != "" {
		t.Errorf("the same images by way of a flat cache are another layout:\n%s", d)
	}
	images, err := oci.Read(filepath.Join(dir, "0"))
	if err != nil || len(images) != 2 || images[0].Ref != app || images[1].Ref != etcd {
		t.Errorf("oci.Read = %v, %v; want %s and %s", images, err, app, etcd)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("beside the caches there is %v; want nothing", left)
	}
}

func TestADamagedBlobIsTakenFromTheNextSource(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(b []byte) []byte
		want   string
	}{
		{"truncated", func(b []byte) []byte { return b[:len(b)-1] }, "it is cut after 1999 of 2000 bytes"},
		{"altered", func(b []byte) []byte { b = slices.Clone(b); b[7]++; return b }, "it is altered: its digest is sha256:"},
		{"longer", func(b []byte) []byte { return append(slices.Clone(b), 'x') }, "it is longer than its 2000 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			whole, layer := two(t)
			first, second := whole.clone("first"), whole.clone("second")
			first.content[layer.Digest] = tc.damage(whole.content[layer.Digest])
			second.content[layer.Digest] = tc.damage(whole.content[layer.Digest])
			var said recorder
			o := options(filepath.Join(t.TempDir(), "cache"), first, second, whole)
			o.Log = said.log
			if _, err := Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			check(t, o.Dir, whole, etcd, app)
			for _, source := range []string{"first", "second"} {
				if !said.has(layer.Digest.String(), "is not taken from "+source, tc.want) {
					t.Errorf("the log has no word on %s being %s:\n%s", source, tc.name, strings.Join(said.lines, "\n"))
				}
			}

			before := tree(t, o.Dir)
			o.Replace, o.Sources = true, []Source{first, second}
			_, err := Create(t.Context(), o)
			if !errors.Is(err, registryd.ErrBroken) {
				t.Fatalf("without a whole copy, Create = %v; want ErrBroken", err)
			}
			for _, want := range []string{"no source has it whole", etcd, layer.Digest.String(), "\n  first: ", "\n  second: ", tc.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Create = %v; want %q in it", err, want)
				}
			}
			if d := cmp.Diff(before, tree(t, o.Dir)); d != "" {
				t.Errorf("the old cache has changed:\n%s", d)
			}
		})
	}
}

func TestADamagedManifestIsTakenFromTheNextSource(t *testing.T) {
	whole, _ := two(t)
	bad := whole.clone("bad")
	bad.content[whole.names[etcd].Digest] = []byte(`{"layers":[]}`)
	o := options(filepath.Join(t.TempDir(), "cache"), bad, whole)
	if _, err := Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	check(t, o.Dir, whole, etcd, app)
}

func TestAllThatIsMissingIsNamed(t *testing.T) {
	r, _ := two(t)
	o := options(filepath.Join(t.TempDir(), "cache"), r, newRemote("empty"))
	o.Images = append(o.Images, "quay.io/a:1", "quay.io/b@"+digest.FromString("b").String())
	_, err := Create(t.Context(), o)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Create = %v; want ErrNotExist", err)
	}
	for _, want := range []string{"quay.io/a:1: no source has it", "quay.io/b@sha256:", "\n  origin: ", "\n  empty: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Create = %v; want %q in it", err, want)
		}
	}
	if _, err := os.Stat(o.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is something at %s: %v", o.Dir, err)
	}
}

func TestOfAnIndexTheWantedPlatformsAreTaken(t *testing.T) {
	r := newRemote("origin")
	index := imagespec.Index{MediaType: imagespec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	children := map[string]imagespec.Descriptor{}
	for _, p := range []string{"linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "unknown/unknown"} {
		m, _ := r.image(t, p)
		platform, err := parsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		m.Platform = &platform
		children[p] = m
		index.Manifests = append(index.Manifests, m)
	}
	r.names[etcd] = r.json(t, imagespec.MediaTypeImageIndex, index)
	for _, tc := range []struct{ want, has []string }{
		{[]string{"linux/amd64"}, []string{"linux/amd64"}},
		{[]string{"linux/amd64", "linux/arm64/v8"}, []string{"linux/amd64", "linux/arm64"}},
		{[]string{"linux/arm/v7"}, []string{"linux/arm/v7"}},
		{[]string{"linux/arm"}, []string{"linux/arm/v6", "linux/arm/v7"}},
		{[]string{"windows/amd64"}, nil},
	} {
		o := options(filepath.Join(t.TempDir(), "cache"), r)
		o.Images, o.Platforms = []string{etcd}, tc.want
		_, err := Create(t.Context(), o)
		if tc.has == nil {
			if err == nil || !strings.Contains(err.Error(), "is not made for windows/amd64") {
				t.Errorf("Create for %v = %v; want that it is not made for it", tc.want, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("Create for %v = %v", tc.want, err)
			continue
		}
		c := registryd.Open(o.Dir)
		if d, err := c.Lookup(etcd); err != nil || d.Digest != r.names[etcd].Digest {
			t.Errorf("the name means %v, %v; want the index as it was", d.Digest, err)
		}
		for p, m := range children {
			_, _, err := c.Blob("registry.k8s.io/etcd", m.Digest)
			if want := slices.Contains(tc.has, p); (err == nil) != want {
				t.Errorf("for %v the cache has %s: %v; want %t", tc.want, p, err, want)
			}
		}
	}
}

func TestSignaturesAreTakenWhereThereAreSome(t *testing.T) {
	r, _ := two(t)
	signature := "registry.k8s.io/etcd:sha256-" + r.names[etcd].Digest.Encoded() + ".sig"
	r.names[signature], _ = r.image(t, "signature")
	var said recorder
	o := options(filepath.Join(t.TempDir(), "cache"), r)
	o.Signatures, o.Log = true, said.log
	if _, err := Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	check(t, o.Dir, r, etcd, app, signature)
	if !said.has(app + " has no signature") {
		t.Errorf("the log does not say that %s has no signature:\n%s", app, strings.Join(said.lines, "\n"))
	}
}

func TestKeptLayersAreNotFetchedAgain(t *testing.T) {
	r, layer := two(t)
	var mu sync.Mutex
	var asked []digest.Digest
	r.asked = func(d digest.Digest) { mu.Lock(); asked = append(asked, d); mu.Unlock() }
	o := options(filepath.Join(t.TempDir(), "cache"), r)
	o.Layers = filepath.Join(t.TempDir(), "layers")
	for i, damage := range []bool{false, false, true} {
		if damage { // it is fetched again then
			if err := os.WriteFile(layers(o.Layers).path(layer.Digest), []byte("cut"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		asked = nil
		if _, err := Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if got, want := slices.Contains(asked, layer.Digest), i == 0 || damage; got != want {
			t.Errorf("run %d asked for the layer: %t; want %t", i+1, got, want)
		}
		check(t, o.Dir, r, etcd, app)
		o.Replace = true
	}
}

func TestOnlyACacheIsReplacedAndOnlyIfAskedFor(t *testing.T) {
	r, _ := two(t)
	o := options(filepath.Join(t.TempDir(), "cache"), r)
	if err := os.Mkdir(o.Dir, 0o700); err != nil { // empty
		t.Fatal(err)
	}
	for _, form := range []Form{Layout, Flat} {
		o.Form = form
		if _, err := Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		o.Replace = false
		if _, err := Create(t.Context(), o); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "already") {
			t.Errorf("Create over a cache = %v; want ErrExist", err)
		}
		o.Replace = true
	}
	diary := filepath.Join(t.TempDir(), "diary")
	if err := os.WriteFile(diary, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Dir = filepath.Dir(diary)
	if _, err := Create(t.Context(), o); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a folder that is no cache = %v; want ErrExist", err)
	}
}

func TestOptionsThatMeanNothingAreRefused(t *testing.T) {
	r, _ := two(t)
	for name, change := range map[string]func(o *Options){
		"no image":       func(o *Options) { o.Images = nil },
		"a bad image":    func(o *Options) { o.Images = []string{"A B"} },
		"no source":      func(o *Options) { o.Sources = nil },
		"no platform":    func(o *Options) { o.Platforms = nil },
		"a bad platform": func(o *Options) { o.Platforms = []string{"amd64"} },
		"a bad form":     func(o *Options) { o.Form = "zip" },
	} {
		o := options(filepath.Join(t.TempDir(), "cache"), r)
		change(&o)
		if _, err := Create(t.Context(), o); err == nil {
			t.Errorf("%s: Create = nil; want an error", name)
		}
	}
	if _, err := Folder(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Folder of an empty folder = %v; want ErrNotExist", err)
	}
	for _, u := range []string{"mirror", "ftp://mirror", "http://", "https://u:p@mirror", "http://mirror?x=y"} {
		if _, err := Mirror(u, Access{}); err == nil {
			t.Errorf("Mirror(%q) = nil error", u)
		}
	}
}

// standing is a source whose blobs never come to their end.
type standing struct{ *remote }

func (s standing) Fetch(ctx context.Context, ref string, d imagespec.Descriptor) (io.ReadCloser, error) {
	rc, err := s.remote.Fetch(ctx, ref, d)
	if err != nil || d.MediaType != imagespec.MediaTypeImageLayerZstd {
		return rc, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(rc, 10), waiting{ctx})), nil
}

type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) { <-w.ctx.Done(); return 0, w.ctx.Err() }

func TestATransferThatStandsStillIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, _ := two(t)
		var said recorder
		o := options(filepath.Join(dir, "cache"), standing{r.clone("standing")}, r)
		o.Log = said.log
		began := time.Now()
		if _, err := Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < stalled || took > 3*stalled {
			t.Errorf("it took %v; want about %v", took, stalled)
		}
		if !said.has("standing", "nothing has come for 1m0s") {
			t.Errorf("the log does not say why:\n%s", strings.Join(said.lines, "\n"))
		}
	})
}

// serve serves a cache, with a handler in front that may answer instead.
func serve(t *testing.T, dir string, front func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	back := registryd.New(slog.New(slog.DiscardHandler), dir)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if front == nil || !front(w, r) {
			back.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestImagesComeFromRegistries(t *testing.T) {
	r, layer := two(t)
	o := options(filepath.Join(t.TempDir(), "origin"), r)
	if _, err := Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	isLayer := func(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, layer.Digest.String()) }
	cut := serve(t, o.Dir, func(w http.ResponseWriter, req *http.Request) bool {
		if isLayer(req) && req.Method == http.MethodGet {
			w.Header().Set("Content-Length", "2000")
			_, _ = w.Write(r.content[layer.Digest][:100])
			return true // and the connection ends
		}
		return false
	})
	failing := serve(t, o.Dir, func(w http.ResponseWriter, req *http.Request) bool {
		if isLayer(req) {
			http.Error(w, "out of order", http.StatusForbidden)
			return true
		}
		return false
	})
	closed := serve(t, o.Dir, func(w http.ResponseWriter, req *http.Request) bool {
		if user, password, _ := req.BasicAuth(); user != "jane" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	access := Access{Credentials: func(string) (string, string, error) { return "jane", "secret", nil }}
	var sources []Source
	for _, u := range []string{cut, failing, closed} {
		s, err := Mirror(u, access)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, s)
	}
	var said recorder
	o.Dir, o.Sources, o.Log = filepath.Join(t.TempDir(), "copy"), sources, said.log
	if _, err := Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	check(t, o.Dir, r, etcd, app)
	for source, want := range map[string]string{cut: "cut", failing: "403"} {
		if !said.has("is not taken from mirror "+source, want) {
			t.Errorf("the log does not say %q of %s:\n%s", want, source, strings.Join(said.lines, "\n"))
		}
	}
	o.Dir = filepath.Join(t.TempDir(), "none")
	s, err := Mirror(closed, Access{})
	if err != nil {
		t.Fatal(err)
	}
	o.Sources = []Source{s}
	if _, err := Create(t.Context(), o); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without credentials Create = %v; want an error that is not ErrNotExist", err)
	}

}

// A registry is reached by the name of its images: without TLS on this computer, and elsewhere only if that was asked for.
func TestARegistryIsReachedByTheNameOfItsImages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "origin")
	var host string
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.URL.RawQuery = "ns=" + host // the server serves one registry, itself
		registryd.New(slog.New(slog.DiscardHandler), dir).ServeHTTP(w, req)
	})
	for _, tc := range []struct {
		name     string
		start    func(http.Handler) *httptest.Server
		insecure bool
		ok       bool
	}{
		{"without TLS", httptest.NewServer, false, true},
		{"a certificate that nobody knows", httptest.NewTLSServer, false, false},
		{"a certificate that nobody knows, insecure", httptest.NewTLSServer, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.start(handler)
			defer s.Close()
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			_, host, _ = strings.Cut(s.URL, "://")
			if strings.HasPrefix(s.URL, "https:") {
				// What is known to be this computer is not asked by TLS; this address is it, and not known to be.
				host = strings.Replace(host, "127.0.0.1", "0.0.0.0", 1)
			}
			r := newRemote("images")
			ref := host + "/team/app:v1"
			r.names[ref], _ = r.image(t, "app")
			o := options(dir, r)
			o.Images, o.Replace = []string{ref}, true
			if _, err := Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			o.Dir, o.Sources = filepath.Join(t.TempDir(), "copy"), []Source{Registries(Access{Insecure: tc.insecure})}
			_, err := Create(t.Context(), o)
			if (err == nil) != tc.ok {
				t.Fatalf("Create = %v; want success: %t", err, tc.ok)
			}
			if tc.ok {
				check(t, o.Dir, r, ref)
			}
		})
	}
}
