package kubectrl

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"go.yaml.in/yaml/v3"

	"talos.internal/controller"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// Names of config files.
const (
	admissionFile      = "admission-control-config.yaml"
	auditFile          = "auditpolicy.yaml"
	authenticationFile = "authentication-config.yaml"
	authorizationFile  = "authorization-config.yaml"
	encryptionFile     = "encryptionconfig.yaml"
	schedulerFile      = "scheduler-config.yaml"
)

// frontProxyName is the name in the certificate by which the API server speaks to aggregated ones.
var frontProxyName = secret.FrontProxyClient().CommonName

// RenderSecretsController writes the keys, certificates and kubeconfigs of the control plane to files. Without a control plane on
// this node there are no such files.
type RenderSecretsController struct{ deps Deps }

// Name implements [controller.Controller].
func (*RenderSecretsController) Name() string { return "k8s.RenderSecretsStaticPodController" }

// Inputs implements [controller.Controller].
func (*RenderSecretsController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.EtcdEncryptionConfig]().Named(kube.EtcdEncryptionConfigID),
		controller.Weak[secrets.Etcd]().Named(secrets.EtcdID),
		controller.Weak[secrets.EtcdRoot]().Named(secrets.EtcdRootID),
		controller.Weak[secrets.Kubernetes]().Named(secrets.KubernetesID),
		controller.Weak[secrets.KubernetesDynamic]().Named(secrets.KubernetesDynamicID),
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.DestroyReady[kube.SecretsStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*RenderSecretsController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.SecretsStatus]()}
}

// Run implements [controller.Controller].
func (c *RenderSecretsController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		root, ok, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
		if err != nil {
			return err
		}
		if !ok {
			if err := remove(ctx, rt); err != nil {
				return err
			}
			_, err := tree{}.write(c.deps.Secrets, c.deps.Chown)
			return err
		}
		in, ok, err := gatherSecrets(ctx, rt, root)
		if err != nil || !ok {
			return err // what is there stays until all is there again
		}
		t, err := in.tree()
		if err != nil {
			return err
		}
		changed, err := t.write(c.deps.Secrets, c.deps.Chown)
		if err != nil {
			return err
		}
		if changed {
			log.Info("the secrets of the control plane are written", "dir", c.deps.Secrets)
		}
		return state.Put(ctx, rt, kube.SecretsStatusID, kube.SecretsStatus{Ready: true, Version: t.version()})
	})
}

// secretFacts are what the secret files are made from.
type secretFacts struct {
	root       secrets.KubernetesRoot
	static     secrets.Kubernetes
	dynamic    secrets.KubernetesDynamic
	etcd       secrets.Etcd
	etcdRoot   secrets.EtcdRoot
	encryption kube.EtcdEncryptionConfig
}

// gatherSecrets reports whether all of them are there.
func gatherSecrets(ctx context.Context, rt controller.Runtime, root secrets.KubernetesRoot) (f secretFacts, all bool, err error) {
	f.root = root
	var ok [5]bool
	for i, read := range []func() error{
		func() (err error) {
			f.static, ok[0], err = state.Find[secrets.Kubernetes](ctx, rt, secrets.KubernetesID)
			return err
		},
		func() (err error) {
			f.dynamic, ok[1], err = state.Find[secrets.KubernetesDynamic](ctx, rt, secrets.KubernetesDynamicID)
			return err
		},
		func() (err error) { f.etcd, ok[2], err = state.Find[secrets.Etcd](ctx, rt, secrets.EtcdID); return err },
		func() (err error) {
			f.etcdRoot, ok[3], err = state.Find[secrets.EtcdRoot](ctx, rt, secrets.EtcdRootID)
			return err
		},
		func() (err error) {
			f.encryption, ok[4], err = state.Find[kube.EtcdEncryptionConfig](ctx, rt, kube.EtcdEncryptionConfigID)
			return err
		},
	} {
		if err := read(); err != nil || !ok[i] {
			return f, false, err
		}
	}
	return f, true, nil
}

