package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNotFound is the error for an image or a container that is not there.
var ErrNotFound = errdefs.ErrNotFound

// Image is an image that containerd has.
type Image struct {
	Name    string // full reference
	Digest  string // of the manifest or index
	Size    int64  // bytes of all its content, as it was pulled
	Created time.Time
	Labels  map[string]string
}

// Progress is how far the pull of an image is. Layers are in the order in which they were first seen.
type Progress struct {
	Layers []LayerProgress
}

// LayerProgress is one blob of a pull.
type LayerProgress struct {
	Digest        string
	Offset, Total int64 // bytes; Total is 0 as long as it is not known
	Done          bool
}

// Normalize returns the full form of an image reference as people write it: docker.io/library/nginx:latest for nginx.
func Normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	return named.String(), nil
}

// Images lists the images of a namespace of containerd, by name.
func (c *Client) Images(ctx context.Context, namespace string) ([]Image, error) {
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	list, err := conn.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images in %s: %w", namespace, err)
	}
	out := make([]Image, 0, len(list))
	for _, i := range list {
		img := Image{Name: i.Name(), Digest: i.Target().Digest.String(), Created: i.Metadata().CreatedAt, Labels: i.Labels()}
		// An image of which content is missing is still there, and what is missing is found by using it.
		img.Size, _ = i.Size(ctx)
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Pull brings an image into a namespace of containerd and unpacks it (one of System in Pods, whose snapshots both use), and returns it
// with its full name. Registries are reached by the hosts files: the image cache, mirrors, the registry. If progress is not nil it is
// called about four times a second, and once at the end. What was pulled before is not pulled again, but the registry is asked what a
// tag means now. The error wraps [ErrRefused] if the rules for signatures do not let the image be used.
func (c *Client) Pull(ctx context.Context, namespace, ref string, progress func(Progress)) (Image, error) {
	name, err := Normalize(ref)
	if err != nil {
		return Image{}, err
	}
	img, err := c.pull(ctx, namespace, name, progress)
	if err != nil {
		return Image{}, err
	}
	if err := c.settle(ctx, namespace, img); err != nil {
		return Image{}, err
	}
	out := Image{Name: img.Name(), Digest: img.Target().Digest.String(), Created: img.Metadata().CreatedAt, Labels: img.Labels()}
	ctx, _, err = c.in(ctx, namespace)
	if err != nil {
		return Image{}, err
	}
	out.Size, err = img.Size(ctx)
	return out, err
}

// resolver reaches registries by the hosts files, with creds, or if that is nil with the client's own.
func (c *Client) resolver(ctx context.Context, creds Credentials) remotes.Resolver {
	o := config.HostOptions{HostDir: config.HostDirFromRoot(c.opts.Hosts), UpdateClient: patient}
	if creds == nil {
		creds = c.opts.Credentials
	}
	if creds != nil {
		o.Credentials = func(host string) (string, string, error) { return creds(host) }
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, o)})
}

// headerLimit is how long the node's own registry may take to answer. It compares a blob with its digest first: an installer of 100 MB took it
// more than containerd's 30 seconds, in an emulated machine. Others have those: who does not answer is followed by the next mirror.
const headerLimit = 3 * time.Minute

// patient has a client wait for the answer of a registry of this node.
func patient(c *http.Client) error {
	if others, ok := c.Transport.(*http.Transport); ok {
		own := others.Clone()
		own.ResponseHeaderTimeout = headerLimit
		c.Transport = byHost{own: own, others: others}
	}
	return nil
}

// byHost are the transports to this node and to others.
type byHost struct{ own, others http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t byHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if a, err := netip.ParseAddr(r.URL.Hostname()); err == nil && a.IsLoopback() {
		return t.own.RoundTrip(r)
	}
	return t.others.RoundTrip(r)
}

// pull brings an image into a namespace; it does not unpack it.
func (c *Client) pull(ctx context.Context, namespace, name string, progress func(Progress)) (client.Image, error) {
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	resolver, err := c.admitted(ctx, name)
	if err != nil {
		return nil, err
	}
	opts := []client.RemoteOpt{
		client.WithResolver(resolver), client.WithMaxConcurrentDownloads(3),
	}
	if progress != nil {
		t := newTracker()
		opts = append(opts, client.WithImageHandlerWrapper(t.wrap))
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.report(ctx, conn.ContentStore(), progress)
		}()
		defer func() { cancel(); <-done }()
	}
	img, err := conn.Pull(ctx, name, opts...)
	if err != nil {
		return nil, fmt.Errorf("pull image %s: %w", name, err)
	}
	return img, nil
}

