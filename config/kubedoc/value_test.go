package kubedoc_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/doctest"
	"talos.internal/config/kubedoc"
)

func TestKindsByRole(t *testing.T) {
	want := map[string]bool{
		"KubeClusterConfig": false, "KubeNetworkConfig": false, "KubeNodeConfig": false, "KubeletConfig": false,
		"KubeCredentialProviderConfig": false, "KubePrismConfig": false, "KubeAPIServerCAConfig": false,
		"KubeStaticPodConfig": false, "KubeAggregatorCAConfig": true, "KubeServiceAccountConfig": true,
		"KubeAPIServerConfig": true, "KubeControllerManagerConfig": true, "KubeSchedulerConfig": true,
		"KubeAdmissionControlConfig": true, "KubeAuditPolicyConfig": true, "KubeAuthenticationConfig": true,
		"KubeAuthorizerConfig": true, "KubeEtcdEncryptionConfig": true, "KubeProxyConfig": true,
		"KubeFlannelCNIConfig": true, "KubeCoreDNSConfig": true, "KubeExternalManifestConfig": true,
		"KubeInlineManifestConfig": true, "KubeTalosAPIAccessConfig": true,
	}
	got := map[string]bool{}
	var named []string
	for _, k := range kubedoc.Kinds() {
		got[k.Name] = k.ControlPlaneOnly
		if k.Named() {
			named = append(named, k.Name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ControlPlaneOnly by kind differs (-want +got):\n%s", diff)
	}
	wantNamed := []string{
		"KubeAdmissionControlConfig", "KubeAuthorizerConfig", "KubeExternalManifestConfig", "KubeInlineManifestConfig",
		"KubeStaticPodConfig",
	}
	if diff := cmp.Diff(wantNamed, named); diff != "" {
		t.Errorf("named kinds differ (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	var (
		network   kubedoc.KubeNetworkConfig
		server    kubedoc.KubeAPIServerConfig
		manager   kubedoc.KubeControllerManagerConfig
		scheduler kubedoc.KubeSchedulerConfig
		proxy     kubedoc.KubeProxyConfig
		flannel   kubedoc.KubeFlannelCNIConfig
		dns       kubedoc.KubeCoreDNSConfig
	)
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"DNS domain", network.DNSDomainOrDefault(), "cluster.local"},
		{"IPv4 mask", network.NodeMaskIPv4OrDefault(), uint8(24)},
		{"IPv6 mask", network.NodeMaskIPv6OrDefault(), uint8(64)},
		{"API port", server.APIPortOrDefault(), uint16(6443)},
		{"startup probes", server.StartupProbesOrDefault(), true},
		{"controller manager", manager.EnabledOrDefault(), true},
		{"scheduler", scheduler.EnabledOrDefault(), true},
		{"kube-proxy", proxy.EnabledOrDefault(), true},
		{"kube-proxy's mode", proxy.ModeOrDefault(), "nftables"},
		{"flannel's backend", flannel.BackendTypeOrDefault(), "vxlan"},
		{"flannel's port", flannel.BackendPortOrDefault(), uint16(4789)},
		{"CoreDNS", dns.EnabledOrDefault(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got != tc.want {
				t.Errorf("default = %v; want %v", tc.got, tc.want)
			}
		})
	}
}

func TestSetValuesAreNotDefaults(t *testing.T) {
	no, port := false, uint16(7443)
	if got := (&kubedoc.KubeCoreDNSConfig{Enabled: &no}).EnabledOrDefault(); got {
		t.Errorf("EnabledOrDefault() = %v; want false", got)
	}
	if got := (&kubedoc.KubeAPIServerConfig{APIPort: &port}).APIPortOrDefault(); got != port {
		t.Errorf("APIPortOrDefault() = %d; want %d", got, port)
	}
}

func TestParsedTaints(t *testing.T) {
	c := kubedoc.KubeNodeConfig{Taints: map[string]string{"b": "true:NoExecute", "a": "NoSchedule", "c": "wrong", "d": ":PreferNoSchedule"}}
	want := []kubedoc.Taint{{Key: "a", Effect: "NoSchedule"}, {Key: "b", Value: "true", Effect: "NoExecute"}, {Key: "d", Effect: "PreferNoSchedule"}}
	if diff := cmp.Diff(want, c.ParsedTaints()); diff != "" {
		t.Errorf("ParsedTaints() differs (-want +got):\n%s", diff)
	}
}

func TestQuantity(t *testing.T) {
	for _, tc := range []struct {
		text string
		ok   bool
	}{
		{"0", true}, {"1", true}, {"+1", true}, {"1.", true}, {".5", true}, {"0.5", true}, {"100m", true}, {"1Ki", true}, {"1E", true},
		{"1Ei", true}, {"1e3", true}, {"1E-3", true}, {"1.5Gi", true},
		{"", false}, {".", false}, {"-1", false}, {"1K", false}, {"1ki", false}, {"1e", false}, {"1e99", false}, {"1Em", false},
		{"1 Gi", false}, {"Gi", false}, {"1.2.3", false}, {"0x10", false}, {"1_000", false}, {"1/2", false}, {"1ee3", false},
		{"1111111111111111111111111111111111111111111111111", false},
	} {
		t.Run(tc.text, func(t *testing.T) {
			var q kubedoc.Quantity
			err := q.UnmarshalText([]byte(tc.text))
			if (err == nil) != tc.ok {
				t.Errorf("UnmarshalText(%q) = %v; want an error: %v", tc.text, err, !tc.ok)
			}
		})
	}
}

func TestQuantityLess(t *testing.T) {
	for _, tc := range []struct {
		a, b kubedoc.Quantity
		want bool
	}{
		{"999m", "1", true}, {"1", "1000m", false}, {"1000m", "1", false}, {"1G", "1Gi", true}, {"1e3", "1k", false}, {"1E", "1Ei", true},
		{"", "0", true}, {"0", "", false}, {"1n", "1u", true}, {"1e-3", "2m", true},
	} {
		t.Run(string(tc.a+"<"+tc.b), func(t *testing.T) {
			if got := tc.a.Less(tc.b); got != tc.want {
				t.Errorf("%q.Less(%q) = %v; want %v", string(tc.a), string(tc.b), got, tc.want)
			}
		})
	}
}

func TestPublicKeyPEM(t *testing.T) {
	replacer := doctest.Material(t)
	for _, tc := range []struct {
		name, text, want string
	}{
		{"a public key", "${PUBLIC}", ""},
		{"two public keys", "${PUBLIC}${RSAPUBLIC}", ""},
		{"a certificate", "${CA}", ""},
		{"nothing", "", "there is no PEM block in it"},
		{"text after the key", "${PUBLIC}x", "there is something other than PEM blocks in it"},
		{"a private key", "${CAKEY}", `the PEM block is a "PRIVATE KEY"`},
		{"an Ed25519 key", "${EDPUBLIC}", "expected an RSA or ECDSA key, got an Ed25519 key"},
		{"a short RSA key", "${WEAKPUBLIC}", "the RSA key has 1024 bits; at least 2048 are needed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var k kubedoc.PublicKeyPEM
			got := ""
			if err := k.UnmarshalText([]byte(strings.ReplaceAll(replacer.Replace(tc.text), `\n`, "\n"))); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("UnmarshalText(%s) = %q; want %q", tc.text, got, tc.want)
			}
		})
	}
}
