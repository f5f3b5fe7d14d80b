package secretsctrl

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"talos.internal/config/kubedoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

// rootOS is the controller "secrets.RootOSController".
func rootOS() controller.Controller {
	return fromConfig[secrets.OSRoot]{name: "secrets.RootOSController", id: secrets.OSRootID, derive: osRoot}
}

// rootEtcd is the controller "secrets.RootEtcdController".
func rootEtcd() controller.Controller {
	return fromConfig[secrets.EtcdRoot]{name: "secrets.RootEtcdController", id: secrets.EtcdRootID, derive: etcdRoot}
}

// rootKubernetes is the controller "secrets.RootKubernetesController".
func rootKubernetes() controller.Controller {
	return fromConfig[secrets.KubernetesRoot]{name: "secrets.RootKubernetesController", id: secrets.KubernetesRootID, derive: kubernetesRoot}
}

// kubelet is the controller "secrets.KubeletController".
func kubelet() controller.Controller {
	return fromConfig[secrets.Kubelet]{name: "secrets.KubeletController", id: secrets.KubeletID, derive: kubeletSecrets}
}

// staticEndpoint is the controller "k8s.StaticEndpointController". Those that learn the addresses of API servers elsewhere share the
// type.
func staticEndpoint() controller.Controller {
	return fromConfig[kube.Endpoint]{name: "k8s.StaticEndpointController", id: kube.EndpointControlPlane, shared: true, derive: endpointOf}
}

// osRoot has the issuing authority on control-plane nodes only, even if a worker's config has its key. The cluster's endpoint is
// a name of every control-plane node: workers that know no other look for trustd there.
func osRoot(c *effective.Config) (*secrets.OSRoot, error) {
	root, _, ok := rootdoc.Find(c.Set)
	if !ok || root.Machine == nil || root.Role() == "" {
		return nil, nil
	}
	m := root.Machine
	out := &secrets.OSRoot{Token: m.Token}
	if m.CA != nil && m.CA.Cert != "" {
		out.AcceptedCAs = append(out.AcceptedCAs, secrets.Certificate{Crt: []byte(m.CA.Cert)})
	}
	for _, ca := range m.AcceptedCAs {
		out.AcceptedCAs = appendCA(out.AcceptedCAs, string(ca.Cert))
	}
	sans, err := secret.ParseSANs(m.CertSANs)
	if err != nil {
		return nil, fmt.Errorf("machine.certSANs of the machine config: %w", err)
	}
	if root.Role() == schema.ControlPlane {
		if m.CA != nil && m.CA.Key != "" {
			out.IssuingCA = &secrets.CertificateAndKey{Crt: []byte(m.CA.Cert), Key: []byte(m.CA.Key)}
		}
		if d, ok := schema.Find[*kubedoc.KubeClusterConfig](c.Set); ok && d.Endpoint.URL.URL != nil {
			sans = withName(sans, d.Endpoint.Hostname())
		}
		if _, ok := schema.Find[*kubedoc.KubeTalosAPIAccessConfig](c.Set); ok {
			// The service that pods call, as package accessctrl names it.
			for _, name := range []string{"talos", "talos.default", "talos.default.svc"} {
				sans = withName(sans, name)
			}
		}
	}
	out.CertSANIPs, out.CertSANDNSNames = sans.IPs, sans.DNS
	return out, nil
}

func etcdRoot(c *effective.Config) (*secrets.EtcdRoot, error) {
	root, _, ok := rootdoc.Find(c.Set)
	if !ok || root.Role() != schema.ControlPlane || root.Cluster == nil || root.Cluster.Etcd == nil || root.Cluster.Etcd.CA == nil {
		return nil, nil
	}
	ca := root.Cluster.Etcd.CA
	return &secrets.EtcdRoot{EtcdCA: secrets.CertificateAndKey{Crt: []byte(ca.Cert), Key: []byte(ca.Key)}}, nil
}

