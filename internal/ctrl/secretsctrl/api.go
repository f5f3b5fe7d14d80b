package secretsctrl

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/trust"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// maintenanceName is what the server of a node without a config is called.
const maintenanceName = "maintenance-service.talos.dev"

// askTimeout bounds one request to the control plane, over all its nodes.
const askTimeout = 45 * time.Second

// APIController issues the certificates of the node's API. A control-plane node issues itself one for its server, and one with which
// it forwards calls; a worker asks trustd for that of its server. A node without a config gets one of an authority of its own, and
// then takes callers without certificates; as soon as it has a config that one goes, even if there is none to replace it yet. It
// is not issued before somebody has looked for the config and found none: a machine that has one would be open to strangers, who
// could give it another, at each of its starts.
type APIController struct {
	// Dial connects to trustd, by host:port. Nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	clock time.Time // since when nothing but the clock was waited for
}

// clockPatience is how long the API waits for a clock that a time server has confirmed. Without an API nobody could tell a machine that
// has no such server so. When the clock is set, certificates that do not fit it are issued anew.
const clockPatience = 30 * time.Second

// Name implements [controller.Controller].
func (*APIController) Name() string { return "secrets.APIController" }

// Inputs implements [controller.Controller].
func (*APIController) Inputs() []controller.Input {
	return append(gateInputs(), typeInput(),
		controller.Weak[secrets.OSRoot]().Named(secrets.OSRootID),
		controller.Weak[secrets.MaintenanceRoot]().Named(secrets.MaintenanceRootID),
		controller.Weak[runtime.MaintenanceServiceRequest]().Named(runtime.MaintenanceServiceID),
		controller.Weak[secrets.CertSAN](),
		controller.Weak[kube.Endpoint](),
		controller.DestroyReady[secrets.API](),
	)
}

// Outputs implements [controller.Controller].
func (*APIController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.API]()}
}

// Run implements [controller.Controller].
func (c *APIController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return loop(ctx, rt, log, func(ctx context.Context) (outcome, error) {
		have, _, err := state.Find[secrets.API](ctx, rt, secrets.APIID)
		if err != nil {
			return outcome{}, err
		}
		kind, err := machineType(ctx, rt)
		if err != nil {
			return outcome{}, err
		}
		i := &issuing{log: log, now: time.Now()}
		if kind == machineconfig.TypeUnknown {
			return c.maintenance(ctx, rt, i, have)
		}
		if have.SkipVerifyingClientCert {
			if err := remove[secrets.API](ctx, rt); err != nil {
				return outcome{}, err
			}
			have = secrets.API{}
		}
		root, ok, err := state.Find[secrets.OSRoot](ctx, rt, secrets.OSRootID)
		if err != nil {
			return outcome{}, err
		}
		if !ok {
			return outcome{waiting: "the authorities of the machine config"}, remove[secrets.API](ctx, rt)
		}
		waiting, err := gates(ctx, rt, true)
		if err != nil {
			return outcome{}, err
		}
		if waiting == waitsForClock {
			switch {
			case c.clock.IsZero():
				c.clock = i.now
				return outcome{waiting: waiting, next: i.now.Add(clockPatience)}, nil
			case i.now.Sub(c.clock) < clockPatience:
				return outcome{waiting: waiting, next: c.clock.Add(clockPatience)}, nil
			case len(have.Server.Crt) == 0:
				log.Warn("no time server has confirmed the clock: the certificate of the API has the time that the machine believes", "time", i.now.UTC())
			}
		} else if waiting != "" {
			return outcome{waiting: waiting}, nil
		}
		san, ok, err := state.Find[secrets.CertSAN](ctx, rt, secrets.CertSANAPI)
		if err != nil || !ok {
			return outcome{waiting: "the names for the certificate"}, err
		}
		if isControlPlane(kind) {
			return c.controlPlane(ctx, rt, i, have, root, san)
		}
		return c.worker(ctx, rt, i, have, root, san)
	})
}

func serverLeaf(san secrets.CertSAN) secret.Leaf {
	return secret.NodeServer(san.FQDN, secret.SANs{IPs: san.IPs, DNS: san.DNSNames})
}

