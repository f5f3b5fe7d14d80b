package vitals

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/client"
	"talos.internal/secret/kubeconfig"
)

// Kubeconfig asks a node for a kubeconfig of an administrator, which comes as a compressed archive of one file.
func Kubeconfig(ctx context.Context, c *client.Client, node string) ([]byte, error) {
	ctx, cancel := context.WithCancel(client.WithNode(ctx, node))
	defer cancel()
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("get the kubeconfig from %s: %w", node, err) }
	stream, err := c.Machine().Kubeconfig(ctx, &emptypb.Empty{})
	if err != nil {
		return fail(err)
	}
	var packed bytes.Buffer
	for {
		d, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = client.PartError(d)
		}
		if err != nil {
			return fail(err)
		}
		packed.Write(d.GetBytes())
		if packed.Len() > client.MaxMessage {
			return fail(errors.New("it does not end"))
		}
	}
	unzipped, err := gzip.NewReader(&packed)
	if err != nil {
		return fail(err)
	}
	archive := tar.NewReader(unzipped)
	for {
		h, err := archive.Next()
		if err != nil {
			return fail(fmt.Errorf("the archive has no file: %w", err))
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(archive, client.MaxMessage))
		if err != nil {
			return fail(err)
		}
		return data, nil
	}
}

// API is access to the API of Kubernetes with the credentials of a kubeconfig.
type API struct {
	server string
	http   *http.Client
}

