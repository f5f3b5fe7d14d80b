package signature

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

const app = "registry.example.com/team/app:v1"

// remote is a registry in memory.
type remote struct {
	content   map[digest.Digest][]byte
	names     map[string]imagespec.Descriptor
	referrers map[digest.Digest][]imagespec.Descriptor
	down      error // of every question
}

func newRemote() *remote {
	return &remote{content: map[digest.Digest][]byte{}, names: map[string]imagespec.Descriptor{}, referrers: map[digest.Digest][]imagespec.Descriptor{}}
}

func (r *remote) Resolve(_ context.Context, ref string) (imagespec.Descriptor, error) {
	if r.down != nil {
		return imagespec.Descriptor{}, r.down
	}
	if d, ok := r.names[ref]; ok {
		return d, nil
	}
	_, text, _ := strings.Cut(ref, "@")
	if b, ok := r.content[digest.Digest(text)]; ok {
		return imagespec.Descriptor{MediaType: imagespec.MediaTypeImageManifest, Digest: digest.Digest(text), Size: int64(len(b))}, nil
	}
	return imagespec.Descriptor{}, fs.ErrNotExist
}

func (r *remote) Fetch(_ context.Context, _ string, d imagespec.Descriptor) (io.ReadCloser, error) {
	if b, ok := r.content[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	return nil, fs.ErrNotExist
}

func (r *remote) Referrers(_ context.Context, _ string, d digest.Digest) ([]imagespec.Descriptor, error) {
	return r.referrers[d], nil
}

func (r *remote) put(mediaType string, content []byte) imagespec.Descriptor {
	d := imagespec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	r.content[d.Digest] = content
	return d
}

func (r *remote) manifest(t testing.TB, layers ...imagespec.Descriptor) imagespec.Descriptor {
	t.Helper()
	b, err := json.Marshal(imagespec.Manifest{MediaType: imagespec.MediaTypeImageManifest, Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return r.put(imagespec.MediaTypeImageManifest, b)
}

// signer signs as cosign does, and has the public key in PEM.
type signer struct {
	key    crypto.Signer
	public string
}

func newSigner(t testing.TB, key crypto.Signer, err error) signer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

func ecdsaSigner(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return newSigner(t, key, err)
}

func (s signer) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	var opts crypto.SignerOpts = crypto.SHA256
	sum := sha256.Sum256(message)
	input := sum[:]
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		opts, input = crypto.Hash(0), message
	}
	sig, err := s.key.Sign(rand.Reader, input, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// claim is a payload of the older form.
func claim(kind string, image digest.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.example.com/team/app"},"image":{"docker-manifest-digest":"%s"},"type":"%s"},"optional":null}`, image, kind)
}

// simple puts a signature of the older form beside an image.
func (r *remote) simple(t testing.TB, s signer, image digest.Digest, payload []byte) {
	t.Helper()
	l := r.put(simpleType, payload)
	l.Annotations = map[string]string{simpleKey: base64.StdEncoding.EncodeToString(s.sign(t, payload))}
	r.names["registry.example.com/team/app:sha256-"+image.Encoded()+".sig"] = r.manifest(t, l)
}

func statement(predicate, image string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%s"}}],"predicateType":"%s","predicate":{}}`, image, predicate)
}

// bundle lets a bundle refer to an image.
func (r *remote) bundle(t testing.TB, s signer, image digest.Digest, payload []byte) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "x"}},
		"dsseEnvelope": map[string]any{
			"payload": payload, "payloadType": inTotoType,
			"signatures": []any{map[string]any{"sig": s.sign(t, preAuthentication(inTotoType, payload))}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := r.manifest(t, r.put("application/vnd.dev.sigstore.bundle.v0.3+json", text))
	m.ArtifactType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	r.referrers[image] = append(r.referrers[image], m)
}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a", true}, {"**", "", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "a", true}, {"a*a", "a", false}, {"a*a", "aa", true},
		{"registry.k8s.io/*", "registry.k8s.io/coredns/coredns:v1", true}, {"registry.k8s.io/*", "registry.k8s.io.evil.com/x", false},
		{"*/app:*", "registry.example.com/team/app:v1", true}, {"*/app:*", "registry.example.com/team/app", false},
		{"a*b*c", "abc", true}, {"a*b*c", "axbxcxc", true}, {"a*b*c", "acb", false}, {"", "a", false}, {"a?", "ab", false},
	} {
		if got := match(tc.pattern, tc.name); got != tc.want {
			t.Errorf("match(%q, %q) = %t; want %t", tc.pattern, tc.name, got, tc.want)
		}
	}
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	digested := "registry.example.com/team/app@" + digest.FromString("x").String()
	p := Policy{
		{Pattern: "registry.example.com/team/app:v1", Skip: true},
		{Pattern: "registry.example.com/bad/*", Deny: true},
		{Pattern: "docker.io/library/*", Identity: "jane"},
		{Pattern: "registry.example.com/team/*", Deny: true},
	}
	for _, tc := range []struct {
		ref     string
		allowed bool
		reason  string
	}{
		{app, true, "rule 1"},
		{"registry.example.com/team/app:v2", false, "rule 4"},
		{"registry.example.com/team/app", false, "rule 4"}, // latest
		{digested, false, "rule 4"},
		{strings.Replace(digested, "@", ":v1@", 1), false, "rule 4"}, // the tag beside a digest is no reason to let it pass
		{"registry.example.com/bad/app:v1", false, "rule 2"},
		{"nginx", false, "rule 3 (docker.io/library/*) asks for a signature by the identity jane"},
		{"quay.io/app:v1", true, "no rule"},
	} {
		v, err := p.Verify(t.Context(), newRemote(), tc.ref)
		if err != nil || v.Allowed != tc.allowed || !strings.Contains(v.Reason, tc.reason) || v.Target != nil {
			t.Errorf("Verify(%s) = %+v, %v; want allowed %t by %s", tc.ref, v, err, tc.allowed, tc.reason)
		}
	}
	if _, err := p.Verify(t.Context(), newRemote(), "A B"); err == nil {
		t.Error("Verify(A B) = nil error")
	}
}

