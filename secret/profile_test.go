package secret

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// profiles are all leaves that a cluster needs, with the authority that issues each.
func profiles(t testing.TB) []struct {
	name, authority string
	leaf            Leaf
	want            string
} {
	t.Helper()

	sans := SANs{IPs: []netip.Addr{netip.MustParseAddr("10.5.0.2")}, DNS: []string{"cp-1"}}
	apiServer := must(KubeAPIServer(KubeAPIServerNames{
		Domain: "cluster.local",
		ServiceSubnets: []netip.Prefix{
			netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fc00:db8:20::/112"),
		},
		Extra: must(ParseSANs([]string{"10.5.0.2", "k8s.lab.example"}))(t),
	}))(t)

	return []struct {
		name, authority string
		leaf            Leaf
		want            string
	}{
		{"NodeServer", "os", NodeServer("cp-1", sans),
			"CN=cp-1 Ed25519 server 24h0m0s [cp-1] [10.5.0.2]"},
		{"NodeImpersonator", "os", NodeImpersonator("cp-1"),
			"CN=cp-1,O=os:impersonator Ed25519 client 24h0m0s [] []"},
		{"OSClient", "os", OSClient([]string{RoleAdmin}, 0),
			"O=os:admin Ed25519 client 8760h0m0s [] []"},
		{"OSClient with TTL", "os", OSClient([]string{RoleReader}, 6*time.Hour),
			"O=os:reader Ed25519 client 6h0m0s [] []"},
		{"EtcdServer", "etcd", EtcdServer("cp-1", sans),
			"CN=cp-1 ECDSA P-256 server client 8760h0m0s [localhost cp-1] [127.0.0.1 ::1 10.5.0.2]"},
		{"EtcdPeer", "etcd", EtcdPeer("cp-1", sans),
			"CN=cp-1 ECDSA P-256 server client 8760h0m0s [cp-1] [10.5.0.2]"},
		{"EtcdClient", "etcd", EtcdClient("kube-apiserver-etcd-client"),
			"CN=kube-apiserver-etcd-client ECDSA P-256 client 8760h0m0s [] []"},
		{"KubeAPIServer", "kubernetes", apiServer,
			"CN=kube-apiserver ECDSA P-256 server 8760h0m0s" +
				" [localhost kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local k8s.lab.example]" +
				" [127.0.0.1 ::1 10.96.0.1 fc00:db8:20::1 10.5.0.2]"},
		{"KubeletClient", "kubernetes", KubeletClient(),
			"CN=kube-apiserver-kubelet-client,O=system:masters ECDSA P-256 client 8760h0m0s [] []"},
		{"KubeletNode", "kubernetes", KubeletNode("cp-1"),
			"CN=system:node:cp-1,O=system:nodes ECDSA P-256 client 8760h0m0s [] []"},
		{"FrontProxyClient", "front-proxy", FrontProxyClient(),
			"CN=front-proxy-client ECDSA P-256 client 8760h0m0s [] []"},
		{"KubeControllerManager", "kubernetes", KubeControllerManager(),
			"CN=system:kube-controller-manager ECDSA P-256 client 8760h0m0s [] []"},
		{"KubeScheduler", "kubernetes", KubeScheduler(),
			"CN=system:kube-scheduler ECDSA P-256 client 8760h0m0s [] []"},
		{"KubeAdmin", "kubernetes", KubeAdmin(0),
			"CN=admin,O=system:masters ECDSA P-256 client 8760h0m0s [] []"},
		{"KubeAdmin with TTL", "kubernetes", KubeAdmin(time.Hour),
			"CN=admin,O=system:masters ECDSA P-256 client 1h0m0s [] []"},
	}
}

func TestProfiles(t *testing.T) {
	for _, tt := range profiles(t) {
		t.Run(tt.name, func(t *testing.T) {
			cert := must(publicAuthority(t, tt.authority).Issue(tt.leaf, testNow))(t).Certificate()

			usage := ""
			for _, u := range cert.ExtKeyUsage {
				usage += map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: " server", x509.ExtKeyUsageClientAuth: " client"}[u]
			}

			got := fmt.Sprintf("%s %s%s %s %s %s", cert.Subject, must(checkPublicKey(cert.PublicKey))(t), usage,
				cert.NotAfter.Sub(testNow), cert.DNSNames, cert.IPAddresses)
			if got != tt.want {
				t.Errorf("certificate of %s\n got %s\nwant %s", tt.name, got, tt.want)
			}

			if cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature {
				t.Errorf("%s: CA %t, key usage %b; want false and a digital signature only", tt.name, cert.IsCA, cert.KeyUsage)
			}

			if !cert.NotBefore.Equal(testNow.Add(-Backdate)) {
				t.Errorf("%s: NotBefore = %s; want %s before now", tt.name, cert.NotBefore, Backdate)
			}
		})
	}
}

