package signature

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is where images and their signatures come from. What it returns is compared with digests here.
type Registry interface {
	// Resolve returns what a full reference means. The error wraps fs.ErrNotExist if it means nothing.
	Resolve(ctx context.Context, ref string) (imagespec.Descriptor, error)
	// Fetch opens a manifest or a blob of the repository of ref. The caller closes it.
	Fetch(ctx context.Context, ref string, d imagespec.Descriptor) (io.ReadCloser, error)
	// Referrers returns the manifests that refer to a digest of the repository of ref; none is no error.
	Referrers(ctx context.Context, ref string, d digest.Digest) ([]imagespec.Descriptor, error)
}

// Verdict is what a policy says of an image.
type Verdict struct {
	// Allowed is whether the image may be used.
	Allowed bool
	// Reason is why, or why not, for people.
	Reason string
	// Digested is the reference with the digest that the verdict is of; empty where none was needed to come to it.
	Digested string
	// Target is what was verified; nil if nothing was. Exactly this has to be pulled then: the tag may mean something else by now.
	Target *imagespec.Descriptor
}

// Bounds of what is read of strangers.
const (
	maxManifest   = 4 << 20
	maxSignature  = 1 << 20 // a payload or a bundle
	maxSignatures = 100     // of an image, in each form
)

// Verify says whether the policy lets an image be used. ref may have a tag, a digest or both; the digest counts then, and the rule is
// the one for either. The error is one of reaching the registry, or of a reference that is none: nothing is known of the image
// then, and it should not be used.
func (p Policy) Verify(ctx context.Context, r Registry, ref string) (Verdict, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return Verdict{}, fmt.Errorf("image reference %q: %w", ref, err)
	}
	named = reference.TagNameOnly(named)
	rule, place := p.find(named)
	switch {
	case place == 0:
		return Verdict{Allowed: true, Reason: "no rule is for this image", Digested: digested(named)}, nil
	case rule.Deny:
		return Verdict{Reason: fmt.Sprintf("rule %d (%s) denies it", place, rule.Pattern), Digested: digested(named)}, nil
	case rule.Skip:
		return Verdict{Allowed: true, Reason: fmt.Sprintf("rule %d (%s) asks for no signature", place, rule.Pattern), Digested: digested(named)}, nil
	case rule.Key == "":
		return Verdict{Reason: fmt.Sprintf("rule %d (%s) asks for a signature by the identity %s, and this version of the system verifies "+
			"signatures by key only", place, rule.Pattern, rule.Identity), Digested: digested(named)}, nil
	}
	verify, err := parseKey(rule.Key)
	if err != nil {
		return Verdict{}, fmt.Errorf("rule %d (%s): %w", place, rule.Pattern, err)
	}
	target, err := resolve(ctx, r, named)
	if err != nil {
		return Verdict{}, err
	}
	s := search{registry: r, repository: reference.TrimNamed(named), image: target.Digest, verify: verify}
	if err := s.run(ctx); err != nil {
		return Verdict{}, fmt.Errorf("look for signatures of %s: %w", named, err)
	}
	v := Verdict{Allowed: s.found, Digested: named.Name() + "@" + target.Digest.String(), Target: &target}
	if v.Allowed {
		v.Reason = fmt.Sprintf("signed by the key of rule %d (%s)", place, rule.Pattern)
		return v, nil
	}
	v.Reason = fmt.Sprintf("rule %d (%s) asks for a signature by its key: %s", place, rule.Pattern, s.why())
	return v, nil
}

// digested is the reference by its digest; empty without one.
func digested(ref reference.Named) string {
	if d, ok := ref.(reference.Digested); ok {
		return ref.Name() + "@" + d.Digest().String()
	}
	return ""
}

