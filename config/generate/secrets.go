package generate

import (
	"fmt"

	"talos.internal/config"
	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/secret"
)

// Secrets returns the secrets that the config of a control-plane node, in either style, was generated from.
func Secrets(c *config.Config) (*secret.Bundle, error) {
	root := c.Root()
	switch {
	case root == nil:
		return nil, fmt.Errorf("the config has no root document")
	case c.Role() != schema.ControlPlane:
		return nil, fmt.Errorf("expected the config of a control-plane node, got that of a %s", c.Role())
	}
	set := c.Effective()
	parts := secret.Parts{}
	rootParts(root, &parts)
	if d, ok := schema.Find[*sysdoc.DiscoveryIdentityConfig](set); ok {
		id, err := d.ClusterID.MarshalText()
		if err != nil {
			return nil, err
		}
		key, err := d.ClusterSecret.MarshalText()
		if err != nil {
			return nil, err
		}
		parts.ClusterID, parts.ClusterSecret = string(id), secret.NewText(string(key))
	}
	if d, ok := schema.Find[*kubedoc.KubeAPIServerCAConfig](set); ok {
		parts.Kubernetes = authority(d.IssuingCA)
	}
	if d, ok := schema.Find[*kubedoc.KubeAggregatorCAConfig](set); ok {
		parts.FrontProxy = authority(d.IssuingCA)
	}
	if d, ok := schema.Find[*kubedoc.KubeServiceAccountConfig](set); ok && d.Issuer != nil {
		parts.ServiceAccountKey = secret.NewText(string(d.Issuer.PrivateKey))
	}
	if d, ok := schema.Find[*kubedoc.KubeEtcdEncryptionConfig](set); ok {
		parts.SecretboxSecret = secret.NewText(encryptionKey(d.Config, "secretbox"))
		parts.AESCBCSecret = secret.NewText(encryptionKey(d.Config, "aescbc"))
	}
	return secret.BundleFromParts(parts)
}

// rootParts takes what the root document has in both styles.
func rootParts(root *rootdoc.Config, parts *secret.Parts) {
	if m := root.Machine; m != nil {
		parts.MachineToken = secret.NewText(m.Token)
		parts.OS = encoded(m.CA)
	}
	if l := root.Cluster; l != nil {
		parts.BootstrapToken = secret.NewText(l.Token)
		if l.Etcd != nil {
			parts.Etcd = encoded(l.Etcd.CA)
		}
	}
}

func encoded(p *rootdoc.CertAndKey) secret.PairParts {
	if p == nil {
		return secret.PairParts{}
	}
	return secret.PairParts{Certificate: string(p.Cert), Key: secret.NewText(string(p.Key))}
}

func authority(a *kubedoc.Authority) secret.PairParts {
	if a == nil {
		return secret.PairParts{}
	}
	return secret.PairParts{Certificate: string(a.Cert), Key: secret.NewText(string(a.Key))}
}

// encryptionKey returns the first key of a provider in an EncryptionConfiguration, or "".
func encryptionKey(config scalar.Object, provider string) string {
	var found string
	each(config["resources"], func(resource map[string]any) {
		each(resource["providers"], func(p map[string]any) {
			body, _ := p[provider].(map[string]any)
			each(body["keys"], func(key map[string]any) {
				if s, ok := key["secret"].(string); ok && found == "" {
					found = s
				}
			})
		})
	})
	return found
}

// each calls f with each mapping of a list; anything else is passed over.
func each(list any, f func(map[string]any)) {
	items, _ := list.([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			f(m)
		}
	}
}