// kubernetesRoot leaves the two encryption secrets empty: the config's conversion makes an EtcdEncryptionConfig of them, with the
// names that their keys had.
func kubernetesRoot(c *effective.Config) (*secrets.KubernetesRoot, error) {
	root, _, ok := rootdoc.Find(c.Set)
	if !ok || root.Role() != schema.ControlPlane || root.Cluster == nil {
		return nil, nil
	}
	cluster, ok1 := schema.Find[*kubedoc.KubeClusterConfig](c.Set)
	ca, ok2 := schema.Find[*kubedoc.KubeAPIServerCAConfig](c.Set)
	if !ok1 || !ok2 || ca.IssuingCA == nil || cluster.Endpoint.URL.URL == nil {
		return nil, nil
	}
	out := &secrets.KubernetesRoot{
		Name: cluster.ClusterName, Endpoint: urlOf(cluster.Endpoint.URL),
		IssuingCA:   authority(ca.IssuingCA),
		AcceptedCAs: accepted(ca.IssuingCA, ca.AcceptedCAs),
	}
	api, _ := schema.Find[*kubedoc.KubeAPIServerConfig](c.Set)
	if api == nil {
		api = &kubedoc.KubeAPIServerConfig{}
	}
	out.CertSANs = append([]string{cluster.Endpoint.Hostname()}, api.CertExtraSANs...)
	// Not localhost: that would have to be resolved, and the API server listens on all addresses.
	out.LocalEndpoint = localURL(api.APIPortOrDefault())
	net, _ := schema.Find[*kubedoc.KubeNetworkConfig](c.Set)
	if net == nil {
		net = &kubedoc.KubeNetworkConfig{}
	}
	out.DNSDomain = net.DNSDomainOrDefault()
	for _, subnet := range net.ServiceSubnets {
		ip, err := secret.FirstServiceIP(subnet.Prefix)
		if err != nil {
			return nil, fmt.Errorf("address of the service kubernetes: %w", err)
		}
		out.APIServerIPs = append(out.APIServerIPs, ip)
	}
	if agg, ok := schema.Find[*kubedoc.KubeAggregatorCAConfig](c.Set); ok {
		out.AggregatorCA = authority(agg.IssuingCA)
		out.AcceptedAggregatorCAs = accepted(agg.IssuingCA, agg.AcceptedCAs)
	}
	if sa, ok := schema.Find[*kubedoc.KubeServiceAccountConfig](c.Set); ok {
		serviceAccount(out, sa)
	}
	if enc, ok := schema.Find[*kubedoc.KubeEtcdEncryptionConfig](c.Set); ok {
		out.EtcdEncryptionConfig = enc.Config
	}
	token, err := bootstrapToken(root)
	if err != nil {
		return nil, err
	}
	out.BootstrapTokenID, out.BootstrapTokenSecret = token.ID(), token.Secret().Reveal()
	return out, nil
}

// serviceAccount fills in what tokens of service accounts are made with. Audiences that are left out are the issuers.
func serviceAccount(out *secrets.KubernetesRoot, sa *kubedoc.KubeServiceAccountConfig) {
	if sa.Issuer != nil {
		out.ServiceAccount.Key = []byte(sa.Issuer.PrivateKey)
		out.IssuerURL = textOf(sa.Issuer.IssuerURL.URL)
	}
	if sa.Accepted != nil {
		for _, k := range sa.Accepted.PublicKeys {
			out.ServiceAccountAcceptedKeys = append(out.ServiceAccountAcceptedKeys, secrets.Key{Key: []byte(k)})
		}
		for _, i := range sa.Accepted.Issuers {
			out.AcceptedIssuers = append(out.AcceptedIssuers, textOf(i.URL))
		}
		out.APIAudiences = slices.Clone(sa.Accepted.Audiences)
	}
	if len(out.APIAudiences) == 0 && out.IssuerURL != "" {
		out.APIAudiences = append([]string{out.IssuerURL}, out.AcceptedIssuers...)
	}
}

