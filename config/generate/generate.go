// Package generate makes the machine configs of a new cluster from its secrets.
//
// The same [Input] gives the same bytes: nothing here is random and no clock is read. The style follows the version
// that the config is for ([Contract]): up to v1.13 everything is in the root document, from v1.14 on nearly everything
// has a document of its own.
package generate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"talos.internal/config"
	"talos.internal/config/defaults"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

// Contract is the version of the system, major and minor, whose style and defaults a config follows.
type Contract struct{ Major, Minor int }

// The first and the last version that configs can be generated for.
var (
	Oldest = Contract{1, 0}
	Newest = Contract{1, 15}
)

// documents is the first version whose configs are made of documents.
var documents = Contract{1, 14}

// ParseContract reads a version such as "v1.14", "1.14" or "v1.14.2".
func ParseContract(s string) (Contract, error) {
	bad := fmt.Errorf("expected a version from %s to %s such as v1.14, got %q", Oldest, Newest, s)
	core, _, _ := strings.Cut(strings.TrimPrefix(s, "v"), "-")
	parts := strings.Split(core, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return Contract{}, bad
	}
	var n [3]int
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || strconv.Itoa(v) != p {
			return Contract{}, bad
		}
		n[i] = v
	}
	c := Contract{n[0], n[1]}
	if !c.AtLeast(Oldest) || !Newest.AtLeast(c) {
		return Contract{}, bad
	}
	return c, nil
}

// String returns c as "v1.14".
func (c Contract) String() string { return fmt.Sprintf("v%d.%d", c.Major, c.Minor) }

// AtLeast reports whether c is other or newer.
func (c Contract) AtLeast(other Contract) bool {
	return c.Major > other.Major || c.Major == other.Major && c.Minor >= other.Minor
}

// since reports whether c is v1.minor or newer.
func (c Contract) since(minor int) bool { return c.AtLeast(Contract{1, minor}) }

// Mirror is where images of a registry are fetched instead.
type Mirror struct {
	Registry  string
	Endpoints []scalar.HTTPURL
}

// Input is what configs are generated from. The zero value of a field means its default, unless it says otherwise.
type Input struct {
	// ClusterName and Endpoint are required.
	ClusterName string
	Endpoint    scalar.HTTPSURL
	// Secrets are required.
	Secrets *secret.Bundle
	// Contract is the version that the configs are for; by default [Newest].
	Contract Contract
	// Kubernetes is the version without a leading "v"; by default [defaults.Kubernetes].
	Kubernetes string
	// InstallDisk is the device that the system is installed on; "" means none: a container, or a disk to be chosen later.
	InstallDisk string
	// InstallImage is the installer's image; "" leaves the choice to the machine, which takes its own version's.
	InstallImage string
	// ExtraSANs are more names and addresses in the certificates of both APIs.
	ExtraSANs []string
	// DNSDomain is the domain of services.
	DNSDomain string
	// Mirrors are registry mirrors, in the order in which they are written.
	Mirrors []Mirror
	// Discovery lets the machines find each other; off by default.
	Discovery bool
	// DiscoveryService is a discovery service outside of the cluster. Left out, the control plane serves discovery itself,
	// and the cluster needs nobody else.
	DiscoveryService *scalar.Endpoint
	// KubeSpan encrypts the traffic between the machines.
	KubeSpan bool
}

// Config returns the config of a machine of the given role. The result is valid for every mode that has what the input
// asks for.
func (in Input) Config(role schema.Role) (*config.Config, error) {
	if err := in.complete(); err != nil {
		return nil, fmt.Errorf("generate config: %w", err)
	}
	docs := in.rootStyle(role)
	if in.Contract.AtLeast(documents) {
		var err error
		if docs, err = in.documentStyle(role); err != nil {
			return nil, fmt.Errorf("generate config: %w", err)
		}
	}
	c, err := config.New(docs...)
	if err != nil {
		return nil, fmt.Errorf("generate config: %w", err)
	}
	return c, nil
}

// complete fills in defaults and reports what is missing.
func (in *Input) complete() error {
	switch {
	case in.ClusterName == "":
		return fmt.Errorf("the name of the cluster is missing")
	case in.Endpoint.URL.URL == nil:
		return fmt.Errorf("the endpoint of the cluster is missing")
	case in.Secrets == nil:
		return fmt.Errorf("the secrets of the cluster are missing")
	}
	if in.Contract == (Contract{}) {
		in.Contract = Newest
	}
	if in.Kubernetes == "" {
		in.Kubernetes = defaults.Kubernetes
	}
	if in.DNSDomain == "" {
		in.DNSDomain = defaults.DNSDomain
	}
	if in.KubeSpan && !in.Discovery {
		return fmt.Errorf("KubeSpan needs discovery: machines learn each other's keys by it")
	}
	return nil
}

// subnets returns the default prefixes of pods and services: of the endpoint's family if it is an address, else IPv4.
func (in Input) subnets() (pods, services []scalar.Prefix) {
	pod, service := defaults.PodSubnet4, defaults.ServiceSubnet4
	if a, err := netip.ParseAddr(in.Endpoint.Hostname()); err == nil && a.Is6() && !a.Is4In6() {
		pod, service = defaults.PodSubnet6, defaults.ServiceSubnet6
	}
	return []scalar.Prefix{prefix(pod)}, []scalar.Prefix{prefix(service)}
}

// prefix returns a constant of package defaults, all of which parse (a test holds that).
func prefix(s string) scalar.Prefix {
	p, _ := netip.ParsePrefix(s)
	return scalar.Prefix{Prefix: p}
}

// apiServerSANs returns the names and addresses in the API server's certificate besides those that it always has.
func (in Input) apiServerSANs() []string {
	return append([]string{in.Endpoint.Hostname()}, in.ExtraSANs...)
}

// podSecurity is the admission of pods: baseline enforced, restricted warned about and audited, except in kube-system.
func podSecurity() scalar.Object {
	return scalar.Object{
		"apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
		"kind":       "PodSecurityConfiguration",
		"defaults": map[string]any{
			"audit": "restricted", "audit-version": "latest",
			"enforce": "baseline", "enforce-version": "latest",
			"warn": "restricted", "warn-version": "latest",
		},
		"exemptions": map[string]any{
			"namespaces": []any{"kube-system"}, "runtimeClasses": []any{}, "usernames": []any{},
		},
	}
}

// auditPolicy logs the metadata of every request.
func auditPolicy() scalar.Object {
	return scalar.Object{
		"apiVersion": "audit.k8s.io/v1",
		"kind":       "Policy",
		"rules":      []any{map[string]any{"level": "Metadata"}},
	}
}

// The labels and the taint of control-plane nodes.
const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	excludeLabel      = "node.kubernetes.io/exclude-from-external-load-balancers"
	noSchedule        = "NoSchedule"
)
