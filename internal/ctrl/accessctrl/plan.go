package accessctrl

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

const (
	// ServiceName is the service that leads to the machine API, in the namespace default, and Endpoint how pods call it.
	ServiceName      = "talos"
	serviceNamespace = "default"
	Endpoint         = ServiceName + "." + serviceNamespace

	apiPort = 50000

	// lifetime is that of a pod's certificate, and renewal how long before its end it is renewed.
	lifetime = 6 * time.Hour
	renewal  = time.Hour

	fieldManager = "talos"
	// configKey is the file of the Secret; talosctl looks for it where the Secret is mounted.
	configKey = "config"
)

// accountKind is the kind of the objects that ask.
var accountKind = kubeapi.KindOf("talos.dev/v1alpha1", "ServiceAccount")

// rolesOf returns the roles that an account asks for.
func rolesOf(account kubeapi.Object) []string {
	list, _ := account.Map("spec")["roles"].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// refusal returns why an account gets no credentials; empty if it does.
func refusal(account kubeapi.Object, c kube.AccessConfig) string {
	roles := rolesOf(account)
	var not []string
	for _, r := range roles {
		if !slices.Contains(c.AllowedAPIRoles, r) {
			not = append(not, r)
		}
	}
	switch {
	case !slices.Contains(c.AllowedKubernetesNamespaces, account.Namespace()):
		return fmt.Sprintf("namespace %q is not allowed to have access to the machine API", account.Namespace())
	case len(roles) == 0:
		return "it asks for no roles"
	case len(not) > 0:
		return "roles that are not allowed: " + strings.Join(not, ", ")
	}
	return ""
}

// owner returns the UID of the account that a Secret was made for; empty if it was made for none.
func owner(s kubeapi.Object) string {
	for _, o := range s.Maps("metadata", "ownerReferences") {
		if o["kind"] == accountKind.Kind && o["apiVersion"] == accountKind.APIVersion() {
			return fmt.Sprint(o["uid"])
		}
	}
	return ""
}

// good reports whether the talosconfig of a Secret does for an account: it has its roles, is of the present authorities, and lives for
// longer than needed.
func good(have kubeapi.Object, roles []string, root secrets.OSRoot, now time.Time) bool {
	text, _ := have.Map("data")[configKey].(string)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || root.IssuingCA == nil {
		return false
	}
	c, _, err := talosconfig.Load(data)
	if err != nil {
		return false
	}
	_, context, err := c.Lookup("")
	if err != nil || !slices.Equal(context.Endpoints, []string{Endpoint}) {
		return false
	}
	ca, err := base64.StdEncoding.DecodeString(context.CA)
	if err != nil || !bytes.Equal(ca, authorities(root)) {
		return false
	}
	crt, err := base64.StdEncoding.DecodeString(context.Crt)
	if err != nil {
		return false
	}
	leaf, err := secret.ParseCertificate(crt)
	if err != nil {
		return false
	}
	issuer, err := secret.ParseCertificate(root.IssuingCA.Crt)
	if err != nil || leaf.CheckSignatureFrom(issuer) != nil {
		return false
	}
	asked, has := slices.Sorted(slices.Values(roles)), slices.Sorted(slices.Values(leaf.Subject.Organization))
	return slices.Equal(slices.Compact(asked), slices.Compact(has)) && leaf.NotAfter.Sub(now) > renewal
}

// authorities are those that servers of the machine API are believed by.
func authorities(root secrets.OSRoot) []byte {
	out := slices.Clone([]byte(root.IssuingCA.Crt))
	for _, c := range root.AcceptedCAs {
		if !bytes.Equal(c.Crt, root.IssuingCA.Crt) {
			out = append(out, c.Crt...)
		}
	}
	return out
}

// credentials makes the Secret of an account.
func credentials(account kubeapi.Object, root secrets.OSRoot, now time.Time) (kubeapi.Object, error) {
	authority, err := secret.ParseAuthority(root.IssuingCA.Crt, root.IssuingCA.Key)
	if err != nil {
		return nil, fmt.Errorf("read the authority of the machine API: %w", err)
	}
	pair, err := authority.Issue(secret.OSClient(rolesOf(account), lifetime), now)
	if err != nil {
		return nil, fmt.Errorf("make a client certificate: %w", err)
	}
	const name = "default"
	text, err := (&talosconfig.Config{Context: name, Contexts: map[string]*talosconfig.Context{
		name: talosconfig.NewContext([]string{Endpoint}, nil, authorities(root), pair),
	}}).Marshal()
	if err != nil {
		return nil, err
	}
	return kubeapi.Object{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
		"metadata": map[string]any{
			"namespace": account.Namespace(), "name": account.Name(),
			"labels": map[string]any{"kubernetes.talos.dev/service-account": "true"},
			"ownerReferences": []any{map[string]any{
				"apiVersion": accountKind.APIVersion(), "kind": accountKind.Kind, "name": account.Name(), "uid": account.Map("metadata")["uid"],
			}},
		},
		"data": map[string]any{configKey: base64.StdEncoding.EncodeToString(text)},
	}, nil
}

// slicesOf are the EndpointSlices of the service for the addresses of the control plane, one for each family.
func slicesOf(addresses []netip.Addr) []kubeapi.Object {
	families := map[string][]any{}
	for _, a := range slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare) {
		kind := "IPv4"
		if a.Is6() {
			kind = "IPv6"
		}
		families[kind] = append(families[kind], map[string]any{"addresses": []any{a.String()}, "conditions": map[string]any{"ready": true}})
	}
	var out []kubeapi.Object
	for _, kind := range []string{"IPv4", "IPv6"} {
		if len(families[kind]) == 0 {
			continue
		}
		out = append(out, kubeapi.Object{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": kind,
			"metadata": map[string]any{
				"namespace": serviceNamespace, "name": ServiceName + "-" + strings.ToLower(kind),
				"labels": map[string]any{
					"kubernetes.io/service-name": ServiceName, "endpointslice.kubernetes.io/managed-by": "talos.dev",
				},
			},
			"endpoints": families[kind],
			"ports":     []any{map[string]any{"name": "apid", "port": apiPort, "protocol": "TCP"}},
		})
	}
	return out
}