// kubeletSecrets leads the kubelet to KubePrism where there is one; the API servers are then known by the name that KubePrism's
// document has, or by that of the cluster's endpoint.
func kubeletSecrets(c *effective.Config) (*secrets.Kubelet, error) {
	root, _, ok := rootdoc.Find(c.Set)
	cluster, ok1 := schema.Find[*kubedoc.KubeClusterConfig](c.Set)
	ca, ok2 := schema.Find[*kubedoc.KubeAPIServerCAConfig](c.Set)
	if !ok || !ok1 || !ok2 || root.Cluster == nil || cluster.Endpoint.URL.URL == nil {
		return nil, nil
	}
	token, err := bootstrapToken(root)
	if err != nil {
		return nil, err
	}
	out := &secrets.Kubelet{
		Endpoint: urlOf(cluster.Endpoint.URL), AcceptedCAs: accepted(ca.IssuingCA, ca.AcceptedCAs),
		BootstrapTokenID: token.ID(), BootstrapTokenSecret: token.Secret().Reveal(),
	}
	if prism, ok := schema.Find[*kubedoc.KubePrismConfig](c.Set); ok {
		out.Endpoint, out.EndpointTLSServerName = localURL(prism.Port), prism.TLSServerName
		if out.EndpointTLSServerName == "" {
			out.EndpointTLSServerName = cluster.Endpoint.Hostname()
		}
	}
	return out, nil
}

func endpointOf(c *effective.Config) (*kube.Endpoint, error) {
	d, ok := schema.Find[*kubedoc.KubeClusterConfig](c.Set)
	if !ok || d.Endpoint.URL.URL == nil {
		return nil, nil
	}
	host := d.Endpoint.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		return &kube.Endpoint{Addresses: []netip.Addr{addr}}, nil
	}
	return &kube.Endpoint{Hosts: []string{host}}, nil
}

func bootstrapToken(root *rootdoc.Config) (secret.Token, error) {
	if root.Cluster.Token == "" {
		return secret.Token{}, nil
	}
	t, err := secret.ParseToken(root.Cluster.Token)
	if err != nil {
		return t, fmt.Errorf("cluster.token of the machine config: %w", err)
	}
	return t, nil
}

func authority(a *kubedoc.Authority) secrets.CertificateAndKey {
	if a == nil {
		return secrets.CertificateAndKey{}
	}
	return secrets.CertificateAndKey{Crt: []byte(a.Cert), Key: []byte(a.Key)}
}

// accepted returns the authorities that are believed: the issuing one first.
func accepted(issuing *kubedoc.Authority, more []scalar.CertPEM) []secrets.Certificate {
	var out []secrets.Certificate
	if issuing != nil {
		out = appendCA(out, string(issuing.Cert))
	}
	for _, c := range more {
		out = appendCA(out, string(c))
	}
	return out
}

func appendCA(list []secrets.Certificate, pem string) []secrets.Certificate {
	if pem == "" || slices.ContainsFunc(list, func(c secrets.Certificate) bool { return string(c.Crt) == pem }) {
		return list
	}
	return append(list, secrets.Certificate{Crt: []byte(pem)})
}

// withName adds an address or a DNS name, if it is not there yet.
func withName(s secret.SANs, name string) secret.SANs {
	if addr, err := netip.ParseAddr(name); err == nil {
		if !slices.Contains(s.IPs, addr) {
			s.IPs = append(s.IPs, addr)
		}
	} else if name != "" && !slices.Contains(s.DNS, name) {
		s.DNS = append(s.DNS, name)
	}
	return s
}

func localURL(port uint16) resource.URL {
	return resource.URL{URL: url.URL{Scheme: "https", Host: "127.0.0.1:" + strconv.Itoa(int(port))}}
}

func urlOf(u scalar.URL) resource.URL { return resource.URL{URL: *u.URL} }

func textOf(u scalar.URL) string {
	if u.URL == nil {
		return ""
	}
	return u.String()
}
