package kubectrl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/resource/service"
	"talos.internal/state"
)

const (
	kubeletService    = "kubelet"
	containerdService = "containerd"
	// statusPeriod is how often kubelet is asked.
	statusPeriod = 3 * time.Second
	// statusTimeout is for one answer. kubelet asks the API server whether we may ask.
	statusTimeout = 10 * time.Second
	// mostPods bounds an answer, in bytes.
	mostPods = 32 << 20
)

// KubeletStaticPodController reads from kubelet how the static pods are doing. It calls as the API server does, so it can on
// control-plane nodes only, and once an API server runs, which kubelet asks whether the caller may. What was read stays until
// kubelet says something else or is not meant to run any more.
type KubeletStaticPodController struct{ deps Deps }

// Name implements [controller.Controller].
func (*KubeletStaticPodController) Name() string { return "k8s.KubeletStaticPodController" }

// Inputs implements [controller.Controller].
func (*KubeletStaticPodController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.Nodename]().Named(kube.NodenameID),
		controller.Weak[secrets.KubernetesDynamic]().Named(secrets.KubernetesDynamicID),
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.Weak[service.Service]().Named(kubeletService),
		controller.DestroyReady[kube.StaticPodStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*KubeletStaticPodController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.StaticPodStatus]()}
}

// Run implements [controller.Controller].
func (c *KubeletStaticPodController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	timer := time.NewTimer(statusPeriod)
	defer timer.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-timer.C:
		}
		err := c.reconcile(ctx, rt)
		if ctx.Err() != nil {
			return nil
		}
		var lost *unreachableError
		switch {
		case err == nil:
			said = ""
		case errors.As(err, &lost):
			// While the API server starts, and whenever kubelet is restarted. Once for each reason.
			if text := err.Error(); text != said {
				said = text
				log.Info("the state of the static pods is not known", "error", err)
			}
		default:
			return err
		}
		rt.ResetBackoff()
		timer.Reset(statusPeriod)
	}
}

// unreachableError says that kubelet did not answer as it should.
type unreachableError struct{ err error }

// Error implements error.
func (e *unreachableError) Error() string { return "read the pods from kubelet: " + e.err.Error() }

// Unwrap returns the cause.
func (e *unreachableError) Unwrap() error { return e.err }

func (c *KubeletStaticPodController) reconcile(ctx context.Context, rt controller.Runtime) error {
	kubelet, meant, err := state.Find[service.Service](ctx, rt, kubeletService)
	if err != nil {
		return err
	}
	root, ok1, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
	if err != nil {
		return err
	}
	if !meant || !ok1 {
		return remove(ctx, rt)
	}
	certs, ok2, err := state.Find[secrets.KubernetesDynamic](ctx, rt, secrets.KubernetesDynamicID)
	if err != nil {
		return err
	}
	name, ok3, err := state.Find[kube.Nodename](ctx, rt, kube.NodenameID)
	if err != nil {
		return err
	}
	if !ok2 || !ok3 || !kubelet.Running || !kubelet.Healthy {
		return nil
	}
	pods, err := c.read(ctx, certs, root, name.Name)
	if err != nil {
		return &unreachableError{err}
	}
	rt.TrackOutputs()
	for id, status := range pods {
		if err := state.Put(ctx, rt, id, kube.StaticPodStatus{PodStatus: status}); err != nil {
			return err
		}
	}
	return rt.CleanupOutputs(ctx)
}

// read returns the statuses of static pods by namespace and name.
func (c *KubeletStaticPodController) read(ctx context.Context, certs secrets.KubernetesDynamic, root secrets.KubernetesRoot, nodename string) (map[string]map[string]any, error) {
	transport := c.deps.Transport
	if transport == nil {
		t, err := kubeletTransport(certs, root, nodename, c.deps.KubeletPKI)
		if err != nil {
			return nil, err
		}
		defer t.CloseIdleConnections()
		transport = t
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.deps.KubeletURL+"/pods", nil)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 256))
		return nil, fmt.Errorf("%s: %s", answer.Status, text)
	}
	return staticPods(io.LimitReader(answer.Body, mostPods))
}

// kubeletTransport speaks to this node's kubelet. Its certificate is either one that it made itself, which lies in its directory,
// or one of the cluster's authority; both are valid for the name of the node.
func kubeletTransport(certs secrets.KubernetesDynamic, root secrets.KubernetesRoot, nodename, pki string) (*http.Transport, error) {
	client, err := tls.X509KeyPair(certs.APIServerKubeletClient.Crt, certs.APIServerKubeletClient.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate for kubelet's API: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle(root.AcceptedCAs))
	if own, err := os.ReadFile(filepath.Join(pki, "kubelet.crt")); err == nil {
		pool.AppendCertsFromPEM(own)
	}
	return &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: nodename, Certificates: []tls.Certificate{client},
		},
		TLSHandshakeTimeout: 5 * time.Second, DisableKeepAlives: true,
	}, nil
}

// staticPods reads a PodList, and returns the statuses of those pods that did not come from the API.
func staticPods(r io.Reader) (map[string]map[string]any, error) {
	var pods struct {
		Items []struct {
			Metadata struct {
				Name, Namespace string
				Annotations     map[string]string
			}
			Status map[string]any
		}
	}
	if err := json.NewDecoder(r).Decode(&pods); err != nil {
		return nil, fmt.Errorf("kubelet's list of pods: %w", err)
	}
	out := map[string]map[string]any{}
	for _, p := range pods.Items {
		if source := p.Metadata.Annotations["kubernetes.io/config.source"]; source == "http" || source == "file" {
			out[p.Metadata.Namespace+"/"+p.Metadata.Name] = p.Status
		}
	}
	return out, nil
}
