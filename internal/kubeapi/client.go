package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Limits of a client.
const (
	// callLimit is how long a call may take, whatever the caller's context says.
	callLimit = 30 * time.Second
	// dialLimit is how long a connection may take to be made.
	dialLimit = 5 * time.Second
	// mostBytes is how large an answer may be.
	mostBytes = 16 << 20
	// mostVersions is how many groups' resources are remembered.
	mostVersions = 64
	// pingAfter is how long a connection of a watch is silent until it is tried.
	pingAfter = 15 * time.Second
)

// Client calls one API server, or what balances between several. It is safe for concurrent use. Close it at the end.
type Client struct {
	server *url.URL
	token  string
	http   *http.Client
	close  func()

	mu        sync.Mutex
	resources map[string][]apiResource // by apiVersion
}

// apiResource is a line of an APIResourceList (meta/v1).
type apiResource struct {
	Name, Kind string
	Namespaced bool
}

// Options are what a client does otherwise.
type Options struct {
	// Dial makes connections; nil means the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// New returns a client. It makes no connection yet.
func New(c Config, o Options) (*Client, error) {
	conf, err := c.tls()
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", c.Server, err)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	t := &http.Transport{
		DialContext: o.Dial, TLSClientConfig: conf, TLSHandshakeTimeout: dialLimit, ForceAttemptHTTP2: true,
		// A connection costs some 50 KB and is made in milliseconds: none is kept for long.
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
	return &Client{
		server: c.Server, token: c.Token, resources: map[string][]apiResource{},
		http: &http.Client{Transport: t}, close: t.CloseIdleConnections,
	}, nil
}

// Close ends the connections that are not in use.
func (c *Client) Close() { c.close() }

// Ready reports, as an error, why the server is not ready: what its own /readyz says, or why there is no answer.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodGet, "/readyz", nil, "", nil)
	if err != nil {
		return fmt.Errorf("ask %s whether it is ready: %w", c.server.Host, err)
	}
	return nil
}

// Get returns an object. The error is ErrNotFound if there is none, ErrNoKind if the server does not know the kind.
func (c *Client) Get(ctx context.Context, k Kind, namespace, name string) (Object, error) {
	var out Object
	err := c.onObject(ctx, http.MethodGet, k, namespace, name, "", nil, "", nil, &out)
	return out, wrap("get", describe(k, namespace, name), err)
}

// ListOptions limit a list or a watch.
type ListOptions struct {
	// Fields and Labels are selectors as kubectl has them; empty selects all.
	Fields, Labels string
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	if o.Fields != "" {
		q.Set("fieldSelector", o.Fields)
	}
	if o.Labels != "" {
		q.Set("labelSelector", o.Labels)
	}
	return q
}

// List returns the objects of a kind in a namespace, or in all if it is empty, and the version at which a watch goes on.
func (c *Client) List(ctx context.Context, k Kind, namespace string, o ListOptions) (items []Object, version string, err error) {
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []Object
	}
	err = c.onObject(ctx, http.MethodGet, k, namespace, "", "", o.query(), "", nil, &list)
	return list.Items, list.Metadata.ResourceVersion, wrap("list", describe(k, namespace, "*"), err)
}

// ApplyOptions say how an object is applied.
type ApplyOptions struct {
	// Manager is who the fields belong to from then on. Required.
	Manager string
	// Force takes fields over from other managers; otherwise that is ErrConflict.
	Force bool
	// DryRun has the server check it and change nothing.
	DryRun bool
}

// Apply makes the object on the server have the fields of o, by a server-side apply, and returns what it is then. Fields that the
// server does not know are an error.
func (c *Client) Apply(ctx context.Context, o Object, opts ApplyOptions) (Object, error) {
	q := url.Values{"fieldManager": {opts.Manager}, "fieldValidation": {"Strict"}}
	if opts.Force {
		q.Set("force", "true")
	}
	if opts.DryRun {
		q.Set("dryRun", "All")
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, wrap("apply", o.String(), err)
	}
	var out Object
	// JSON is YAML, which is what the server wants to hear here.
	err = c.onObject(ctx, http.MethodPatch, o.Kind(), o.Namespace(), o.Name(), "", q, "application/apply-patch+yaml", body, &out)
	return out, wrap("apply", o.String(), err)
}

// MergePatch changes an object, or its subresource if that is not empty, as RFC 7386 has it. A resourceVersion in it makes a change
// in between an ErrConflict.
func (c *Client) MergePatch(ctx context.Context, k Kind, namespace, name, subresource string, patch any) (Object, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, wrap("patch", describe(k, namespace, name), err)
	}
	var out Object
	err = c.onObject(ctx, http.MethodPatch, k, namespace, name, subresource, nil, "application/merge-patch+json", body, &out)
	return out, wrap("patch", describe(k, namespace, name), err)
}

// Delete deletes an object. The error is ErrNotFound if there is none.
func (c *Client) Delete(ctx context.Context, k Kind, namespace, name string) error {
	return wrap("delete", describe(k, namespace, name),
		c.onObject(ctx, http.MethodDelete, k, namespace, name, "", nil, "", nil, nil))
}

// DeleteNow deletes an object without a time of grace: a pod is gone from the API although nobody has confirmed that it ended.
func (c *Client) DeleteNow(ctx context.Context, k Kind, namespace, name string) error {
	return wrap("delete at once", describe(k, namespace, name),
		c.onObject(ctx, http.MethodDelete, k, namespace, name, "", url.Values{"gracePeriodSeconds": {"0"}}, "", nil, nil))
}

