package generate

import (
	"talos.internal/config/defaults"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

// rootStyle returns the config as versions before v1.14 have it: one root document.
func (in Input) rootStyle(role schema.Role) []schema.Document {
	root := &rootdoc.Config{
		Version: rootdoc.Version,
		Persist: new(true),
		Machine: in.rootMachine(role),
		Cluster: in.rootCluster(role),
	}
	return []schema.Document{root}
}

func (in Input) rootMachine(role schema.Role) *rootdoc.Machine {
	m := in.machine(role)
	m.Kubelet = &rootdoc.Kubelet{Image: scalar.Image(defaults.ImagesOf(in.Kubernetes).Kubelet)}
	if in.Contract.since(2) {
		m.Kubelet.DefaultRuntimeSeccompProfileEnabled = new(true)
		m.Kubelet.DisableManifestsDirectory = new(true)
	}
	m.Network = &rootdoc.Network{}
	if in.KubeSpan {
		m.Network.KubeSpan = &rootdoc.KubeSpan{Enabled: new(true)}
	}
	if in.InstallDisk != "" {
		m.Install = &rootdoc.Install{Disk: in.InstallDisk, Image: scalar.Image(in.InstallImage), Wipe: new(false)}
	}
	for _, mirror := range in.Mirrors {
		if m.Registries == nil {
			m.Registries = &rootdoc.Registries{Mirrors: map[string]rootdoc.Mirror{}}
		}
		m.Registries.Mirrors[mirror.Registry] = rootdoc.Mirror{Endpoints: mirror.Endpoints}
	}
	m.Features = in.rootFeatures()
	if role == schema.ControlPlane && in.Contract.since(8) {
		m.NodeLabels = map[string]string{excludeLabel: ""}
	}
	return m
}

func (in Input) rootFeatures() *rootdoc.Features {
	f := &rootdoc.Features{RBAC: new(true)}
	if in.Contract.since(2) {
		f.StableHostname = new(true)
	}
	if in.Contract.since(3) {
		f.APIDCheckExtKeyUsage = new(true)
	}
	if in.Contract.since(5) {
		f.DiskQuotaSupport = true
	}
	if in.Contract.since(6) {
		f.KubePrism = &rootdoc.KubePrism{Enabled: new(true), Port: defaults.KubePrismPort}
	}
	if in.Contract.since(7) {
		f.HostDNS = &rootdoc.HostDNS{Enabled: new(true)}
		if in.Contract.since(8) {
			f.HostDNS.ForwardKubeDNSToHost = new(true)
		}
	}
	return f
}

func (in Input) rootCluster(role schema.Role) *rootdoc.Cluster {
	s := in.Secrets
	pods, services := in.subnets()
	c := in.cluster(role)
	c.ID, c.Secret = s.ClusterID, s.ClusterSecret.Reveal()
	c.ControlPlane = &rootdoc.ControlPlane{Endpoint: in.Endpoint}
	c.Network = &rootdoc.ClusterNetwork{DNSDomain: in.DNSDomain, PodSubnets: pods, ServiceSubnets: services}
	c.CA = certificate(s.Kubernetes)
	c.Discovery = in.rootDiscovery()
	if role == schema.Worker {
		return c
	}
	c.ClusterName = in.ClusterName
	c.CA = pair(s.Kubernetes)
	c.AggregatorCA = pair(s.FrontProxy)
	c.ServiceAccount = &rootdoc.Key{Key: scalar.EncodedKey(s.ServiceAccount.PEM())}
	c.SecretboxEncryptionSecret = s.SecretboxSecret.Reveal()
	c.AESCBCEncryptionSecret = s.AESCBCSecret.Reveal()
	images := defaults.ImagesOf(in.Kubernetes)
	c.APIServer = &rootdoc.APIServer{
		Image:                    scalar.Image(images.APIServer),
		CertSANs:                 in.apiServerSANs(),
		DisablePodSecurityPolicy: new(true),
		AdmissionControl:         []rootdoc.AdmissionPlugin{{Name: "PodSecurity", Configuration: podSecurity()}},
		AuditPolicy:              auditPolicy(),
	}
	c.ControllerManager = &rootdoc.ControllerManager{Image: scalar.Image(images.ControllerManager)}
	c.Proxy = &rootdoc.Proxy{Image: scalar.Image(images.Proxy)}
	c.Scheduler = &rootdoc.Scheduler{Image: scalar.Image(images.Scheduler)}
	return c
}

func (in Input) rootDiscovery() *rootdoc.Discovery {
	d := &rootdoc.Discovery{
		Enabled: new(in.Discovery),
		Registries: &rootdoc.DiscoveryRegistries{
			Kubernetes: &rootdoc.Disabled{Disabled: new(true)},
			Service:    &rootdoc.DiscoveryService{},
		},
	}
	if in.DiscoveryService == nil {
		d.Registries.Service.Disabled = new(true)
	} else {
		d.Registries.Service.Endpoint = *in.DiscoveryService
	}
	return d
}

// machine returns the part of the root document's machine that has no other document: the same in both styles.
func (in Input) machine(role schema.Role) *rootdoc.Machine {
	m := &rootdoc.Machine{
		Type:     string(role),
		Token:    in.Secrets.MachineToken.Reveal(),
		CA:       certificate(in.Secrets.OS),
		CertSANs: in.ExtraSANs,
		Features: &rootdoc.Features{DiskQuotaSupport: true},
	}
	if role == schema.ControlPlane {
		m.CA = pair(in.Secrets.OS)
	}
	return m
}

// cluster is the same for the root document's cluster.
func (in Input) cluster(role schema.Role) *rootdoc.Cluster {
	c := &rootdoc.Cluster{Token: in.Secrets.BootstrapToken.Reveal()}
	if role == schema.ControlPlane {
		c.Etcd = &rootdoc.Etcd{CA: pair(in.Secrets.Etcd)}
	}
	return c
}

func pair(a *secret.Authority) *rootdoc.CertAndKey {
	c := certificate(a)
	c.Key = scalar.EncodedKey(a.Key().PEM())
	return c
}

func certificate(a *secret.Authority) *rootdoc.CertAndKey {
	return &rootdoc.CertAndKey{Cert: scalar.EncodedCert(a.CertificatePEM())}
}
