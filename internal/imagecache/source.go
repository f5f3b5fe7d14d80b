package imagecache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/registryd"
)

// Source is where images are taken from. What it returns is not trusted. It is safe for concurrent use.
type Source interface {
	// String says what it is and where, for messages.
	String() string
	// Resolve returns what a full reference means there. The error wraps fs.ErrNotExist if it means nothing.
	Resolve(ctx context.Context, ref string) (imagespec.Descriptor, error)
	// Fetch opens a manifest or a blob of the repository of ref. The caller closes it. The error wraps fs.ErrNotExist if there
	// is none; it may come from the first Read instead.
	Fetch(ctx context.Context, ref string, d imagespec.Descriptor) (io.ReadCloser, error)
}

// folder is a cache on this computer.
type folder struct {
	dir   string
	cache *registryd.Cache
}

// Folder returns the cache in a directory as a source. The error wraps fs.ErrNotExist if there is none.
func Folder(dir string) (Source, error) {
	if !registryd.Is(dir) {
		return nil, fmt.Errorf("%s is no image cache: it has neither index.json nor manifests: %w", dir, fs.ErrNotExist)
	}
	return folder{dir, registryd.Open(dir)}, nil
}

func (f folder) String() string { return f.dir }

func (f folder) Resolve(_ context.Context, ref string) (imagespec.Descriptor, error) {
	return f.cache.Lookup(ref)
}

func (f folder) Fetch(_ context.Context, ref string, d imagespec.Descriptor) (io.ReadCloser, error) {
	file, _, err := f.cache.Blob(repositoryOf(ref), d.Digest)
	return file, err
}

// Access is how registries are reached.
type Access struct {
	// Insecure takes any certificate, and goes on without TLS where a registry has none.
	Insecure bool
	// Credentials returns the user and the password for a host; nil for none. With an empty user the password is an OAuth 2.0
	// refresh token.
	Credentials func(host string) (user, password string, err error)
}

// registry asks one server for each registry.
type registry struct {
	name     string
	resolver remotes.Resolver
}

// Registries returns the registries themselves as a source: each image comes from the one that its name says.
func Registries(a Access) Source {
	client := a.client()
	return registry{"the registry", docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		at, err := docker.DefaultHost(host)
		if err != nil {
			return nil, err
		}
		u := url.URL{Scheme: "https", Host: at, Path: "/v2"}
		if local, err := docker.MatchLocalhost(at); err == nil && local {
			u.Scheme = "http" // as containerd has it
		}
		return a.host(client, u), nil
	}})}
}

// Mirror returns a server that stands in for all registries as a source. It is asked as containerd asks a mirror, with the registry
// that is meant in the query ns. The error is that of a URL that is none.
func Mirror(address string, a Access) (Source, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is no address of a mirror such as https://mirror.example.com:5000", address)
	}
	at := url.URL{Scheme: u.Scheme, Host: u.Host, Path: path.Join("/", u.Path, "v2")}
	client := a.client()
	return registry{"mirror " + address, docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
		return a.host(client, at), nil
	}})}, nil
}

// client has limits for everything but the length of a transfer, which [Create] watches.
func (a Access) client() *http.Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
	if !a.Insecure {
		return &http.Client{Transport: t}
	}
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the user asked for it; digests are still compared
	return &http.Client{Transport: docker.NewHTTPFallback(t)}
}

func (a Access) host(client *http.Client, u url.URL) []docker.RegistryHost {
	opts := []docker.AuthorizerOpt{docker.WithAuthClient(client)}
	if a.Credentials != nil {
		opts = append(opts, docker.WithAuthCreds(a.Credentials))
	}
	return []docker.RegistryHost{{
		Client: client, Authorizer: docker.NewDockerAuthorizer(opts...), Host: u.Host, Scheme: u.Scheme, Path: u.Path,
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
	}}
}

func (r registry) String() string { return r.name }

func (r registry) Resolve(ctx context.Context, ref string) (imagespec.Descriptor, error) {
	_, d, err := r.resolver.Resolve(ctx, ref)
	return d, notExist(err)
}

func (r registry) Fetch(ctx context.Context, ref string, d imagespec.Descriptor) (io.ReadCloser, error) {
	f, err := r.resolver.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	rc, err := f.Fetch(ctx, d)
	return rc, notExist(err)
}

// notExist gives the error for what is not there the form that a file system has for it.
func notExist(err error) error {
	if errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}