// maintenance has one certificate for all of the time without a config. Nobody can check its names or its time, because its authority is
// only in this node's memory; what a person goes by is its fingerprint, and that is to be what the console has shown, however
// addresses, name and clock change meanwhile.
func (c *APIController) maintenance(ctx context.Context, rt controller.Runtime, i *issuing, have secrets.API) (outcome, error) {
	_, wanted, err := state.Find[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
	if err != nil || !wanted {
		return outcome{waiting: "the machine config"}, err
	}
	if pair, err := parsePair(have.Server); err == nil && !pair.IsZero() && have.SkipVerifyingClientCert {
		return outcome{}, nil
	}
	root, ok, err := state.Find[secrets.MaintenanceRoot](ctx, rt, secrets.MaintenanceRootID)
	if err != nil {
		return outcome{}, err
	}
	if !ok {
		return outcome{waiting: "the node's own authority"}, nil
	}
	// A machine without a name or an address has its certificate, too: the person at the console compares it later.
	san, _, err := state.Find[secrets.CertSAN](ctx, rt, secrets.CertSANMaintenance)
	if err != nil {
		return outcome{}, err
	}
	san.DNSNames = append(slices.Clone(san.DNSNames), maintenanceName)
	ca, err := secret.ParseAuthority(root.CA.Crt, root.CA.Key)
	if err != nil {
		return outcome{}, fmt.Errorf("the node's own authority: %w", err)
	}
	leaf := serverLeaf(san)
	leaf.CommonName, leaf.TTL = maintenanceName, secret.AuthorityTTL
	server, err := i.keep("the API in maintenance mode", secrets.CertificateAndKey{}, ca, leaf)
	if err != nil {
		return outcome{}, err
	}
	return outcome{}, state.Put(ctx, rt, secrets.APIID, secrets.API{Server: server, SkipVerifyingClientCert: true})
}

func (c *APIController) controlPlane(
	ctx context.Context, rt controller.Runtime, i *issuing, have secrets.API, root secrets.OSRoot, san secrets.CertSAN,
) (outcome, error) {
	if root.IssuingCA == nil {
		return outcome{waiting: "machine.ca with its key in the machine config"}, remove[secrets.API](ctx, rt)
	}
	ca, err := parseAuthority("machine.ca", *root.IssuingCA)
	if err != nil {
		return outcome{}, err
	}
	server, err := i.keep("the API", have.Server, ca, serverLeaf(san))
	if err != nil {
		return outcome{}, err
	}
	var old secrets.CertificateAndKey
	if have.Client != nil {
		old = *have.Client
	}
	client, err := i.keep("calls to other nodes", old, ca, secret.NodeImpersonator(san.FQDN))
	if err != nil {
		return outcome{}, err
	}
	return outcome{next: i.next}, state.Put(ctx, rt, secrets.APIID, secrets.API{Client: &client, Server: server, AcceptedCAs: root.AcceptedCAs})
}

// worker has the certificate signed by trustd.
//
// When the accepted authorities change it asks again, even if the certificate is still good: the change may be a rotation, at whose
// end the authority that signed it is not accepted any more. If that fails, what is there is kept; it is asked for again when it
// has to be.
func (c *APIController) worker(
	ctx context.Context, rt controller.Runtime, i *issuing, have secrets.API, root secrets.OSRoot, san secrets.CertSAN,
) (outcome, error) {
	cas, err := parseCAs(root.AcceptedCAs)
	if err != nil {
		return outcome{}, err
	}
	pair, _ := parsePair(have.Server)
	leaf := serverLeaf(san)
	reason := reasonToIssue(pair.Certificate(), cas, leaf, i.now)
	needed := reason != ""
	if !needed && !sameCAs(have.AcceptedCAs, root.AcceptedCAs) {
		reason = "the accepted authorities have changed"
	}
	if reason != "" {
		endpoints, err := controlPlaneNodes(ctx, rt)
		if err != nil {
			return outcome{}, err
		}
		if len(endpoints) == 0 && pair.IsZero() {
			return outcome{waiting: "the address of a control-plane node"}, nil
		}
		renewed, err := c.ask(ctx, endpoints, root, cas, leaf)
		switch {
		case err == nil:
			pair = renewed
			i.log.Info("was issued a certificate", "for", "the API", "because", reason, "until", pair.Certificate().NotAfter.Format(time.RFC3339))
		case pair.IsZero():
			return outcome{}, err
		case needed:
			// What is there may still serve some callers, and must believe those of now.
			if err := state.Put(ctx, rt, secrets.APIID, secrets.API{Server: have.Server, AcceptedCAs: root.AcceptedCAs}); err != nil {
				return outcome{}, err
			}
			return outcome{}, fmt.Errorf("renew the API's certificate, because %s: %w", reason, err)
		default:
			i.log.Warn("the API's certificate was not renewed and stays", "because", reason, "err", err)
		}
	}
	if issuer := issuerOf(pair.Certificate(), cas); issuer != nil {
		i.note(pair.Certificate(), issuer)
	}
	return outcome{next: i.next}, state.Put(ctx, rt, secrets.APIID, secrets.API{Server: encodePair(pair), AcceptedCAs: root.AcceptedCAs})
}

func (c *APIController) ask(
	ctx context.Context, endpoints []string, root secrets.OSRoot, cas []*x509.Certificate, leaf secret.Leaf,
) (secret.Pair, error) {
	token, err := secret.ParseToken(root.Token)
	if err != nil {
		return secret.Pair{}, fmt.Errorf("machine.token of the machine config: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return trust.Request{
		Endpoints: endpoints, Token: token, Accepted: cas, CommonName: leaf.CommonName, SANs: leaf.SANs, Dial: c.Dial,
	}.Certificate(ctx)
}

// controlPlaneNodes returns where the control plane is, by all that is known, in an order that differs from node to node, so that not
// all ask the same one first.
func controlPlaneNodes(ctx context.Context, rt controller.Runtime) ([]string, error) {
	all, err := state.List[kube.Endpoint](ctx, rt)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range all {
		for _, a := range r.Spec().Addresses {
			out = append(out, a.String())
		}
		out = append(out, r.Spec().Hosts...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

func sameCAs(a, b []secrets.Certificate) bool {
	return slices.EqualFunc(a, b, func(x, y secrets.Certificate) bool { return bytes.Equal(x.Crt, y.Crt) })
}