// resolve returns what an image is: by its digest if it has one, and else what its tag means now.
func resolve(ctx context.Context, r Registry, named reference.Named) (imagespec.Descriptor, error) {
	ref := named.String()
	want, byDigest := named.(reference.Digested)
	if byDigest {
		ref = digested(named)
	}
	d, err := r.Resolve(ctx, ref)
	if err != nil {
		return imagespec.Descriptor{}, fmt.Errorf("find out what image %s is: %w", ref, err)
	}
	if err := d.Digest.Validate(); err != nil {
		return imagespec.Descriptor{}, fmt.Errorf("find out what image %s is: digest %q: %w", ref, d.Digest, err)
	}
	if byDigest && d.Digest != want.Digest() {
		return imagespec.Descriptor{}, fmt.Errorf("find out what image %s is: the registry has %s for it", ref, d.Digest)
	}
	return d, nil
}

// search looks for a signature of an image by one key.
type search struct {
	registry   Registry
	repository reference.Named
	image      digest.Digest
	verify     verifier
	found      bool
	against    []string // why those that are there do not count
}

func (s *search) why() string {
	if len(s.against) == 0 {
		return "it has no signature"
	}
	slices.Sort(s.against)
	list := slices.Compact(s.against)
	const shown = 5
	if len(list) > shown {
		list = append(list[:shown:shown], fmt.Sprintf("and %d more", len(list)-shown))
	}
	return strings.Join(list, "; ")
}

// judge notes what came of a signature.
func (s *search) judge(err error) {
	if err == nil {
		s.found = true
	} else {
		s.against = append(s.against, err.Error())
	}
}

// run ends with the first signature that counts. The error is one of the registry.
func (s *search) run(ctx context.Context) error {
	if err := s.tagged(ctx); err != nil || s.found {
		return err
	}
	return s.referring(ctx)
}

// tagged reads the older form.
func (s *search) tagged(ctx context.Context) error {
	tag, err := reference.WithTag(s.repository, s.image.Algorithm().String()+"-"+s.image.Encoded()+".sig")
	if err != nil {
		return err
	}
	d, err := s.registry.Resolve(ctx, tag.String())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := s.manifest(ctx, d)
	if err != nil {
		return err
	}
	for i, l := range m.Layers {
		if l.MediaType != simpleType || i >= maxSignatures {
			continue
		}
		payload, err := s.read(ctx, l, maxSignature)
		if err != nil {
			return err
		}
		s.judge(checkSimple(s.verify, payload, l.Annotations[simpleKey], s.image))
		if s.found {
			return nil
		}
	}
	return nil
}

// referring reads the newer form.
func (s *search) referring(ctx context.Context) error {
	list, err := s.registry.Referrers(ctx, s.repository.Name()+"@"+s.image.String(), s.image)
	if err != nil {
		return err
	}
	for i, d := range list {
		if !strings.HasPrefix(d.ArtifactType, bundleType) || i >= maxSignatures {
			continue
		}
		m, err := s.manifest(ctx, d)
		if err != nil {
			return err
		}
		for _, l := range m.Layers {
			if !strings.HasPrefix(l.MediaType, bundleType) {
				continue
			}
			bundle, err := s.read(ctx, l, maxSignature)
			if err != nil {
				return err
			}
			s.judge(checkBundle(s.verify, bundle, s.image))
			if s.found {
				return nil
			}
		}
	}
	return nil
}

func (s *search) manifest(ctx context.Context, d imagespec.Descriptor) (imagespec.Manifest, error) {
	var m imagespec.Manifest
	text, err := s.read(ctx, d, maxManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return m, nil
}

// read returns a blob that is what its digest says.
func (s *search) read(ctx context.Context, d imagespec.Descriptor, limit int64) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 || d.Size > limit {
		return nil, fmt.Errorf("blob %s has %d bytes; at most %d are read", d.Digest, d.Size, limit)
	}
	rc, err := s.registry.Fetch(ctx, s.repository.Name()+"@"+s.image.String(), d)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(rc, d.Size+1))
	if err := errors.Join(err, rc.Close()); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d.Digest, err)
	}
	if got := d.Digest.Algorithm().FromBytes(b); got != d.Digest {
		return nil, fmt.Errorf("blob %s is cut or altered: its %d bytes have digest %s", d.Digest, len(b), got)
	}
	return b, nil
}
