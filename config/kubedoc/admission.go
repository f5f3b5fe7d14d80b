package kubedoc

import (
	"slices"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// KubeAdmissionControlConfig configures one admission plugin of the API server.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAdmissionControlConfig
//	name: PodSecurity
//	configuration:
//	    apiVersion: pod-security.admission.config.k8s.io/v1
//	    kind: PodSecurityConfiguration
//	    defaults:
//	        enforce: baseline
//	    exemptions:
//	        namespaces:
//	            - kube-system
type KubeAdmissionControlConfig struct {
	// Name is the plugin's name, such as PodSecurity.
	Name string `yaml:"name" required:"true"`
	// Configuration is the plugin's configuration, an object that the plugin defines.
	//
	// Example:
	//
	//	configuration:
	//	    apiVersion: pod-security.admission.config.k8s.io/v1
	//	    kind: PodSecurityConfiguration
	//	    defaults:
	//	        enforce: baseline
	Configuration scalar.Object `yaml:"configuration"`
}

// DocumentKind implements [schema.Document].
func (*KubeAdmissionControlConfig) DocumentKind() string { return "KubeAdmissionControlConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KubeAdmissionControlConfig) DocumentName() string { return c.Name }

var podSecurityType = typeMeta{kind: "PodSecurityConfiguration", versions: []string{
	"pod-security.admission.config.k8s.io/v1",
	"pod-security.admission.config.k8s.io/v1beta1",
	"pod-security.admission.config.k8s.io/v1alpha1",
}}

// Validate implements [schema.Validator].
func (c *KubeAdmissionControlConfig) Validate(r *schema.Reporter) {
	if !isPluginName(c.Name) {
		r.At("name").Errorf("expected the name of an admission plugin such as PodSecurity, got %q", clip(c.Name))
	}
	if c.Name == "PodSecurity" {
		checkPodSecurity(c.Configuration, r.At("configuration"))
	}
}

func isPluginName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) {
			return false
		}
	}
	return s != ""
}

// checkPodSecurity checks what keeps the API server from starting
// (https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-admission-controller/).
func checkPodSecurity(o scalar.Object, r *schema.Reporter) {
	podSecurityType.check(o, r)
	defaults := mappingAt(o, "defaults", r)
	levels := []string{"privileged", "baseline", "restricted"}
	for _, mode := range []string{"enforce", "audit", "warn"} {
		v, set := defaults[mode]
		if level, _ := v.(string); set && !slices.Contains(levels, level) {
			r.At("defaults").At(mode).Errorf("expected one of %s, got %s", strings.Join(levels, ", "), show(v))
		}
	}
}

// KubeAuditPolicyConfig says which requests the API server writes to its audit log and in which detail.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAuditPolicyConfig
//	configuration:
//	    apiVersion: audit.k8s.io/v1
//	    kind: Policy
//	    rules:
//	        - level: Metadata
type KubeAuditPolicyConfig struct {
	// Configuration is a Policy (audit.k8s.io/v1). The first rule that matches a request decides. A patch replaces it as
	// a whole.
	//
	// Example:
	//
	//	configuration:
	//	    apiVersion: audit.k8s.io/v1
	//	    kind: Policy
	//	    rules:
	//	        - level: Metadata
	Configuration scalar.Object `yaml:"configuration" required:"true" merge:"replace"`
}

// DocumentKind implements [schema.Document].
func (*KubeAuditPolicyConfig) DocumentKind() string { return "KubeAuditPolicyConfig" }

var auditPolicyType = typeMeta{kind: "Policy", versions: []string{"audit.k8s.io/v1"}}

// Validate implements [schema.Validator].
func (c *KubeAuditPolicyConfig) Validate(r *schema.Reporter) {
	r = r.At("configuration")
	auditPolicyType.check(c.Configuration, r)
	levels := []string{"None", "Metadata", "Request", "RequestResponse"}
	for i, rule := range itemsAt(c.Configuration, "rules", "at least one rule, such as {level: Metadata} for all requests", r) {
		at := r.At("rules").Item(i)
		m, ok := rule.(map[string]any)
		if !ok {
			at.Errorf("expected a mapping with the key level, got %s", show(rule))
			continue
		}
		if level, _ := m["level"].(string); !slices.Contains(levels, level) {
			at.At("level").Errorf("expected one of %s, got %s", strings.Join(levels, ", "), show(m["level"]))
		}
	}
}

