package secretsctrl

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/secret/kubeconfig"
	"talos.internal/state"
)

// KubernetesController makes the kubeconfigs of the control plane on this node. Its controller manager and scheduler use KubePrism
// where the config has it, and otherwise the API server of this node.
type KubernetesController struct{}

// Name implements [controller.Controller].
func (*KubernetesController) Name() string { return "secrets.KubernetesController" }

// Inputs implements [controller.Controller].
func (*KubernetesController) Inputs() []controller.Input {
	return []controller.Input{
		timeInput(), configInput(),
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.DestroyReady[secrets.Kubernetes](),
	}
}

// Outputs implements [controller.Controller].
func (*KubernetesController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.Kubernetes]()}
}

// Run implements [controller.Controller].
func (c *KubernetesController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return loop(ctx, rt, log, func(ctx context.Context) (outcome, error) {
		root, ok, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
		if err != nil {
			return outcome{}, err
		}
		if !ok {
			return outcome{}, remove[secrets.Kubernetes](ctx, rt)
		}
		if waiting, err := gates(ctx, rt, false); err != nil || waiting != "" {
			return outcome{waiting: waiting}, err
		}
		config, err := effective.Get(ctx, rt)
		if err != nil {
			return outcome{}, err
		}
		out, _, err := state.Find[secrets.Kubernetes](ctx, rt, secrets.KubernetesID)
		if err != nil {
			return outcome{}, err
		}
		i := &issuing{log: log, now: time.Now()}
		if err := kubeconfigs(i, &out, root, config); err != nil {
			return outcome{}, err
		}
		return outcome{next: i.next}, state.Put(ctx, rt, secrets.KubernetesID, out)
	})
}

// kubeconfigs makes of out what it should be now.
func kubeconfigs(i *issuing, out *secrets.Kubernetes, root secrets.KubernetesRoot, config *effective.Config) error {
	ca, err := parseAuthority("the authority of the Kubernetes API", root.IssuingCA)
	if err != nil {
		return err
	}
	cas, err := parseCAs(root.AcceptedCAs)
	if err != nil {
		return err
	}
	local, ttl := root.LocalEndpoint.String(), secret.ClientTTL
	controllers := local
	if config != nil {
		if prism, ok := schema.Find[*kubedoc.KubePrismConfig](config.Set); ok {
			u := localURL(prism.Port)
			controllers = u.String()
		}
		if d, _, ok := rootdoc.Find(config.Set); ok && d.Cluster != nil && d.Cluster.AdminKubeconfig != nil {
			if set := d.Cluster.AdminKubeconfig.CertLifetime.Duration; set > 0 {
				ttl = set
			}
		}
	}
	admin := func(server string) kubeconfig.Spec { return kubeconfig.Admin(root.Name, server, cas, secret.Pair{}) }
	component := func(leaf secret.Leaf) kubeconfig.Spec {
		return kubeconfig.Spec{
			Cluster: root.Name, User: leaf.CommonName, Context: leaf.CommonName + "@" + root.Name, Server: controllers, CA: cas,
		}
	}
	for _, each := range []struct {
		what string
		text *string
		leaf secret.Leaf
		spec kubeconfig.Spec
	}{
		{"the administrator of Kubernetes", &out.AdminKubeconfig, secret.KubeAdmin(ttl), admin(root.Endpoint.String())},
		{"this node's calls to Kubernetes", &out.LocalhostAdminKubeconfig, secret.KubeAdmin(secret.KubernetesTTL), admin(local)},
		{"the controller manager", &out.ControllerManagerKubeconfig, secret.KubeControllerManager(), component(secret.KubeControllerManager())},
		{"the scheduler", &out.SchedulerKubeconfig, secret.KubeScheduler(), component(secret.KubeScheduler())},
	} {
		if *each.text, err = i.keepKubeconfig(each.what, *each.text, ca, each.leaf, each.spec); err != nil {
			return err
		}
	}
	return nil
}

// keepKubeconfig is keep for the certificate within a kubeconfig, of which all else is as spec says.
func (i *issuing) keepKubeconfig(what, text string, ca *secret.Authority, leaf secret.Leaf, spec kubeconfig.Spec) (string, error) {
	have, _ := kubeconfig.Client([]byte(text)) // none, if it is not there yet
	var err error
	if spec.Client, err = i.keepPair(what, have, ca, leaf); err != nil {
		return "", err
	}
	data, err := spec.Marshal()
	if err != nil {
		return "", fmt.Errorf("kubeconfig of %s: %w", what, err)
	}
	return string(data), nil
}

// KubernetesDynamicCertsController issues the certificates of the API server that follow the names and addresses of the node, and
// those with which it calls kubelets and other API servers.
type KubernetesDynamicCertsController struct{}

// Name implements [controller.Controller].
func (*KubernetesDynamicCertsController) Name() string {
	return "secrets.KubernetesDynamicCertsController"
}

// Inputs implements [controller.Controller].
func (*KubernetesDynamicCertsController) Inputs() []controller.Input {
	return append(gateInputs(),
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.Weak[secrets.CertSAN]().Named(secrets.CertSANKubernetes),
		controller.DestroyReady[secrets.KubernetesDynamic](),
	)
}

// Outputs implements [controller.Controller].
func (*KubernetesDynamicCertsController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.KubernetesDynamic]()}
}

// Run implements [controller.Controller].
func (c *KubernetesDynamicCertsController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return loop(ctx, rt, log, func(ctx context.Context) (outcome, error) {
		root, ok, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
		if err != nil {
			return outcome{}, err
		}
		if !ok {
			return outcome{}, remove[secrets.KubernetesDynamic](ctx, rt)
		}
		if waiting, err := gates(ctx, rt, true); err != nil || waiting != "" {
			return outcome{waiting: waiting}, err
		}
		san, ok, err := state.Find[secrets.CertSAN](ctx, rt, secrets.CertSANKubernetes)
		if err != nil || !ok {
			return outcome{waiting: "the names for the API server's certificate"}, err
		}
		out, _, err := state.Find[secrets.KubernetesDynamic](ctx, rt, secrets.KubernetesDynamicID)
		if err != nil {
			return outcome{}, err
		}
		i := &issuing{log: log, now: time.Now()}
		if err := apiServerCerts(i, &out, root, san); err != nil {
			return outcome{}, err
		}
		return outcome{next: i.next}, state.Put(ctx, rt, secrets.KubernetesDynamicID, out)
	})
}

func apiServerCerts(i *issuing, out *secrets.KubernetesDynamic, root secrets.KubernetesRoot, san secrets.CertSAN) error {
	ca, err := parseAuthority("the authority of the Kubernetes API", root.IssuingCA)
	if err != nil {
		return err
	}
	aggregator, err := parseAuthority("the authority of the aggregation layer", root.AggregatorCA)
	if err != nil {
		return err
	}
	server, err := secret.KubeAPIServer(secret.KubeAPIServerNames{
		Domain: root.DNSDomain, Extra: secret.SANs{IPs: san.IPs, DNS: san.DNSNames},
	})
	if err != nil {
		return err
	}
	if out.APIServer, err = i.keep("the API server", out.APIServer, ca, server); err != nil {
		return err
	}
	if out.APIServerKubeletClient, err = i.keep("the API server's calls to kubelets", out.APIServerKubeletClient, ca, secret.KubeletClient()); err != nil {
		return err
	}
	out.FrontProxy, err = i.keep("the API server's calls to other API servers", out.FrontProxy, aggregator, secret.FrontProxyClient())
	return err
}