// NewKubernetes makes access to Kubernetes from a kubeconfig with one cluster and a client certificate. A server that is not
// "" is called instead of the one in the file. It connects to nobody yet.
func NewKubernetes(data []byte, server string) (*API, error) {
	fail := func(err error) (*API, error) { return nil, fmt.Errorf("read the kubeconfig: %w", err) }
	var file struct {
		Clusters []struct {
			Cluster struct {
				Server    string `yaml:"server"`
				Authority string `yaml:"certificate-authority-data"`
			} `yaml:"cluster"`
		} `yaml:"clusters"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return fail(errors.New("it is no kubeconfig")) // the error of the parser might quote keys
	}
	if len(file.Clusters) != 1 {
		return fail(fmt.Errorf("it has %d clusters; want one", len(file.Clusters)))
	}
	c := file.Clusters[0].Cluster
	authority, err := base64.StdEncoding.DecodeString(c.Authority)
	if err != nil {
		return fail(fmt.Errorf("its certificate authority: %w", err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return fail(errors.New("it has no certificate authority"))
	}
	pair, err := kubeconfig.Client(data)
	if err != nil {
		return fail(err)
	}
	if server == "" {
		server = c.Server
	}
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fail(fmt.Errorf("the server %q is no URL of the scheme https", server))
	}
	return &API{server: strings.TrimSuffix(u.String(), "/"), http: &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair.TLS()}},
		ForceAttemptHTTP2: true,
		IdleConnTimeout:   10 * time.Second, // there is no end at which it could be closed
	}}}, nil
}

// StatusError is a refusal of the API of Kubernetes.
type StatusError struct {
	Code    int // of HTTP
	Message string
}

func (e *StatusError) Error() string { return e.Message }

// call makes a request and decodes its answer into out, unless that is nil.
func (a *API) call(ctx context.Context, method, path string, out any) error {
	fail := func(err error) error {
		return fmt.Errorf("%s %s of Kubernetes: %w", strings.ToLower(method), path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Accept", "application/json")
	r, err := a.http.Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the rest repeats method and address
	}
	if err != nil {
		return fmt.Errorf("Kubernetes at %s does not answer: %w", a.server, err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(io.LimitReader(r.Body, client.MaxMessage))
	if err != nil {
		return fail(err)
	}
	if r.StatusCode < 200 || r.StatusCode > 299 {
		var s struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(data, &s) != nil || s.Message == "" {
			s.Message = r.Status
		}
		return fail(&StatusError{r.StatusCode, s.Message})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fail(err)
	}
	return nil
}

// Observe implements [Kubernetes].
func (a *API) Observe(ctx context.Context, q Question) KubeObservation {
	var o KubeObservation
	var asking sync.WaitGroup
	ask := func(what Question, f func()) {
		if q&what == what {
			asking.Go(f)
		}
	}
	ask(AskNodes, func() { o.Nodes = NewAnswer(a.nodes(ctx)) })
	ask(AskPods, func() { o.Pods = NewAnswer(a.pods(ctx)) })
	ask(AskProxy, func() { o.Proxy = NewAnswer(a.daemonSet(ctx, "kube-proxy")) })
	ask(AskDNS, func() { o.DNS = NewAnswer(a.deployment(ctx, "coredns")) })
	asking.Wait()
	return o
}

// NodesOf returns the names of the Node objects of a machine: one, unless it has none.
func (a *API) NodesOf(ctx context.Context, n Node) ([]string, error) {
	all, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, k := range all {
		if n.is(k.Name, k.Addresses) {
			names = append(names, k.Name)
		}
	}
	return names, nil
}

// RemoveNode deletes the Node object of a node. It is no error if there is none.
func (a *API) RemoveNode(ctx context.Context, n Node) error {
	names, err := a.NodesOf(ctx, n)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := a.call(ctx, http.MethodDelete, "/api/v1/nodes/"+url.PathEscape(name), nil)
		if s, ok := errors.AsType[*StatusError](err); ok && s.Code == http.StatusNotFound {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type objectMeta struct {
	Name       string `json:"name"`
	Generation int64  `json:"generation"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// ready returns whether the condition Ready holds, and if not why.
func ready(all []condition) (bool, string) {
	for _, c := range all {
		if c.Type != "Ready" {
			continue
		}
		if c.Message == "" {
			c.Message = c.Reason
		}
		return c.Status == "True", c.Message
	}
	return false, ""
}

func (a *API) nodes(ctx context.Context) ([]KubeNode, error) {
	var r struct {
		Items []struct {
			Metadata objectMeta `json:"metadata"`
			Spec     struct {
				Unschedulable bool `json:"unschedulable"`
			} `json:"spec"`
			Status struct {
				Conditions []condition `json:"conditions"`
				Addresses  []struct {
					Type    string `json:"type"`
					Address string `json:"address"`
				} `json:"addresses"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := a.call(ctx, http.MethodGet, "/api/v1/nodes", &r); err != nil {
		return nil, err
	}
	var out []KubeNode
	for _, i := range r.Items {
		n := KubeNode{Name: i.Metadata.Name, Unschedulable: i.Spec.Unschedulable}
		n.Ready, n.Reason = ready(i.Status.Conditions)
		for _, text := range i.Status.Addresses {
			if addr, err := netip.ParseAddr(text.Address); err == nil && text.Type == "InternalIP" {
				n.Addresses = append(n.Addresses, addr)
			}
		}
		out = append(out, n)
	}
	return out, nil
}

func (a *API) pods(ctx context.Context) ([]Pod, error) {
	var r struct {
		Items []struct {
			Metadata objectMeta `json:"metadata"`
			Spec     struct {
				Node string `json:"nodeName"`
			} `json:"spec"`
			Status struct {
				Phase      string      `json:"phase"`
				Conditions []condition `json:"conditions"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := a.call(ctx, http.MethodGet, "/api/v1/namespaces/kube-system/pods", &r); err != nil {
		return nil, err
	}
	var out []Pod
	for _, i := range r.Items {
		p := Pod{Name: i.Metadata.Name, Node: i.Spec.Node, Phase: i.Status.Phase}
		p.Ready, p.Reason = ready(i.Status.Conditions)
		out = append(out, p)
	}
	return out, nil
}

// found is the answer of a workload that may be missing.
func found(w Workload, err error) (Workload, error) {
	if s, ok := errors.AsType[*StatusError](err); ok && s.Code == http.StatusNotFound {
		return Workload{Missing: true}, nil
	}
	return w, err
}

func (a *API) daemonSet(ctx context.Context, name string) (Workload, error) {
	var r struct {
		Metadata objectMeta `json:"metadata"`
		Status   struct {
			Observed int64 `json:"observedGeneration"`
			Desired  int   `json:"desiredNumberScheduled"`
			Ready    int   `json:"numberReady"`
		} `json:"status"`
	}
	err := a.call(ctx, http.MethodGet, "/apis/apps/v1/namespaces/kube-system/daemonsets/"+name, &r)
	return found(Workload{Desired: r.Status.Desired, Ready: r.Status.Ready, Current: r.Status.Observed >= r.Metadata.Generation}, err)
}

func (a *API) deployment(ctx context.Context, name string) (Workload, error) {
	var r struct {
		Metadata objectMeta `json:"metadata"`
		Spec     struct {
			Replicas *int `json:"replicas"`
		} `json:"spec"`
		Status struct {
			Observed int64 `json:"observedGeneration"`
			Ready    int   `json:"readyReplicas"`
		} `json:"status"`
	}
	err := a.call(ctx, http.MethodGet, "/apis/apps/v1/namespaces/kube-system/deployments/"+name, &r)
	w := Workload{Desired: 1, Ready: r.Status.Ready, Current: r.Status.Observed >= r.Metadata.Generation}
	if r.Spec.Replicas != nil {
		w.Desired = *r.Spec.Replicas
	}
	return found(w, err)
}