// Evict asks for the end of a pod by its eviction (policy/v1), which a budget for disruptions may forbid for now: that is ErrBudget. The
// pod has its time of grace then.
func (c *Client) Evict(ctx context.Context, namespace, name string) error {
	what := describe(podKind, namespace, name)
	body, err := json.Marshal(Object{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": name, "namespace": namespace},
	})
	if err != nil {
		return wrap("evict", what, err)
	}
	return wrap("evict", what, c.onObject(ctx, http.MethodPost, podKind, namespace, name, "eviction", nil, "application/json", body, nil))
}

// podKind is the kind that can be evicted.
var podKind = KindOf("v1", "Pod")

func wrap(verb, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, what, err)
}

// onObject does a call on an object or, without a name, on all of a kind, and decodes the answer into out.
func (c *Client) onObject(ctx context.Context, method string, k Kind, namespace, name, sub string, q url.Values, contentType string, body []byte, out any) error {
	path, err := c.path(ctx, k, namespace, name)
	if err != nil {
		return err
	}
	if sub != "" {
		path += "/" + sub
	}
	answer, err := c.call(ctx, method, path, q, contentType, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read the answer of the API server: %w", err)
	}
	return nil
}

// call does a call and returns the body of the answer.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	answer, err := c.send(ctx, method, path, q, contentType, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(answer.Body, mostBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of the API server: %w", plain(err))
	case len(data) > mostBytes:
		return nil, fmt.Errorf("read the answer of the API server: it is larger than %d MiB", mostBytes>>20)
	}
	return data, nil
}

// send does a call. An answer that is no success is an error.
func (c *Client) send(ctx context.Context, method, path string, q url.Values, contentType string, body []byte) (*http.Response, error) {
	u := *c.server
	u.Path, u.RawQuery = strings.TrimSuffix(u.Path, "/")+path, q.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "machined")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, plain(err)
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	return nil, statusError(answer.StatusCode, text)
}

// plain takes away what net/http puts around an error: the caller names the call in its own words.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// path returns the path of an object or, without a name, of all objects of a kind.
func (c *Client) path(ctx context.Context, k Kind, namespace, name string) (string, error) {
	r, err := c.resource(ctx, k)
	if err != nil {
		return "", err
	}
	path := versionPath(k)
	if r.Namespaced && namespace != "" {
		path += "/namespaces/" + namespace
	}
	if r.Namespaced && namespace == "" && name != "" {
		path += "/namespaces/default"
	}
	path += "/" + r.Name
	if name != "" {
		path += "/" + name // url.URL escapes it
	}
	return path, nil
}

func versionPath(k Kind) string {
	if k.Group == "" {
		return "/api/" + k.Version
	}
	return "/apis/" + k.APIVersion()
}

// Preferred returns the version of a group that the server prefers. The error is ErrNoKind if it does not serve the group.
func (c *Client) Preferred(ctx context.Context, group string) (string, error) {
	if group == "" {
		return "v1", nil
	}
	body, err := c.call(ctx, http.MethodGet, "/apis/"+group, nil, "", nil)
	if errors.Is(err, ErrNotFound) {
		return "", fmt.Errorf("%w: the API server does not serve the group %s", ErrNoKind, group)
	}
	if err != nil {
		return "", fmt.Errorf("ask for the versions of %s: %w", group, err)
	}
	var out struct{ PreferredVersion struct{ Version string } }
	if err := json.Unmarshal(body, &out); err != nil {
		return "", fmt.Errorf("ask for the versions of %s: %w", group, err)
	}
	return out.PreferredVersion.Version, nil
}

// Text returns what the server answers at a path that is no object's, such as /metrics.
func (c *Client) Text(ctx context.Context, path string) (string, error) {
	body, err := c.call(ctx, http.MethodGet, path, nil, "", nil)
	return string(body), wrap("read", path, err)
}

// Namespaced reports whether objects of a kind are in namespaces.
func (c *Client) Namespaced(ctx context.Context, k Kind) (bool, error) {
	r, err := c.resource(ctx, k)
	return r.Namespaced, err
}

// resource returns which resource a kind is. It asks the server if it does not remember it.
func (c *Client) resource(ctx context.Context, k Kind) (apiResource, error) {
	c.mu.Lock()
	known := c.resources[k.APIVersion()]
	c.mu.Unlock()
	if r, ok := find(known, k.Kind); ok {
		return r, nil
	}
	body, err := c.call(ctx, http.MethodGet, versionPath(k), nil, "", nil)
	if errors.Is(err, ErrNotFound) {
		return apiResource{}, fmt.Errorf("%w %s: the API server does not serve %s", ErrNoKind, k, k.APIVersion())
	}
	if err != nil {
		return apiResource{}, fmt.Errorf("ask for the resources of %s: %w", k.APIVersion(), err)
	}
	var list struct{ Resources []apiResource }
	if err := json.Unmarshal(body, &list); err != nil {
		return apiResource{}, fmt.Errorf("ask for the resources of %s: %w", k.APIVersion(), err)
	}
	c.mu.Lock()
	if len(c.resources) >= mostVersions {
		clear(c.resources)
	}
	c.resources[k.APIVersion()] = list.Resources
	c.mu.Unlock()
	if r, ok := find(list.Resources, k.Kind); ok {
		return r, nil
	}
	return apiResource{}, fmt.Errorf("%w %s: the API server has no such kind in %s", ErrNoKind, k, k.APIVersion())
}

// find returns the resource of a kind. Subresources, which have a slash in their names, are others'.
func find(list []apiResource, kind string) (apiResource, bool) {
	for _, r := range list {
		if r.Kind == kind && !strings.Contains(r.Name, "/") {
			return r, true
		}
	}
	return apiResource{}, false
}
