package generate

import (
	"fmt"
	"strconv"

	"talos.internal/config/blockdoc"
	"talos.internal/config/defaults"
	"talos.internal/config/expr"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/secret"
)

// documentStyle returns the config as versions from v1.14 on have it: a short root document and one document for each
// thing.
func (in Input) documentStyle(role schema.Role) ([]schema.Document, error) {
	docs := []schema.Document{&rootdoc.Config{
		Version: rootdoc.Version,
		Persist: new(true),
		Machine: in.machine(role),
		Cluster: in.cluster(role),
	}}
	for _, part := range []func() ([]schema.Document, error){in.membership, in.system} {
		more, err := part()
		if err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	docs = append(docs, in.node(role)...)
	if role == schema.ControlPlane {
		docs = append(docs, in.controlPlane()...)
	}
	return docs, nil
}

// membership returns how machines find each other.
func (in Input) membership() ([]schema.Document, error) {
	if !in.Discovery {
		return nil, nil
	}
	var docs []schema.Document
	if in.DiscoveryService != nil {
		docs = append(docs, &sysdoc.DiscoveryServiceConfig{Name: "default", Endpoint: *in.DiscoveryService})
	}
	identity := &sysdoc.DiscoveryIdentityConfig{}
	if err := identity.ClusterID.UnmarshalText([]byte(in.Secrets.ClusterID)); err != nil {
		return nil, fmt.Errorf("the cluster's id is no base64: %w", err)
	}
	if err := identity.ClusterSecret.UnmarshalText([]byte(in.Secrets.ClusterSecret.Reveal())); err != nil {
		return nil, fmt.Errorf("the cluster's secret is no base64: %w", err)
	}
	docs = append(docs, identity)
	if in.KubeSpan {
		docs = append(docs, &netdoc.KubeSpanConfig{Enabled: true})
	}
	return docs, nil
}

// system returns the documents about the machine's own system.
func (in Input) system() ([]schema.Document, error) {
	var docs []schema.Document
	if in.InstallDisk != "" {
		var selector expr.DiskSelector
		text := "disk.dev_path == " + strconv.Quote(in.InstallDisk)
		if err := selector.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("install disk %q: %w", in.InstallDisk, err)
		}
		install := &sysdoc.UnattendedInstallConfig{
			Provisioning: &sysdoc.InstallProvisioning{
				DiskSelector: &sysdoc.InstallDiskSelector{Match: selector},
				Wipe:         new(false),
			},
		}
		if in.InstallImage != "" {
			install.Installer = &sysdoc.Installer{Image: scalar.Image(in.InstallImage)}
		}
		docs = append(docs, install)
	}
	for _, m := range in.Mirrors {
		mirror := &sysdoc.RegistryMirrorConfig{Name: m.Registry}
		for _, u := range m.Endpoints {
			mirror.Endpoints = append(mirror.Endpoints, sysdoc.RegistryEndpoint{URL: u})
		}
		docs = append(docs, mirror)
	}
	return append(docs,
		&netdoc.ResolverConfig{HostDNS: &netdoc.HostDNS{Enabled: true, ForwardKubeDNSToHost: true}},
		&blockdoc.VolumeConfig{Name: blockdoc.Ephemeral, Mount: &blockdoc.Mount{Secure: new(true)}},
		&blockdoc.FilesystemTrimConfig{Interval: &scalar.Duration{Duration: defaults.TrimInterval}},
		&sysdoc.SecurityProfileConfig{WorkloadIsolation: true},
		&netdoc.HostnameConfig{Auto: "stable"},
	), nil
}