func TestSignaturesByKeys(t *testing.T) {
	rsaKey, rsaErr := rsa.GenerateKey(rand.Reader, 2048)
	_, edKey, edErr := ed25519.GenerateKey(rand.Reader)
	p384, p384Err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	certified := ecdsaSigner(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, certified.key.Public(), certified.key)
	if err != nil {
		t.Fatal(err)
	}
	certified.public = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, s := range map[string]signer{
		"ECDSA P-256": ecdsaSigner(t), "ECDSA P-384": newSigner(t, p384, p384Err), "RSA": newSigner(t, rsaKey, rsaErr),
		"Ed25519": newSigner(t, edKey, edErr), "a certificate": certified,
	} {
		for form, sign := range map[string]func(r *remote, image digest.Digest){
			"simple": func(r *remote, image digest.Digest) { r.simple(t, s, image, claim(simpleClaim, image)) },
			"bundle": func(r *remote, image digest.Digest) {
				r.bundle(t, s, image, statement(signPredicate+"1", image.Encoded()))
			},
		} {
			t.Run(name+", "+form, func(t *testing.T) {
				r := newRemote()
				r.names[app] = r.manifest(t)
				image := r.names[app].Digest
				p := Policy{{Pattern: "registry.example.com/*", Key: s.public}}
				if v, err := p.Verify(t.Context(), r, app); err != nil || v.Allowed || !strings.Contains(v.Reason, "it has no signature") {
					t.Errorf("without a signature, Verify = %+v, %v; want that it has none", v, err)
				}
				sign(r, image)
				for _, ref := range []string{app, "registry.example.com/team/app@" + image.String()} {
					v, err := p.Verify(t.Context(), r, ref)
					if err != nil || !v.Allowed || v.Digested != "registry.example.com/team/app@"+image.String() || v.Target == nil || v.Target.Digest != image {
						t.Errorf("Verify(%s) = %+v, %v; want it allowed", ref, v, err)
					}
				}
				other := Policy{{Pattern: "*", Key: ecdsaSigner(t).public}}
				if v, err := other.Verify(t.Context(), r, app); err != nil || v.Allowed || !strings.Contains(v.Reason, "not by the key") {
					t.Errorf("with another key, Verify = %+v, %v; want it refused", v, err)
				}
			})
		}
	}
}

