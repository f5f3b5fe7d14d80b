package crictrl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/container"
	"talos.internal/internal/registryd"
	"talos.internal/resource/cri"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

// source is a registry of one image, whose requests are kept.
type source struct {
	*httptest.Server
	dir   string
	front func(w http.ResponseWriter, r *http.Request) bool // answers in its place, if it returns true

	mu    sync.Mutex
	asked []string
}

// newSource serves an image cache. own is the registry that it is itself, if it is one.
func newSource(t *testing.T, own *string) *source {
	t.Helper()
	s := &source{dir: t.TempDir()}
	cache := registryd.New(slog.New(slog.DiscardHandler), s.dir)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		if s.front != nil && s.front(w, r) {
			return
		}
		if own != nil {
			r.URL.RawQuery = "ns=" + *own
		}
		cache.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// blob is the file of a blob.
func (s *source) blob(d digest.Digest) string {
	return filepath.Join(s.dir, "blobs", "sha256", d.Encoded())
}

// served reports whether a blob came from the source.
func (s *source) served(d digest.Digest) bool {
	return slices.ContainsFunc(s.asked, func(line string) bool {
		return strings.HasPrefix(line, "GET ") && strings.HasSuffix(line, d.String())
	})
}

// fill puts an image of one layer into sources, and returns the layer.
func fill(t *testing.T, ref string, sources ...*source) digest.Digest {
	t.Helper()
	layer := []byte(strings.Repeat("layer", 2000))
	conf := []byte(`{"os":"linux","architecture":"amd64"}`)
	describe := func(mediaType string, b []byte) imagespec.Descriptor {
		return imagespec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	}
	manifest, err := json.Marshal(imagespec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest, Config: describe(imagespec.MediaTypeImageConfig, conf),
		Layers: []imagespec.Descriptor{describe(imagespec.MediaTypeImageLayer, layer)},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := describe(imagespec.MediaTypeImageManifest, manifest)
	d.Annotations = map[string]string{imagespec.AnnotationRefName: ref}
	index, err := json.Marshal(imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imagespec.Descriptor{d}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		for _, b := range [][]byte{layer, conf, manifest} {
			if err := replace(s.blob(digest.FromBytes(b)), string(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := replace(filepath.Join(s.dir, "index.json"), string(index), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return digest.FromBytes(layer)
}

// pull fetches an image as containerd does, by the hosts files for a config.
func pull(t *testing.T, c cri.RegistryConfig, ref string) error {
	t.Helper()
	dir := t.TempDir()
	files, err := Files(testDeps(dir), container.Host{}, Sources{Registries: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syncFiles(dir, files, map[string]bool{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: config.ConfigureHosts(ctx, config.HostOptions{HostDir: config.HostDirFromRoot(filepath.Join(dir, hostsPrefix))}),
	})
	name, d, err := resolver.Resolve(ctx, ref)
	if err != nil {
		return fmt.Errorf("resolve: %w", err)
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return err
	}
	store, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []imagespec.Descriptor
	err = images.Dispatch(ctx, images.Handlers(
		images.HandlerFunc(func(_ context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, d)
			return nil, nil
		}),
		remotes.FetchHandler(store, fetcher), images.ChildrenHandler(store)), nil, d)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if len(all) != 3 {
		t.Errorf("%d blobs were fetched; want manifest, config and layer", len(all))
	}
	for _, d := range all {
		b, err := content.ReadBlob(ctx, store, d)
		if err != nil || digest.FromBytes(b) != d.Digest {
			t.Errorf("blob %s: %v, %d bytes; want it whole", d.Digest, err, len(b))
		}
	}
	return nil
}

// The chain of a node: its image cache, the mirrors of the config, the registry.
func TestADamagedBlobOfTheCacheComesFromTheNextSource(t *testing.T) {
	alter := func(name string) error {
		b, err := os.ReadFile(name)
		if err == nil {
			b[len(b)/2]++
			err = os.WriteFile(name, b, 0o600)
		}
		return err
	}
	cut := func(name string) error { return os.Truncate(name, 5) }
	for _, tc := range []struct {
		name          string
		cache, mirror func(string) error // what happens to the layer there; nil for nothing
		breakdown     func(cache, mirror *source)
		from          string // who serves the layer
	}{
		{name: "all is whole", from: "cache"},
		{name: "altered", cache: alter, from: "mirror"},
		{name: "truncated", cache: cut, from: "mirror"},
		{name: "missing", cache: os.Remove, from: "mirror"},
		{name: "altered in the mirror too", cache: cut, mirror: alter, from: "registry"},
		{name: "missing in the mirror", cache: alter, mirror: os.Remove, from: "registry"},
		{name: "the cache is off", breakdown: func(cache, _ *source) { cache.Close() }, from: "mirror"},
		{name: "the cache and the mirror are off", breakdown: func(cache, mirror *source) { cache.Close(); mirror.Close() }, from: "registry"},
		{name: "the mirror is out of order", cache: cut, breakdown: func(_, mirror *source) {
			mirror.front = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }
		}, from: "registry"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var host string
			sources := map[string]*source{"cache": newSource(t, nil), "mirror": newSource(t, nil), "registry": newSource(t, &host)}
			cache, mirror, registry := sources["cache"], sources["mirror"], sources["registry"]
			host = strings.TrimPrefix(registry.URL, "http://")
			ref := host + "/team/app:v1"
			layer := fill(t, ref, cache, mirror, registry)
			for s, damage := range map[*source]func(string) error{cache: tc.cache, mirror: tc.mirror} {
				if damage != nil {
					if err := damage(s.blob(layer)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tc.breakdown != nil {
				tc.breakdown(cache, mirror)
			}
			// By the mirrors of every registry, and by those of this one.
			for _, name := range []string{anyRegistry, host} {
				for _, s := range sources {
					s.asked = nil
				}
				c := cri.RegistryConfig{Mirrors: map[string]cri.RegistryMirror{name: {Endpoints: []cri.RegistryEndpoint{{URL: cache.URL}, {URL: mirror.URL}}}}}
				if err := pull(t, c, ref); err != nil {
					t.Fatalf("by the mirrors of %s: %v", name, err)
				}
				if !sources[tc.from].served(layer) {
					t.Errorf("by the mirrors of %s: the layer did not come from the %s", name, tc.from)
				}
				if tc.from == "cache" && len(mirror.asked)+len(registry.asked) > 0 {
					t.Errorf("all is in the cache, and others were asked: %v, %v", mirror.asked, registry.asked)
				}
			}
		})
	}
}

func TestWithSkipFallbackTheRegistryIsNotAsked(t *testing.T) {
	var host string
	cache, mirror, registry := newSource(t, nil), newSource(t, nil), newSource(t, &host)
	host = strings.TrimPrefix(registry.URL, "http://")
	ref := host + "/team/app:v1"
	fill(t, ref, registry)
	for _, endpoints := range [][]cri.RegistryEndpoint{{{URL: cache.URL}, {URL: mirror.URL}}, {{URL: cache.URL}}} {
		c := cri.RegistryConfig{Mirrors: map[string]cri.RegistryMirror{host: {Endpoints: endpoints, SkipFallback: true}}}
		if err := pull(t, c, ref); err == nil || len(registry.asked) > 0 {
			t.Errorf("pull = %v, the registry was asked %v; want an error and nothing", err, registry.asked)
		}
	}
	fill(t, ref, mirror)
	c := cri.RegistryConfig{Mirrors: map[string]cri.RegistryMirror{host: {Endpoints: []cri.RegistryEndpoint{{URL: cache.URL}, {URL: mirror.URL}}, SkipFallback: true}}}
	if err := pull(t, c, ref); err != nil || len(registry.asked) > 0 {
		t.Errorf("pull = %v, the registry was asked %v; want it from the mirror", err, registry.asked)
	}
}

func TestThePathOfAMirrorIsOverriddenOnlyIfAskedFor(t *testing.T) {
	for _, override := range []bool{false, true} {
		mirror := newSource(t, nil)
		prefix := "/proxy/v2/"
		if override {
			prefix = "/proxy/" // the path is all that stands before the name
		}
		mirror.front = func(w http.ResponseWriter, r *http.Request) bool {
			rest, ok := strings.CutPrefix(r.URL.Path, prefix)
			if !ok {
				http.NotFound(w, r)
				return true
			}
			r.URL.Path = "/v2/" + rest
			return false
		}
		const ref = "registry.example.invalid/team/app:v1"
		fill(t, ref, mirror)
		c := cri.RegistryConfig{Mirrors: map[string]cri.RegistryMirror{"registry.example.invalid": {
			Endpoints: []cri.RegistryEndpoint{{URL: mirror.URL + "/proxy", OverridePath: override}}, SkipFallback: true,
		}}}
		if err := pull(t, c, ref); err != nil {
			t.Errorf("override %t: pull = %v; it asked for %v", override, err, mirror.asked)
		}
	}
}

// A mirror that does not check what it has is found out, and what it sent is not kept. containerd then gives up: it has the content
// already when it sees that it is another.
func TestWhatAMirrorSendsIsComparedWithItsDigest(t *testing.T) {
	var host string
	mirror, registry := newSource(t, nil), newSource(t, &host)
	host = strings.TrimPrefix(registry.URL, "http://")
	ref := host + "/team/app:v1"
	layer := fill(t, ref, mirror, registry)
	mirror.front = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, layer.String()) {
			return false
		}
		_, _ = w.Write([]byte(strings.Repeat("LAYER", 2000)))
		return true
	}
	c := cri.RegistryConfig{Mirrors: map[string]cri.RegistryMirror{anyRegistry: {Endpoints: []cri.RegistryEndpoint{{URL: mirror.URL}}}}}
	if err := pull(t, c, ref); err == nil || !strings.Contains(err.Error(), "unexpected commit digest") || !strings.Contains(err.Error(), layer.String()) {
		t.Errorf("pull = %v; want that the digest is another than %s", err, layer)
	}
}

// A registry that shows a certificate of an authority of its own, and wants one of ours.
func TestTLSSettingsOfARegistryAreUsed(t *testing.T) {
	now := time.Now()
	authority, err := secret.NewCustomAuthority(secret.AuthoritySpec{Key: secret.ECDSAP256, TTL: time.Hour}, now)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(l secret.Leaf) secret.Pair {
		l.TTL = time.Hour
		pair, err := authority.Issue(l, now)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	server := issue(secret.Leaf{SANs: secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, Usage: secret.Server})
	client := issue(secret.Leaf{CommonName: "node", Usage: secret.Client})
	mirror := newSource(t, nil)
	roots := x509.NewCertPool()
	roots.AddCert(authority.Certificate())
	secure := httptest.NewUnstartedServer(mirror.Config.Handler)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	const ref = "registry.example.invalid/team/app:v1"
	fill(t, ref, mirror)
	identity := &secrets.CertificateAndKey{Crt: client.CertificatePEM(), Key: client.Key().PEM()}
	for _, tc := range []struct {
		name string
		tls  cri.RegistryTLS
		ok   bool
	}{
		{"nothing", cri.RegistryTLS{}, false},
		{"the authority alone", cri.RegistryTLS{CA: authority.CertificatePEM()}, false},
		{"the identity alone", cri.RegistryTLS{ClientIdentity: identity}, false},
		{"both", cri.RegistryTLS{CA: authority.CertificatePEM(), ClientIdentity: identity}, true},
		{"the identity, and any certificate", cri.RegistryTLS{InsecureSkipVerify: true, ClientIdentity: identity}, true},
	} {
		c := cri.RegistryConfig{
			Mirrors: map[string]cri.RegistryMirror{"registry.example.invalid": {Endpoints: []cri.RegistryEndpoint{{URL: secure.URL}}, SkipFallback: true}},
			TLS:     map[string]cri.RegistryTLS{strings.TrimPrefix(secure.URL, "https://"): tc.tls},
		}
		if err := pull(t, c, ref); (err == nil) != tc.ok {
			t.Errorf("with %s, pull = %v; want success: %t", tc.name, err, tc.ok)
		}
	}
}