// KubeAuthenticationConfig says who may call the Kubernetes API without a certificate or a service account's token:
// users of OpenID Connect providers, and anonymous ones on chosen paths.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAuthenticationConfig
//	configuration:
//	    anonymous:
//	        enabled: true
//	        conditions:
//	            - path: /livez
//	            - path: /readyz
type KubeAuthenticationConfig struct {
	// Configuration is an AuthenticationConfiguration (apiserver.config.k8s.io/v1); apiVersion and kind may be left out.
	// A patch replaces it as a whole.
	//
	// Example:
	//
	//	configuration:
	//	    anonymous:
	//	        enabled: true
	//	        conditions:
	//	            - path: /livez
	Configuration scalar.Object `yaml:"configuration" required:"true" merge:"replace"`
}

// DocumentKind implements [schema.Document].
func (*KubeAuthenticationConfig) DocumentKind() string { return "KubeAuthenticationConfig" }

var authenticationType = typeMeta{kind: "AuthenticationConfiguration", versions: []string{
	"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1",
}, optional: true}

// Validate implements [schema.Validator].
func (c *KubeAuthenticationConfig) Validate(r *schema.Reporter) {
	r = r.At("configuration")
	authenticationType.check(c.Configuration, r)
	for _, key := range sortedKeys(c.Configuration) {
		switch key {
		case "apiVersion", "kind", "anonymous", "jwt":
		default:
			r.At(key).Hintf("known keys: apiVersion, kind, anonymous, jwt", "unknown key")
		}
	}
	anonymous := mappingAt(c.Configuration, "anonymous", r)
	if v, set := anonymous["enabled"]; set {
		if _, ok := v.(bool); !ok {
			r.At("anonymous").At("enabled").Errorf("expected true or false, got %s", show(v))
		}
	}
	if anonymous["enabled"] == false && len(listAt(anonymous, "conditions", r.At("anonymous"))) > 0 {
		r.At("anonymous").At("conditions").Errorf("conditions need enabled: true")
	}
	for i, v := range listAt(c.Configuration, "jwt", r) {
		at := r.At("jwt").Item(i)
		m, ok := v.(map[string]any)
		if !ok {
			at.Errorf("expected a mapping with the keys issuer, claimMappings, got %s", show(v))
			continue
		}
		checkIssuer(mappingAt(m, "issuer", at), at.At("issuer"))
	}
}

// checkIssuer checks the issuer of JSON web tokens.
func checkIssuer(m map[string]any, r *schema.Reporter) {
	text, _ := m["url"].(string)
	var u scalar.HTTPSURL
	if err := u.UnmarshalText([]byte(text)); err != nil {
		r.At("url").Errorf("expected %s, got %s: %v", u.Expects(), show(m["url"]), err)
	}
	itemsAt(m, "audiences", "at least one audience", r)
}

// KubeAuthorizerConfig adds one authorizer to the API server's chain. The authorizers are asked in the order of their
// documents; the first that allows or denies a request decides.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAuthorizerConfig
//	name: rbac
//	type: RBAC
type KubeAuthorizerConfig struct {
	// Name tells authorizers apart, in logs and metrics too: lower-case letters, digits, '-' and '.'.
	Name string `yaml:"name" required:"true"`
	// Type is what authorizes: Node (kubelets' own objects), RBAC (roles and bindings) or Webhook (a service of yours).
	Type string `yaml:"type" required:"true" enum:"Node|RBAC|Webhook"`
	// Webhook is how the service is asked, as in an AuthorizationConfiguration (apiserver.config.k8s.io/v1). It is needed
	// for the type Webhook, and not allowed for the others.
	//
	// Example:
	//
	//	webhook:
	//	    timeout: 3s
	//	    subjectAccessReviewVersion: v1
	//	    matchConditionSubjectAccessReviewVersion: v1
	//	    failurePolicy: NoOpinion
	//	    connectionInfo:
	//	        type: InClusterConfig
	Webhook scalar.Object `yaml:"webhook"`
}

// DocumentKind implements [schema.Document].
func (*KubeAuthorizerConfig) DocumentKind() string { return "KubeAuthorizerConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *KubeAuthorizerConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *KubeAuthorizerConfig) Validate(r *schema.Reporter) {
	if !isSubdomain(c.Name) {
		r.At("name").Errorf("expected a name of lower-case letters, digits, '-' and '.' such as rbac, got %q", clip(c.Name))
	}
	switch {
	case c.Type == "Webhook" && len(c.Webhook) == 0:
		r.Hintf("say how the service is asked", "an authorizer of type Webhook needs the key %q", "webhook")
	case c.Type != "Webhook" && c.Webhook != nil:
		r.At("webhook").Hintf("leave it out, or write type: Webhook", "an authorizer of type %s has no webhook", c.Type)
	}
}
