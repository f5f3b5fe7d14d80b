package container

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/signature"
)

// shelf is a registry that answers what was laid on it, by path.
type shelf struct {
	url     string
	answers map[string][]byte
	types   map[string]string
	user    string // who has to ask; "" is anybody
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{answers: map[string][]byte{}, types: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := r.BasicAuth(); s.user != "" && user != s.user {
			w.Header().Set("WWW-Authenticate", `Basic realm="shelf"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b, ok := s.answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", s.types[r.URL.Path])
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(b).String())
		if r.Method == http.MethodGet {
			_, _ = w.Write(b)
		}
	}))
	t.Cleanup(server.Close)
	s.url = strings.TrimPrefix(server.URL, "http://")
	return s
}

func (s *shelf) lay(path, mediaType string, b []byte) {
	s.answers["/v2/team/app/"+path], s.types["/v2/team/app/"+path] = b, mediaType
}

// manifest lays a manifest under a tag, if that is not empty, and under its digest.
func (s *shelf) manifest(t *testing.T, tag string, v any, mediaType string) imagespec.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := imagespec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.lay("manifests/"+d.Digest.String(), mediaType, b)
	if tag != "" {
		s.lay("manifests/"+tag, mediaType, b)
	}
	return d
}

func (s *shelf) blob(mediaType string, b []byte) imagespec.Descriptor {
	d := imagespec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.lay("blobs/"+d.Digest.String(), "application/octet-stream", b)
	return d
}

func newKey(t *testing.T) (sign func(message []byte) []byte, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return func(message []byte) []byte {
		sum := sha256.Sum256(message)
		sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

const manifestType = imagespec.MediaTypeImageManifest

// signSimple and signBundle sign an image in the two forms of cosign; the second is found by what finds referrers.
func signSimple(t *testing.T, s *shelf, sign func([]byte) []byte, image digest.Digest) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"}}`, image)
	l := s.blob("application/vnd.dev.cosign.simplesigning.v1+json", payload)
	l.Annotations = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sign(payload))}
	s.manifest(t, "sha256-"+image.Encoded()+".sig", imagespec.Manifest{MediaType: manifestType, Layers: []imagespec.Descriptor{l}}, manifestType)
}

func signBundle(t *testing.T, s *shelf, sign func([]byte) []byte, image digest.Digest, api bool) {
	t.Helper()
	const kind, inToto = "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json"
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%s"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1"}`, image.Encoded())
	sig := sign(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(inToto), inToto, len(statement), statement))
	bundle, err := json.Marshal(map[string]any{"dsseEnvelope": map[string]any{
		"payload": []byte(statement), "payloadType": inToto, "signatures": []any{map[string]any{"sig": sig}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := s.manifest(t, "", imagespec.Manifest{MediaType: manifestType, ArtifactType: kind, Layers: []imagespec.Descriptor{s.blob(kind, bundle)}}, manifestType)
	m.ArtifactType = kind
	index := imagespec.Index{MediaType: imagespec.MediaTypeImageIndex, Manifests: []imagespec.Descriptor{m}}
	if !api {
		s.manifest(t, "sha256-"+image.Encoded(), index, imagespec.MediaTypeImageIndex)
		return
	}
	b, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	s.lay("referrers/"+image.String(), imagespec.MediaTypeImageIndex, b)
}

func TestSignaturesAreFoundWhereverTheyAre(t *testing.T) {
	for name, sign := range map[string]func(t *testing.T, s *shelf, sign func([]byte) []byte, image digest.Digest){
		"by the tag of cosign": signSimple,
		"by the list of referrers": func(t *testing.T, s *shelf, sign func([]byte) []byte, i digest.Digest) {
			signBundle(t, s, sign, i, true)
		},
		"by the tag for referrers": func(t *testing.T, s *shelf, sign func([]byte) []byte, i digest.Digest) {
			signBundle(t, s, sign, i, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			key, public := newKey(t)
			image := s.manifest(t, "v1", imagespec.Manifest{MediaType: manifestType}, manifestType)
			c := New(Options{
				Hosts: filepath.Join(t.TempDir(), "hosts"),
				Policy: func(context.Context) (signature.Policy, error) {
					return signature.Policy{{Pattern: "*", Key: public}}, nil
				},
			})
			ref := s.url + "/team/app:v1"
			_, err := c.admitted(t.Context(), ref)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "it has no signature") {
				t.Fatalf("without a signature: %v; want ErrRefused", err)
			}
			sign(t, s, key, image.Digest)
			r, err := c.admitted(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			// The tag is moved to an image that is not signed: what was verified is pulled.
			s.manifest(t, "v1", imagespec.Manifest{MediaType: manifestType, Annotations: map[string]string{"a": "b"}}, manifestType)
			if _, d, err := r.Resolve(t.Context(), ref); err != nil || d.Digest != image.Digest {
				t.Errorf("the pull is of %s, %v; want what was verified, %s", d.Digest, err, image.Digest)
			}
			if v, err := c.Verify(t.Context(), ref, nil); err != nil || v.Allowed {
				t.Errorf("what the tag means now: %+v, %v; want it refused", v, err)
			}
		})
	}
}

func TestVerifyUsesTheCredentialsOfTheCall(t *testing.T) {
	s := newShelf(t)
	s.user = "jane"
	key, public := newKey(t)
	image := s.manifest(t, "v1", imagespec.Manifest{MediaType: manifestType}, manifestType)
	signSimple(t, s, key, image.Digest)
	c := New(Options{
		Hosts: filepath.Join(t.TempDir(), "hosts"),
		Policy: func(context.Context) (signature.Policy, error) {
			return signature.Policy{{Pattern: "*", Key: public}}, nil
		},
	})
	ref := s.url + "/team/app:v1"
	if v, err := c.Verify(t.Context(), ref, nil); err == nil {
		t.Errorf("without credentials: %+v, nil; want an error", v)
	}
	v, err := c.Verify(t.Context(), ref, func(string) (string, string, error) { return "jane", "x", nil })
	if err != nil || !v.Allowed || v.Digested != s.url+"/team/app@"+image.Digest.String() {
		t.Errorf("with credentials: %+v, %v; want it allowed", v, err)
	}
}

func TestWithoutRulesEveryImageMayBeUsed(t *testing.T) {
	for _, policy := range []func(context.Context) (signature.Policy, error){nil, func(context.Context) (signature.Policy, error) { return nil, nil }} {
		c := New(Options{Hosts: t.TempDir(), Policy: policy})
		if v, err := c.Verify(t.Context(), "nginx", nil); err != nil || !v.Allowed {
			t.Errorf("Verify = %+v, %v; want it allowed", v, err)
		}
	}
	c := New(Options{Hosts: t.TempDir(), Policy: func(context.Context) (signature.Policy, error) { return nil, errors.New("no config") }})
	if _, err := c.admitted(t.Context(), "nginx"); err == nil {
		t.Error("with rules that cannot be read, a pull is let through")
	}
}
