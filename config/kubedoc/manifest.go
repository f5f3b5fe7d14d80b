package kubedoc

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeExternalManifestConfig names a file of Kubernetes manifests that is fetched and applied when the cluster is
// bootstrapped.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeExternalManifestConfig
//	name: cilium
//	url: https://example.com/manifests/cilium.yaml
type KubeExternalManifestConfig struct {
	// Name tells the manifests apart.
	Name string `yaml:"name" required:"true"`
	// Headers are HTTP headers that are sent with the request, by name.
	//
	// Example:
	//
	//	headers:
	//	    Authorization: Bearer 0123456789
	Headers map[string]string `yaml:"headers" secret:"true"`
	// URL is where the file is, http or https. It has one or more YAML documents.
	URL scalar.HTTPURL `yaml:"url" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*KubeExternalManifestConfig) DocumentKind() string { return "KubeExternalManifestConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KubeExternalManifestConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator]. It shows no header's value: one may be a credential.
func (c *KubeExternalManifestConfig) Validate(r *schema.Reporter) {
	checkManifestName(c.Name, r.At("name"))
	for _, k := range sortedKeys(c.Headers) {
		if !isHeaderName(k) {
			r.At("headers").At(k).Errorf("expected the name of an HTTP header such as Authorization, got %q", clip(k))
		}
		if strings.ContainsAny(c.Headers[k], "\r\n\x00") {
			r.At("headers").At(k).Errorf("expected a header's value on one line")
		}
	}
}

// isHeaderName reports whether s is a token (RFC 9110 §5.6.2).
func isHeaderName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

func checkManifestName(name string, r *schema.Reporter) {
	if name == "" || strings.ContainsAny(name, "/\\ \t\r\n\x00") {
		r.Errorf("expected a name without slashes and white space such as cilium, got %q", clip(name))
	}
}

// KubeInlineManifestConfig has Kubernetes manifests that are applied when the cluster is bootstrapped.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeInlineManifestConfig
//	name: monitoring-namespace
//	manifest: |
//	    apiVersion: v1
//	    kind: Namespace
//	    metadata:
//	        name: monitoring
type KubeInlineManifestConfig struct {
	// Name tells the manifests apart.
	Name string `yaml:"name" required:"true"`
	// Manifest is the text of one or more YAML documents, each a Kubernetes object.
	//
	// Example:
	//
	//	manifest: |
	//	    apiVersion: v1
	//	    kind: Namespace
	//	    metadata:
	//	        name: monitoring
	Manifest string `yaml:"manifest" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*KubeInlineManifestConfig) DocumentKind() string { return "KubeInlineManifestConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KubeInlineManifestConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator]. Lines in its messages are those of the manifest.
func (c *KubeInlineManifestConfig) Validate(r *schema.Reporter) {
	checkManifestName(c.Name, r.At("name"))
	at := r.At("manifest")
	var problems schema.Report
	docs := schema.Parse("", []byte(c.Manifest), &problems)
	for _, p := range problems.Of(schema.Error) {
		where := ""
		if p.Line > 0 {
			where = fmt.Sprintf("line %d of the manifest: ", p.Line)
		}
		if p.Path != "" {
			where += p.Path + ": "
		}
		at.Errorf("%s%s", where, p.Message)
	}
	if len(docs) == 0 && len(problems) == 0 {
		at.Errorf("expected a Kubernetes object in YAML, got nothing")
	}
	for i, doc := range docs {
		checkManifest(i+1, doc.Content[0], at)
	}
}

// checkManifest reports a document, the nth of its manifest, that is no Kubernetes object.
func checkManifest(nth int, n *yaml.Node, r *schema.Reporter) {
	where := fmt.Sprintf("document %d (line %d of the manifest)", nth, n.Line)
	if n.Kind != yaml.MappingNode {
		r.Errorf("%s: expected a mapping with the keys apiVersion and kind", where)
		return
	}
	for _, key := range []string{"apiVersion", "kind"} {
		v := schema.Child(n, key)
		switch {
		case v == nil:
			r.Errorf("%s: the key %q is required", where, key)
		case v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" || v.Value == "":
			r.Errorf("document %d (line %d of the manifest): expected a string as %s", nth, v.Line, key)
		}
	}
}

// KubeStaticPodConfig has a pod that the machine's kubelet runs by itself, without the Kubernetes API.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeStaticPodConfig
//	name: web
//	pod:
//	    apiVersion: v1
//	    kind: Pod
//	    metadata:
//	        name: web
//	    spec:
//	        containers:
//	            - name: web
//	              image: registry.example.com/web:1.2
type KubeStaticPodConfig struct {
	// Name tells the pods apart.
	Name string `yaml:"name" required:"true"`
	// Pod is a Pod (v1). A patch replaces it as a whole.
	//
	// Example:
	//
	//	pod:
	//	    apiVersion: v1
	//	    kind: Pod
	//	    metadata:
	//	        name: web
	//	    spec:
	//	        containers:
	//	            - name: web
	//	              image: registry.example.com/web:1.2
	Pod scalar.Object `yaml:"pod" required:"true" merge:"replace"`
}

// DocumentKind implements [schema.Document].
func (*KubeStaticPodConfig) DocumentKind() string { return "KubeStaticPodConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KubeStaticPodConfig) DocumentName() string { return c.Name }

var podType = typeMeta{kind: "Pod", versions: []string{"v1"}}

// Validate implements [schema.Validator].
func (c *KubeStaticPodConfig) Validate(r *schema.Reporter) {
	checkManifestName(c.Name, r.At("name"))
	r = r.At("pod")
	podType.check(c.Pod, r)
	meta := mappingAt(c.Pod, "metadata", r)
	if name, _ := meta["name"].(string); !isSubdomain(name) {
		r.At("metadata").At("name").Errorf("expected a name of lower-case letters, digits, '-' and '.' such as web, got %s",
			show(meta["name"]))
	}
	if v, set := meta["namespace"]; set {
		if name, _ := v.(string); !isDNSLabel(name) {
			r.At("metadata").At("namespace").Errorf("expected the name of a namespace such as kube-system, got %s", show(v))
		}
	}
	spec := mappingAt(c.Pod, "spec", r)
	for i, v := range itemsAt(spec, "containers", "at least one container", r.At("spec")) {
		at := r.At("spec").At("containers").Item(i)
		m, ok := v.(map[string]any)
		if !ok {
			at.Errorf("expected a mapping with the keys name and image, got %s", show(v))
			continue
		}
		if name, _ := m["name"].(string); !isDNSLabel(name) {
			at.At("name").Errorf("expected a name of lower-case letters, digits and '-' such as web, got %s", show(m["name"]))
		}
		text, _ := m["image"].(string)
		var image scalar.Image
		if err := image.UnmarshalText([]byte(text)); err != nil {
			at.At("image").Errorf("expected %s, got %s", image.Expects(), show(m["image"]))
		}
	}
}