// node returns the Kubernetes documents that every machine has.
func (in Input) node(role schema.Role) []schema.Document {
	pods, services := in.subnets()
	node := &kubedoc.KubeNodeConfig{NodeIP: &kubedoc.NodeIPConfig{}}
	authority := &kubedoc.KubeAPIServerCAConfig{
		AcceptedCAs: []scalar.CertPEM{scalar.CertPEM(in.Secrets.Kubernetes.CertificatePEM())},
	}
	if role == schema.ControlPlane {
		node.Labels = map[string]string{controlPlaneLabel: "", excludeLabel: ""}
		node.Taints = map[string]string{controlPlaneLabel: noSchedule}
		authority = &kubedoc.KubeAPIServerCAConfig{IssuingCA: issuing(in.Secrets.Kubernetes)}
	}
	return []schema.Document{
		&kubedoc.KubeClusterConfig{ClusterName: in.ClusterName, Endpoint: in.Endpoint},
		node,
		&kubedoc.KubeletConfig{
			Image:                               scalar.Image(defaults.ImagesOf(in.Kubernetes).Kubelet),
			Config:                              scalar.Object{},
			DefaultRuntimeSeccompProfileEnabled: true,
		},
		&kubedoc.KubeNetworkConfig{DNSDomain: in.DNSDomain, PodSubnets: pods, ServiceSubnets: services},
		authority,
		&kubedoc.KubePrismConfig{Port: defaults.KubePrismPort},
	}
}

// controlPlane returns the Kubernetes documents of a control-plane node.
func (in Input) controlPlane() []schema.Document {
	images := defaults.ImagesOf(in.Kubernetes)
	flannelPort := uint16(defaults.FlannelPort)
	return []schema.Document{
		&kubedoc.KubeAggregatorCAConfig{IssuingCA: issuing(in.Secrets.FrontProxy)},
		&kubedoc.KubeAdmissionControlConfig{Name: "PodSecurity", Configuration: podSecurity()},
		&kubedoc.KubeAuditPolicyConfig{Configuration: auditPolicy()},
		&kubedoc.KubeAuthenticationConfig{Configuration: anonymousHealth()},
		&kubedoc.KubeAuthorizerConfig{Name: "node", Type: "Node"},
		&kubedoc.KubeAuthorizerConfig{Name: "rbac", Type: "RBAC"},
		&kubedoc.KubeEtcdEncryptionConfig{Config: in.etcdEncryption()},
		&kubedoc.KubeServiceAccountConfig{Issuer: &kubedoc.ServiceAccountIssuer{
			PrivateKey: scalar.KeyPEM(in.Secrets.ServiceAccount.PEM()),
			IssuerURL:  scalar.HTTPURL{URL: in.Endpoint.URL},
		}},
		&kubedoc.KubeAPIServerConfig{Image: scalar.Image(images.APIServer), CertExtraSANs: in.ExtraSANs},
		&kubedoc.KubeControllerManagerConfig{Image: scalar.Image(images.ControllerManager)},
		&kubedoc.KubeSchedulerConfig{Image: scalar.Image(images.Scheduler), Config: scalar.Object{}},
		&kubedoc.KubeProxyConfig{Image: scalar.Image(images.Proxy), Config: scalar.Object{}},
		&kubedoc.KubeFlannelCNIConfig{BackendType: defaults.FlannelBackend, BackendPort: &flannelPort},
		&kubedoc.KubeCoreDNSConfig{Enabled: new(true)},
	}
}

func issuing(a *secret.Authority) *kubedoc.Authority {
	return &kubedoc.Authority{Cert: scalar.CertPEM(a.CertificatePEM()), Key: scalar.KeyPEM(a.Key().PEM())}
}

// anonymousHealth lets callers without credentials see whether the API server is well, and nothing else.
func anonymousHealth() scalar.Object {
	return scalar.Object{
		"anonymous": map[string]any{
			"enabled": true,
			"conditions": []any{
				map[string]any{"path": "/livez"}, map[string]any{"path": "/readyz"}, map[string]any{"path": "/healthz"},
			},
		},
		"jwt": []any{},
	}
}

// etcdEncryption encrypts secrets in etcd by the keys of the bundle, the newer form first.
func (in Input) etcdEncryption() scalar.Object {
	var providers []any
	provider := func(kind, name string, key secret.Text) {
		if !key.IsZero() {
			providers = append(providers, map[string]any{
				kind: map[string]any{"keys": []any{map[string]any{"name": name, "secret": key.Reveal()}}},
			})
		}
	}
	provider("secretbox", "key2", in.Secrets.SecretboxSecret)
	provider("aescbc", "key1", in.Secrets.AESCBCSecret)
	return scalar.Object{
		"resources": []any{map[string]any{"resources": []any{"secrets"}, "providers": providers}},
	}
}