// settle unpacks an image where containers of the namespace look for it, which costs nothing if it was.
func (c *Client) settle(ctx context.Context, namespace string, img client.Image) error {
	if namespace == System {
		return c.twin(ctx, img)
	}
	ctx, _, err := c.in(ctx, namespace)
	if err != nil {
		return err
	}
	return c.unpack(ctx, img)
}

// image returns an image of the namespace with its configuration; it pulls it if it is not there.
func (c *Client) image(ctx context.Context, namespace, ref string, log io.Writer) (client.Image, imagespec.ImageConfig, error) {
	name, err := Normalize(ref)
	if err != nil {
		return nil, imagespec.ImageConfig{}, err
	}
	nsctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, imagespec.ImageConfig{}, err
	}
	img, err := conn.GetImage(nsctx, name)
	if err == nil {
		err = c.settle(ctx, namespace, img)
	}
	if errors.Is(err, ErrNotFound) {
		// Also when the image is there and some of its content is not: an earlier pull was cut off.
		_, _ = fmt.Fprintf(log, "pulling image %s\n", name)
		if img, err = c.pull(ctx, namespace, name, nil); err == nil {
			err = c.settle(ctx, namespace, img)
		}
	}
	if err != nil {
		return nil, imagespec.ImageConfig{}, fmt.Errorf("get image %s: %w", name, err)
	}
	spec, err := img.Spec(nsctx)
	if err != nil {
		return nil, imagespec.ImageConfig{}, fmt.Errorf("read the configuration of image %s: %w", name, err)
	}
	return img, spec.Config, nil
}

// Ensure has an image be in a namespace, unpacked. It is pulled if it is not there; a registry is not asked otherwise.
func (c *Client) Ensure(ctx context.Context, namespace, ref string) error {
	_, _, err := c.image(ctx, namespace, ref, io.Discard)
	return err
}

// Remove removes an image from a namespace, and what of its content no other image has. Containers that were made of it go on.
func (c *Client) Remove(ctx context.Context, namespace, ref string) error {
	name, err := Normalize(ref)
	if err != nil {
		return err
	}
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return err
	}
	if err := conn.ImageService().Delete(ctx, name, images.SynchronousDelete()); err != nil {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	if namespace == System {
		return c.removeTwin(ctx, name)
	}
	return nil
}

// Import loads the images of an archive, an OCI layout or a docker save in tar, and returns their names.
func (c *Client) Import(ctx context.Context, namespace string, archive io.Reader) ([]string, error) {
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	list, err := conn.Import(ctx, archive)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	var names []string
	for _, i := range list {
		if err := c.settle(ctx, namespace, client.NewImage(conn, i)); err != nil {
			return names, err
		}
		names = append(names, i.Name)
	}
	return names, nil
}

// tracker knows the blobs of a pull.
type tracker struct {
	found chan imagespec.Descriptor
	known map[string]int
	state Progress
}

func newTracker() *tracker {
	return &tracker{found: make(chan imagespec.Descriptor, 256), known: map[string]int{}}
}

// wrap notes each blob that the pull comes to.
func (t *tracker) wrap(h images.Handler) images.Handler {
	return images.HandlerFunc(func(ctx context.Context, d imagespec.Descriptor) ([]imagespec.Descriptor, error) {
		select {
		case t.found <- d:
		default: // a layer that is not shown
		}
		return h.Handle(ctx, d)
	})
}

// report calls show until ctx ends, and once more.
func (t *tracker) report(ctx context.Context, store content.Store, show func(Progress)) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.update(context.WithoutCancel(ctx), store)
			show(t.snapshot())
			return
		case <-tick.C:
			t.update(ctx, store)
			show(t.snapshot())
		}
	}
}

func (t *tracker) snapshot() Progress { return Progress{Layers: slices.Clone(t.state.Layers)} }

func (t *tracker) update(ctx context.Context, store content.Store) {
	for more := true; more; {
		select {
		case d := <-t.found:
			if _, ok := t.known[d.Digest.String()]; !ok {
				t.known[d.Digest.String()] = len(t.state.Layers)
				t.state.Layers = append(t.state.Layers, LayerProgress{Digest: d.Digest.String(), Total: d.Size})
			}
		default:
			more = false
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	active, err := store.ListStatuses(ctx)
	if err != nil {
		return // what was last seen stays
	}
	for i := range t.state.Layers {
		l := &t.state.Layers[i]
		if l.Done {
			continue
		}
		at := slices.IndexFunc(active, func(s content.Status) bool { return strings.HasSuffix(s.Ref, l.Digest) })
		if at >= 0 {
			l.Offset = active[at].Offset
			continue
		}
		if info, err := store.Info(ctx, digest.Digest(l.Digest)); err == nil {
			l.Offset, l.Total, l.Done = info.Size, info.Size, true
		}
	}
}