// tree decides which component has what: nobody gets a key that it does not need.
func (f secretFacts) tree() (tree, error) {
	key, err := secret.ParseKey(f.root.ServiceAccount.Key)
	if err != nil {
		return nil, fmt.Errorf("key of service accounts: %w", err)
	}
	public, err := key.PublicPEM()
	if err != nil {
		return nil, fmt.Errorf("key of service accounts: %w", err)
	}
	for _, k := range f.root.ServiceAccountAcceptedKeys {
		public = appendPEM(public, k.Key)
	}
	ca, aggregator := bundle(f.root.AcceptedCAs), bundle(f.root.AcceptedAggregatorCAs)
	return tree{
		apiServerName: {
			"ca.crt": ca, "aggregator-ca.crt": aggregator,
			"apiserver.crt": f.dynamic.APIServer.Crt, "apiserver.key": f.dynamic.APIServer.Key,
			"apiserver-kubelet-client.crt": f.dynamic.APIServerKubeletClient.Crt, "apiserver-kubelet-client.key": f.dynamic.APIServerKubeletClient.Key,
			"front-proxy-client.crt": f.dynamic.FrontProxy.Crt, "front-proxy-client.key": f.dynamic.FrontProxy.Key,
			"etcd-client-ca.crt": f.etcdRoot.EtcdCA.Crt,
			"etcd-client.crt":    f.etcd.APIServer.Crt, "etcd-client.key": f.etcd.APIServer.Key,
			"service-account.key": f.root.ServiceAccount.Key, "service-account.pub": public,
			encryptionFile: []byte(f.encryption.Configuration),
		},
		controllerManagerName: {
			"ca.crt": ca, "aggregator-ca.crt": aggregator, "kubeconfig": []byte(f.static.ControllerManagerKubeconfig),
			"signing-ca.crt": f.root.IssuingCA.Crt, "signing-ca.key": f.root.IssuingCA.Key,
			"service-account.key": f.root.ServiceAccount.Key,
		},
		schedulerName: {
			"ca.crt": ca, "aggregator-ca.crt": aggregator, "kubeconfig": []byte(f.static.SchedulerKubeconfig),
		},
	}, nil
}

func bundle(certs []secrets.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = appendPEM(out, c.Crt)
	}
	return out
}

// appendPEM puts a block on a line of its own.
func appendPEM(to, block []byte) []byte {
	to = append(to, bytes.TrimSpace(block)...)
	return append(to, '\n')
}

// RenderConfigsController writes the config files of the control plane.
type RenderConfigsController struct{ deps Deps }

// Name implements [controller.Controller].
func (*RenderConfigsController) Name() string { return "k8s.RenderConfigsStaticPodController" }

// Inputs implements [controller.Controller].
func (*RenderConfigsController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[kube.AdmissionControlConfig]().Named(kube.AdmissionControlConfigID),
		controller.Weak[kube.AuditPolicyConfig]().Named(kube.AuditPolicyConfigID),
		controller.Weak[kube.AuthenticationConfig]().Named(kube.AuthenticationConfigID),
		controller.Weak[kube.AuthorizationConfig]().Named(kube.AuthorizationConfigID),
		controller.Weak[kube.SchedulerConfig]().Named(kube.SchedulerConfigID),
		controller.DestroyReady[kube.ConfigStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*RenderConfigsController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.ConfigStatus]()}
}

// Run implements [controller.Controller].
func (c *RenderConfigsController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		admission, ok1, err := state.Find[kube.AdmissionControlConfig](ctx, rt, kube.AdmissionControlConfigID)
		if err != nil {
			return err
		}
		audit, ok2, err := state.Find[kube.AuditPolicyConfig](ctx, rt, kube.AuditPolicyConfigID)
		if err != nil {
			return err
		}
		authn, ok3, err := state.Find[kube.AuthenticationConfig](ctx, rt, kube.AuthenticationConfigID)
		if err != nil {
			return err
		}
		authz, ok4, err := state.Find[kube.AuthorizationConfig](ctx, rt, kube.AuthorizationConfigID)
		if err != nil {
			return err
		}
		sched, withScheduler, err := state.Find[kube.SchedulerConfig](ctx, rt, kube.SchedulerConfigID)
		if err != nil {
			return err
		}
		if !ok1 || !ok2 || !ok3 || !ok4 {
			if err := remove(ctx, rt); err != nil {
				return err
			}
			_, err := tree{}.write(c.deps.Configs, c.deps.Chown)
			return err
		}
		objects := map[string]map[string]any{apiServerName: {
			admissionFile: admissionObject(admission), auditFile: audit.Policy, authenticationFile: authn.Config,
			authorizationFile: authorizationObject(authz),
		}}
		if withScheduler {
			objects[schedulerName] = map[string]any{schedulerFile: sched.Config}
		}
		t := tree{}
		for component, files := range objects {
			t[component] = map[string][]byte{}
			for name, object := range files {
				if t[component][name], err = yaml.Marshal(object); err != nil {
					return fmt.Errorf("write %s of %s: %w", name, component, err)
				}
			}
		}
		changed, err := t.write(c.deps.Configs, c.deps.Chown)
		if err != nil {
			return err
		}
		if changed {
			log.Info("the config files of the control plane are written", "dir", c.deps.Configs)
		}
		return state.Put(ctx, rt, kube.ConfigStatusID, kube.ConfigStatus{Ready: true, Version: t.version()})
	})
}

func admissionObject(c kube.AdmissionControlConfig) map[string]any {
	plugins := []any{}
	for _, p := range c.Plugins {
		plugins = append(plugins, map[string]any{"name": p.Name, "configuration": p.Configuration})
	}
	return map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
}

func authorizationObject(c kube.AuthorizationConfig) map[string]any {
	list := []any{}
	for _, a := range c.Authorizers {
		o := map[string]any{"type": a.Type, "name": a.Name}
		if len(a.Webhook) > 0 {
			o["webhook"] = a.Webhook
		}
		list = append(list, o)
	}
	return map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": list}
}
