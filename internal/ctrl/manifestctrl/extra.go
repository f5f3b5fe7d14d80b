package manifestctrl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// Limits of a manifest that is fetched.
const (
	fetchLimit = 30 * time.Second
	mostBytes  = 8 << 20
)

// DiagnosticExtra is the id of the diagnostic about manifests that cannot be had.
const DiagnosticExtra = "extra-manifests"

// ExtraManifestController makes manifests of what the config adds, and fetches those that are somewhere else. One that cannot be
// had does not keep the others from being there. What was fetched is not fetched again until the config says something else.
type ExtraManifestController struct {
	HTTP *http.Client

	fetched map[string]kube.ExtraManifest // by id: what a manifest of ours was made from
}

// Name implements [controller.Controller].
func (*ExtraManifestController) Name() string { return "k8s.ExtraManifestController" }

// Inputs implements [controller.Controller].
func (*ExtraManifestController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.ExtraManifestsConfig]().Named(kube.ExtraManifestsConfigID),
		controller.Weak[network.Status]().Named(network.StatusID),
		controller.DestroyReady[kube.Manifest](),
	}
}

// Outputs implements [controller.Controller].
func (*ExtraManifestController) Outputs() []controller.Output {
	return []controller.Output{controller.Shared[kube.Manifest](), controller.Shared[runtime.Diagnostic]()}
}

// Run implements [controller.Controller].
func (c *ExtraManifestController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		config, err := state.Lookup[kube.ExtraManifestsConfig](ctx, rt, kube.ExtraManifestsConfigID)
		if err != nil {
			return err
		}
		net, err := state.Lookup[network.Status](ctx, rt, network.StatusID)
		if err != nil {
			return err
		}
		online := net != nil && net.AddressReady && net.HostnameReady
		rt.TrackOutputs()
		var failed []error
		if config != nil {
			for _, m := range config.ExtraManifests {
				if err := c.make(ctx, rt, log, m, online); err != nil {
					failed = append(failed, err)
				}
			}
		}
		if err := diagnose(ctx, rt, DiagnosticExtra, "extra manifests are missing", failed); err != nil {
			return err
		}
		if err := rt.CleanupOutputs(ctx); err != nil {
			return err
		}
		return errors.Join(failed...) // tried again after the back-off
	})
}

// make makes the manifest of m, or leaves it as it is.
func (c *ExtraManifestController) make(ctx context.Context, rt controller.Runtime, log *slog.Logger, m kube.ExtraManifest, online bool) error {
	id := cmp.Or(m.Priority, "05") + "-" + m.Name
	if have, ok := c.fetched[id]; ok && same(have, m) {
		if r, err := state.Lookup[kube.Manifest](ctx, rt, id); err == nil && r != nil {
			return state.Put(ctx, rt, id, *r) // which says that it is still wanted
		}
	}
	data := []byte(m.InlineManifest)
	if m.InlineManifest == "" {
		if !online {
			log.Info("waiting for the network to fetch a manifest", "manifest", m.Name)
			return nil
		}
		var err error
		if data, err = fetch(ctx, c.HTTP, m); err != nil {
			return fmt.Errorf("manifest %s: %w", m.Name, err)
		}
	}
	objects, err := parseManifest(data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.Name, err)
	}
	if err := state.Put(ctx, rt, id, manifestOf(objects)); err != nil {
		return err
	}
	if c.fetched == nil {
		c.fetched = map[string]kube.ExtraManifest{}
	}
	c.fetched[id] = m
	return nil
}

func same(a, b kube.ExtraManifest) bool {
	return a.URL == b.URL && a.InlineManifest == b.InlineManifest && maps.Equal(a.ExtraHeaders, b.ExtraHeaders)
}

func manifestOf(objects []kubeapi.Object) kube.Manifest {
	var out kube.Manifest
	for _, o := range objects {
		out.Items = append(out.Items, kube.Object{Object: o})
	}
	return out
}

// fetch gets a manifest. The error names the host and no more of the URL, which may have a credential.
func fetch(ctx context.Context, client *http.Client, m kube.ExtraManifest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.URL, nil)
	if err != nil {
		return nil, errors.New("its URL cannot be read")
	}
	for k, v := range m.ExtraHeaders {
		r.Header.Set(k, v)
	}
	answer, err := client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("fetch it from %s: %w", r.URL.Host, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch it from %s: the server answered %s", r.URL.Host, answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, mostBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch it from %s: %w", r.URL.Host, err)
	case len(data) > mostBytes:
		return nil, fmt.Errorf("fetch it from %s: it is larger than %d MiB", r.URL.Host, mostBytes>>20)
	}
	return data, nil
}

// diagnose has a diagnostic be there as long as something failed.
func diagnose(ctx context.Context, rt controller.Runtime, id, message string, failed []error) error {
	if len(failed) == 0 {
		return nil // whoever calls cleans up
	}
	d := runtime.Diagnostic{Message: message}
	for _, err := range failed {
		d.Details = append(d.Details, err.Error())
	}
	return state.Put(ctx, rt, id, d)
}
