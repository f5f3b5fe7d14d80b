package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/signature"
)

// ErrRefused is the error for an image that the rules for signatures do not let be used.
var ErrRefused = errors.New("the image is refused")

// Verify says whether the rules for signatures let an image be used. Registries are reached as for a pull, with creds in place of the
// client's own if that is not nil. Without rules every image may be used.
func (c *Client) Verify(ctx context.Context, ref string, creds Credentials) (signature.Verdict, error) {
	if c.opts.Policy == nil {
		return signature.Policy(nil).Verify(ctx, nil, ref)
	}
	policy, err := c.opts.Policy(ctx)
	if err != nil {
		return signature.Verdict{}, err
	}
	return policy.Verify(ctx, registry{c.resolver(ctx, creds)}, ref)
}

// registry is where signatures come from.
type registry struct{ remotes.Resolver }

// Resolve implements signature.Registry.
func (r registry) Resolve(ctx context.Context, ref string) (imagespec.Descriptor, error) {
	_, d, err := r.Resolver.Resolve(ctx, ref)
	return d, notExist(err)
}

// Fetch implements signature.Registry.
func (r registry) Fetch(ctx context.Context, ref string, d imagespec.Descriptor) (io.ReadCloser, error) {
	f, err := r.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	rc, err := f.Fetch(ctx, d)
	return rc, notExist(err)
}

// maxReferrers is the size of a list of referrers that is read, in bytes.
const maxReferrers = 4 << 20

// Referrers implements signature.Registry. It asks for the list, and where no host knows that question, for the tag that stands in for
// it (OCI distribution specification 1.1, "Referrers Tag Schema"): a mirror that has neither does not hide one that has.
func (r registry) Referrers(ctx context.Context, ref string, d digest.Digest) ([]imagespec.Descriptor, error) {
	f, err := r.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	if list, ok := f.(remotes.ReferrersFetcher); ok {
		// What went wrong is found by the tag as well, which every registry can answer.
		if found, err := list.FetchReferrers(ctx, d); err == nil && len(found) > 0 {
			return found, nil
		}
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	tag, err := reference.WithTag(reference.TrimNamed(named), d.Algorithm().String()+"-"+d.Encoded())
	if err != nil {
		return nil, err
	}
	at, err := r.Resolve(ctx, tag.String())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if at.Size > maxReferrers {
		return nil, fmt.Errorf("the list of referrers of %s has %d bytes; at most %d are read", d, at.Size, maxReferrers)
	}
	rc, err := r.Fetch(ctx, tag.String(), at)
	if err != nil {
		return nil, err
	}
	var index imagespec.Index
	err = json.NewDecoder(io.LimitReader(rc, maxReferrers)).Decode(&index)
	if err := errors.Join(err, rc.Close()); err != nil {
		return nil, fmt.Errorf("read the list of referrers of %s: %w", d, err)
	}
	return index.Manifests, nil
}

// notExist gives the error for what is not there the form that a file system has for it.
func notExist(err error) error {
	if errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// pinned is a resolver that knows what one name means: what was verified.
type pinned struct {
	remotes.Resolver
	name string
	desc imagespec.Descriptor
}

// Resolve implements remotes.Resolver.
func (p pinned) Resolve(ctx context.Context, ref string) (string, imagespec.Descriptor, error) {
	if ref == p.name {
		return p.name, p.desc, nil
	}
	return p.Resolver.Resolve(ctx, ref)
}

// admitted returns the resolver for the pull of an image that may be used; of one that was verified, exactly that is pulled.
func (c *Client) admitted(ctx context.Context, name string) (remotes.Resolver, error) {
	r := c.resolver(ctx, nil)
	if c.opts.Policy == nil {
		return r, nil
	}
	v, err := c.Verify(ctx, name, nil)
	if err != nil {
		return nil, fmt.Errorf("verify image %s: %w", name, err)
	}
	if !v.Allowed {
		return nil, fmt.Errorf("pull image %s: %w: %s", name, ErrRefused, v.Reason)
	}
	if v.Target != nil {
		return pinned{r, name, *v.Target}, nil
	}
	return r, nil
}