func TestASignatureOfSomethingElseDoesNotCount(t *testing.T) {
	s := ecdsaSigner(t)
	another := digest.FromString("another image")
	for _, tc := range []struct {
		name, want string
		sign       func(r *remote, image digest.Digest)
	}{
		{"another image", "another image", func(r *remote, image digest.Digest) { r.simple(t, s, image, claim(simpleClaim, another)) }},
		{"another claim", "of the type \"atomic", func(r *remote, image digest.Digest) {
			r.simple(t, s, image, claim("atomic container signature", image))
		}},
		{"no claim", "no claim about an image", func(r *remote, image digest.Digest) { r.simple(t, s, image, []byte("hello")) }},
		{"an altered payload", "not by the key", func(r *remote, image digest.Digest) {
			l := r.put(simpleType, claim(simpleClaim, image))
			l.Annotations = map[string]string{simpleKey: base64.StdEncoding.EncodeToString(s.sign(t, claim(simpleClaim, another)))}
			r.names["registry.example.com/team/app:sha256-"+image.Encoded()+".sig"] = r.manifest(t, l)
		}},
		{"no base64", "not in base64", func(r *remote, image digest.Digest) {
			l := r.put(simpleType, claim(simpleClaim, image))
			l.Annotations = map[string]string{simpleKey: "!"}
			r.names["registry.example.com/team/app:sha256-"+image.Encoded()+".sig"] = r.manifest(t, l)
		}},
		{"another image, bundle", "another image", func(r *remote, image digest.Digest) {
			r.bundle(t, s, image, statement(signPredicate+"1", another.Encoded()))
		}},
		{"how it was built, bundle", "slsa.dev", func(r *remote, image digest.Digest) {
			r.bundle(t, s, image, statement("https://slsa.dev/provenance/v1", image.Encoded()))
		}},
		{"nothing, bundle", "another image", func(r *remote, image digest.Digest) { r.bundle(t, s, image, statement(signPredicate+"1", "")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRemote()
			r.names[app] = r.manifest(t)
			tc.sign(r, r.names[app].Digest)
			v, err := Policy{{Pattern: "*", Key: s.public}}.Verify(t.Context(), r, app)
			if err != nil || v.Allowed || !strings.Contains(v.Reason, tc.want) {
				t.Errorf("Verify = %+v, %v; want it refused: %s", v, err, tc.want)
			}
			// A good one beside it is found.
			r.bundle(t, s, r.names[app].Digest, statement(signPredicate+"1", r.names[app].Digest.Encoded()))
			if v, err := (Policy{{Pattern: "*", Key: s.public}}).Verify(t.Context(), r, app); err != nil || !v.Allowed {
				t.Errorf("with a good one beside it, Verify = %+v, %v; want it allowed", v, err)
			}
		})
	}
}

func TestWhatCannotBeReadIsAnErrorAndNoVerdict(t *testing.T) {
	s := ecdsaSigner(t)
	down := errors.New("the registry is down")
	for name, change := range map[string]func(r *remote, image digest.Digest){
		"a registry that is down":    func(r *remote, _ digest.Digest) { r.down = down },
		"an image that is not there": func(r *remote, _ digest.Digest) { delete(r.names, app) },
		"an altered signature": func(r *remote, image digest.Digest) {
			d := r.names["registry.example.com/team/app:sha256-"+image.Encoded()+".sig"]
			r.content[d.Digest] = append(r.content[d.Digest], ' ')
		},
		"a huge signature": func(r *remote, image digest.Digest) {
			ref := "registry.example.com/team/app:sha256-" + image.Encoded() + ".sig"
			d := r.names[ref]
			d.Size = maxManifest + 1
			r.names[ref] = d
		},
		"another digest than asked for": func(r *remote, _ digest.Digest) {
			r.names["registry.example.com/team/app@"+digest.FromString("x").String()] = r.names[app]
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemote()
			r.names[app] = r.manifest(t)
			image := r.names[app].Digest
			r.simple(t, s, image, claim(simpleClaim, image))
			change(r, image)
			ref := app
			if name == "another digest than asked for" {
				ref = "registry.example.com/team/app@" + digest.FromString("x").String()
			}
			if v, err := (Policy{{Pattern: "*", Key: s.public}}).Verify(t.Context(), r, ref); err == nil || v.Allowed {
				t.Errorf("Verify = %+v, nil; want an error", v)
			}
		})
	}
	if _, err := (Policy{{Pattern: "*", Key: "no key"}}).Verify(t.Context(), newRemote(), app); err == nil {
		t.Error("with a rule without a key, Verify = nil error")
	}
}

// A fact of DSSE, so that this package does not only agree with itself.
func TestPreAuthenticationIsThatOfTheSpecification(t *testing.T) {
	// https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md#test-vectors
	const want = "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
	if got := string(preAuthentication("http://example.com/HelloWorld", []byte("hello world"))); got != want {
		t.Errorf("PAE = %q; want %q", got, want)
	}
}

func FuzzForms(f *testing.F) {
	image := digest.FromString("image")
	f.Add(claim(simpleClaim, image), "AAAA")
	f.Add([]byte(`{"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA=="}]}}`), "")
	f.Add(statement(signPredicate+"1", image.Encoded()), "x")
	yes := func(_, _ []byte) error { return nil }
	f.Fuzz(func(t *testing.T, text []byte, signature string) {
		_ = checkSimple(yes, text, signature, image)
		_ = checkStatement(text, image)
		if err := checkBundle(yes, text, image); err == nil && !bytes.Contains(bytes.ToLower(text), []byte("payload")) {
			t.Errorf("checkBundle(%q) = nil", text)
		}
	})
}
