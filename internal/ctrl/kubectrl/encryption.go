package kubectrl

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	"go.yaml.in/yaml/v3"

	"talos.internal/controller"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// EtcdEncryptionConfigController writes the configuration by which the API server encrypts Secrets in etcd.
type EtcdEncryptionConfigController struct{}

// Name implements [controller.Controller].
func (EtcdEncryptionConfigController) Name() string { return "k8s.EtcdEncryptionConfigController" }

// Inputs implements [controller.Controller].
func (EtcdEncryptionConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[secrets.KubernetesRoot]().Named(secrets.KubernetesRootID),
		controller.DestroyReady[kube.EtcdEncryptionConfig](),
	}
}

// Outputs implements [controller.Controller].
func (EtcdEncryptionConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.EtcdEncryptionConfig]()}
}

// Run implements [controller.Controller].
func (EtcdEncryptionConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		root, ok, err := state.Find[secrets.KubernetesRoot](ctx, rt, secrets.KubernetesRootID)
		if err != nil {
			return err
		}
		if !ok {
			return remove(ctx, rt)
		}
		text, err := yaml.Marshal(encryption(root))
		if err != nil {
			return fmt.Errorf("write the configuration of encryption in etcd: %w", err)
		}
		return state.Put(ctx, rt, kube.EtcdEncryptionConfigID, kube.EtcdEncryptionConfig{Configuration: string(text)})
	})
}

// encryption is what the config says in full, or follows from the two secrets: the newer way first, then the older one, and at
// the end what was written before there was either. The keys are called as they always were: the name is written with the data.
func encryption(root secrets.KubernetesRoot) map[string]any {
	out := map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
	if len(root.EtcdEncryptionConfig) > 0 {
		maps.Copy(out, root.EtcdEncryptionConfig)
		return out
	}
	var providers []any
	for _, p := range []struct{ kind, name, secret string }{
		{"secretbox", "key2", root.SecretboxEncryptionSecret}, {"aescbc", "key1", root.AESCBCEncryptionSecret},
	} {
		if p.secret != "" {
			providers = append(providers, map[string]any{
				p.kind: map[string]any{"keys": []any{map[string]any{"name": p.name, "secret": p.secret}}},
			})
		}
	}
	providers = append(providers, map[string]any{"identity": map[string]any{}})
	out["resources"] = []any{map[string]any{"resources": []any{"secrets"}, "providers": providers}}
	return out
}