// OpenSSL is the second opinion: what it accepts, other languages' clients accept.
func TestOpenSSLAcceptsEveryCertificate(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("the program openssl is missing")
	}

	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}

		return path
	}
	verify := func(authority, leaf, purpose string) ([]byte, error) {
		args := []string{
			"verify", "-attime", fmt.Sprint(testNow.Unix()), "-purpose", purpose,
			"-CAfile", filepath.Join(dir, authority+".crt"),
		}
		if authority != "front-proxy" { // whose subject is empty by contract and against RFC 5280
			args = append(args, "-x509_strict")
		}

		return exec.Command(openssl, append(args, leaf)...).CombinedOutput()
	}

	authorities := map[string]*Authority{}
	for name, kind := range map[string]AuthorityKind{"os": OS, "etcd": Etcd, "kubernetes": Kubernetes, "front-proxy": FrontProxy} {
		authorities[name] = must(NewAuthority(kind, testNow))(t)
		write(name+".crt", authorities[name].CertificatePEM())

		key := write(name+".key", authorities[name].Key().PEM())
		if out, err := exec.Command(openssl, "pkey", "-in", key, "-check", "-noout").CombinedOutput(); err != nil && kind != OS {
			t.Errorf("openssl pkey %s: %v\n%s", name, err, out) // OS: openssl does not know the block's name
		}
	}

	for _, tt := range profiles(t) {
		t.Run(tt.name, func(t *testing.T) {
			leaf := write("leaf.crt", must(authorities[tt.authority].Issue(tt.leaf, testNow))(t).CertificatePEM())

			for purpose, usage := range map[string]Usage{"sslserver": Server, "sslclient": Client} {
				out, err := verify(tt.authority, leaf, purpose)
				if ok := err == nil && bytes.Contains(out, []byte(": OK")); ok != (tt.leaf.Usage&usage != 0) {
					t.Errorf("openssl verify -purpose %s = %t; want %t\n%s", purpose, ok, !ok, out)
				}
			}
		})
	}

	t.Run("negative control", func(t *testing.T) {
		leaf := write("leaf.crt", must(authorities["etcd"].Issue(EtcdClient("x"), testNow))(t).CertificatePEM())
		if out, err := verify("kubernetes", leaf, "sslclient"); err == nil {
			t.Errorf("openssl verify accepts a certificate of another authority\n%s", out)
		}
	})
}

func TestFirstServiceIP(t *testing.T) {
	for _, tt := range []struct {
		name, subnet, want string
		errs               []string
	}{
		{"v4", "10.96.0.0/12", "10.96.0.1", nil},
		{"not masked", "10.96.7.9/12", "10.96.0.1", nil},
		{"v6", "fc00:db8:20::/112", "fc00:db8:20::1", nil},
		{"too small", "10.0.0.0/31", "invalid IP", []string{"10.0.0.0/31 has no room"}},
		{"none", "", "invalid IP", []string{"no room"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var subnet netip.Prefix
			if tt.subnet != "" {
				subnet = netip.MustParsePrefix(tt.subnet)
			}

			ip, err := FirstServiceIP(subnet)
			wantError(t, "FirstServiceIP", err, tt.errs...)

			if ip.String() != tt.want {
				t.Errorf("FirstServiceIP(%s) = %s; want %s", tt.subnet, ip, tt.want)
			}
		})
	}
}

func TestKubeAPIServerRefuses(t *testing.T) {
	_, err := KubeAPIServer(KubeAPIServerNames{})
	wantError(t, "KubeAPIServer", err, "no DNS domain")

	_, err = KubeAPIServer(KubeAPIServerNames{Domain: "x", ServiceSubnets: []netip.Prefix{{}}})
	wantError(t, "KubeAPIServer", err, "no room")
}
