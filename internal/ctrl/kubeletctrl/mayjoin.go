package kubeletctrl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/supervise"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// JoinController starts kubelet again when it can join the cluster and could not before. kubelet tries 2, 6, 14, 30, 62 s after its
// start and then every 32 s, and nothing makes it try at once. On a node of the control plane it starts long before the API server,
// on the others before the cluster has begun; both joined up to half a minute later than they could. Pods go on meanwhile.
type JoinController struct{ deps Deps }

// Name implements [controller.Controller].
func (JoinController) Name() string { return "k8s.KubeletJoinController" }

// Inputs implements [controller.Controller].
func (JoinController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[secrets.Kubelet]().Named(secrets.KubeletID)}
}

// Outputs implements [controller.Controller].
func (JoinController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c JoinController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	var p patience
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
			continue // only time matters
		case <-ticker.C:
		}
		seen, err := c.look(ctx, rt)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if p.next(seen) {
			log.Info("kubelet is restarted, because it can join the cluster now, and would wait before it tries again")
			if err := c.deps.Services.Restart(ctx, ServiceID); err != nil {
				return fmt.Errorf("restart kubelet, which can join: %w", err)
			}
		}
		rt.ResetBackoff()
	}
}

// outlook is what there is to see of a join.
type outlook int

const (
	nothing  outlook = iota // kubelet has joined, does not run, or lacks its credentials
	refused                 // the cluster does not take the node, or does not answer
	welcomed                // the cluster would take it
)

func (c JoinController) look(ctx context.Context, rt controller.Runtime) (outlook, error) {
	keys, there, err := state.Find[secrets.Kubelet](ctx, rt, secrets.KubeletID)
	if err != nil || !there {
		return nothing, err
	}
	if hash, err := c.deps.joined(); err != nil || hash != "" {
		return nothing, err
	}
	if s, err := c.deps.Services.Status(ServiceID); err != nil || s.State != supervise.Running {
		return nothing, nil //nolint:nilerr // it is not loaded
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	// Why it is refused kubelet itself says in its log.
	if ok, err := c.deps.MayJoin(ctx, keys); err != nil || !ok {
		return refused, nil //nolint:nilerr // see above
	}
	return welcomed, nil
}

// patience decides when kubelet has waited long enough. The zero value is for a kubelet that was not seen yet.
type patience struct{ wasRefused, wasWelcomed bool }

// next takes what is seen, once a second, and reports whether kubelet is to start again: the second time that it would be taken
// after it was not. In the second between it may have tried itself.
func (p *patience) next(seen outlook) bool {
	switch seen {
	case nothing:
		*p = patience{}
	case refused:
		*p = patience{wasRefused: true}
	case welcomed:
		if p.wasRefused && p.wasWelcomed {
			*p = patience{}
			return true
		}
		p.wasWelcomed = true
	}
	return false
}

// admission is the condition that kubelet has something to do: the cluster would take the node, or it was taken, or the node runs the
// control plane, or pods of the user. A kubelet that is started sooner has to be started again to join at once, and both starts cost
// seconds on a small machine. While it waits it has kubelet's image unpacked.
type admission struct{ c *ServiceController }

// String implements [supervise.Condition].
func (admission) String() string { return "the cluster to take this node" }

// askPeriod is between two questions to a cluster that does not take the node yet.
const askPeriod = 500 * time.Millisecond

// Wait implements [supervise.Condition].
func (a admission) Wait(ctx context.Context) error {
	var have string // the image that is there
	for {
		want, d := a.c.wanted(), a.c.deps
		if want.issuer.Key != nil || want.pods || usable(d.clientCertFile(), want.spec.ExpectedNodename, authorities(want.keys), time.Now()) == nil {
			return nil
		}
		// What stands in the way of the image is said when kubelet is started.
		if have != want.spec.Image && d.Image(ctx, want.spec.Image) == nil {
			have = want.spec.Image
		}
		asking, cancel := context.WithTimeout(ctx, 3*time.Second)
		ok, err := d.MayJoin(asking, want.keys)
		cancel()
		if err == nil && ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(askPeriod):
		}
	}
}

// MayJoin asks the Kubernetes API whether the bootstrap token in keys may ask for a node's certificate. An error, and no, is usual
// before the cluster has begun: there is no API server, or it does not know the token yet.
func MayJoin(ctx context.Context, keys secrets.Kubelet) (bool, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authorities(keys))
	t := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: keys.EndpointTLSServerName},
		DisableKeepAlives: true,
	}
	const review = `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":` +
		`{"group":"certificates.k8s.io","resource":"certificatesigningrequests","verb":"create"}}}`
	url := strings.TrimSuffix(keys.Endpoint.String(), "/") + "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(review))
	if err != nil {
		return false, err
	}
	r.Header.Set("Authorization", "Bearer "+keys.BootstrapTokenID+"."+keys.BootstrapTokenSecret)
	r.Header.Set("Content-Type", "application/json")
	answer, err := t.RoundTrip(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusCreated {
		return false, fmt.Errorf("ask whether this node may join: %s", answer.Status)
	}
	var out struct {
		Status struct{ Allowed bool }
	}
	err = json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&out)
	return out.Status.Allowed, err
}
