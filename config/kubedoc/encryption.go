package kubedoc

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeEtcdEncryptionConfig says how the API server encrypts what it keeps in etcd. A control plane node needs it, so
// that Kubernetes secrets are not on its disk in clear.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeEtcdEncryptionConfig
//	config:
//	    resources:
//	        - resources:
//	            - secrets
//	          providers:
//	            - secretbox:
//	                keys:
//	                    - name: key2
//	                      secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
//	            - identity: {}
type KubeEtcdEncryptionConfig struct {
	// Config is an EncryptionConfiguration (apiserver.config.k8s.io/v1); apiVersion and kind may be left out. The first
	// provider of a resource encrypts; all of them decrypt.
	//
	// Example:
	//
	//	config:
	//	    resources:
	//	        - resources:
	//	            - secrets
	//	          providers:
	//	            - secretbox:
	//	                keys:
	//	                    - name: key2
	//	                      secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
	Config scalar.Object `yaml:"config" required:"true" secret:"true"`
}

// DocumentKind implements [schema.Document].
func (*KubeEtcdEncryptionConfig) DocumentKind() string { return "KubeEtcdEncryptionConfig" }

var encryptionType = typeMeta{
	kind: "EncryptionConfiguration", versions: []string{"apiserver.config.k8s.io/v1"}, optional: true,
}

// keySizes are the sizes in bytes that a provider's keys may have.
var keySizes = map[string][]int{"secretbox": {32}, "aescbc": {16, 24, 32}, "aesgcm": {16, 24, 32}}

// Validate implements [schema.Validator]. Its messages show no value.
func (c *KubeEtcdEncryptionConfig) Validate(r *schema.Reporter) {
	r = r.At("config")
	encryptionType.check(c.Config, r)
	for i, v := range itemsAt(c.Config, "resources", "at least one entry with the keys resources and providers", r) {
		at := r.At("resources").Item(i)
		m, ok := v.(map[string]any)
		if !ok {
			at.Errorf("expected a mapping with the keys resources and providers")
			continue
		}
		itemsAt(m, "resources", "at least one resource such as secrets", at)
		for j, p := range itemsAt(m, "providers", "at least one provider such as secretbox", at) {
			checkEncryptionProvider(p, j == 0, at.At("providers").Item(j))
		}
	}
}

func checkEncryptionProvider(v any, first bool, r *schema.Reporter) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		r.Errorf("expected a mapping with exactly one of secretbox, aescbc, aesgcm, kms, identity")
		return
	}
	for name, body := range m {
		sizes, keyed := keySizes[name]
		switch {
		case keyed:
			b, _ := body.(map[string]any)
			checkEncryptionKeys(b, sizes, r.At(name))
		case name == "identity" && first:
			r.Warnf("put a provider that encrypts first", "the provider identity is first: new values are stored in clear")
		case name == "identity":
		case name == "kms":
			b, _ := body.(map[string]any)
			if b["name"] == nil || b["endpoint"] == nil {
				r.At(name).Errorf("expected a mapping with the keys apiVersion, name and endpoint")
			}
		default:
			r.Errorf("expected a mapping with exactly one of secretbox, aescbc, aesgcm, kms, identity")
		}
	}
}

func checkEncryptionKeys(body map[string]any, sizes []int, r *schema.Reporter) {
	names := map[string]bool{}
	for i, v := range itemsAt(body, "keys", "at least one key with a name and a secret", r) {
		at := r.At("keys").Item(i)
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		if name == "" || names[name] {
			at.At("name").Errorf("expected a name that no other key of the provider has")
		}
		names[name] = true
		secret, _ := m["secret"].(string)
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(secret), ""))
		if err != nil || !slices.Contains(sizes, len(b)) {
			at.At("secret").Errorf("expected %s bytes in base64", alternatives(sizes))
		}
	}
}

func alternatives(sizes []int) string {
	if len(sizes) == 1 {
		return "32"
	}
	return "16, 24 or 32"
}

// sortedKeys returns the keys of m in order, so that problems come in the same order each time.
func sortedKeys[V any, M ~map[string]V](m M) []string { return slices.Sorted(maps.Keys(m)) }
