package secretsctrl

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/resource/clock"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

var nodeNames = []string{"10.5.0.2", "fd00::2", "node-1", "node-1.lab.internal", "api.example.com", "203.0.113.7"}

func TestAControlPlaneNodeIssuesItsOwnCertificates(t *testing.T) {
	for _, style := range []string{oldStyle, newStyle} {
		t.Run(style, func(t *testing.T) {
			run(t, Deps{}, func(n *node) {
				n.ready()
				n.configure(configText(n.T, n.bundle, style, schema.ControlPlane, ""), machineconfig.TypeControlPlane)
				api := n.wantAPI("be the node's", func(a secrets.API) bool { return !a.SkipVerifyingClientCert })
				server := certOf(n.T, api.Server)
				verify(n.T, "server", server, n.bundle.OS, secret.Server, append(nodeNames, "k8s.example.com")...)
				if api.Client == nil {
					n.T.Fatal("no client certificate")
				}
				client := certOf(n.T, *api.Client)
				verify(n.T, "client", client, n.bundle.OS, secret.Client)
				if got := secret.Roles(client); !slices.Equal(got, []string{secret.RoleImpersonator}) || len(secret.Roles(server)) > 0 {
					n.T.Errorf("roles of client and server = %q, %q; want os:impersonator and none", got, secret.Roles(server))
				}
				if len(api.AcceptedCAs) != 1 || !bytes.Equal(api.AcceptedCAs[0].Crt, n.bundle.OS.CertificatePEM()) {
					n.T.Errorf("%d accepted authorities; want the cluster's", len(api.AcceptedCAs))
				}
				if life := time.Until(server.NotAfter); life > 24*time.Hour || life < 23*time.Hour {
					n.T.Errorf("it lives %s; want 24 h", life)
				}
				trustd := wantSpec[secrets.Trustd](n, secrets.TrustdID)
				verify(n.T, "trustd", certOf(n.T, trustd.Server), n.bundle.OS, secret.Server, append(nodeNames, "k8s.example.com")...)
			})
		})
	}
}

func TestCertificatesAreRenewedAtAboutHalfLife(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.ready()
		n.controlPlane()
		first := n.wantAPI("be issued", func(a secrets.API) bool { return a.Client != nil })
		cert := certOf(n.T, first.Server)
		life := cert.NotAfter.Sub(cert.NotBefore)
		n.Advance(time.Until(secret.HalfLife(cert)) - life/20 - time.Minute)
		n.wantAPI("still be the first", func(a secrets.API) bool { return bytes.Equal(a.Server.Crt, first.Server.Crt) })
		n.Advance(life/20 + 2*time.Minute)
		second := n.wantAPI("be renewed", func(a secrets.API) bool {
			return !bytes.Equal(a.Server.Crt, first.Server.Crt) && !bytes.Equal(a.Client.Crt, first.Client.Crt)
		})
		if bytes.Equal(first.Server.Key, second.Server.Key) {
			n.T.Error("the key was used again")
		}
		verify(n.T, "server", certOf(n.T, second.Server), n.bundle.OS, secret.Server, nodeNames...)
		n.Advance(14 * time.Hour)
		n.wantAPI("be valid later", func(a secrets.API) bool { return time.Until(certOf(n.T, a.Server).NotAfter) > 11*time.Hour })
		trustd := wantSpec[secrets.Trustd](n, secrets.TrustdID)
		verify(n.T, "trustd", certOf(n.T, trustd.Server), n.bundle.OS, secret.Server)
	})
}

func TestNewAddressesAndNamesGetACertificateAtOnce(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.ready()
		n.controlPlane()
		first := n.wantAPI("be issued", func(a secrets.API) bool { return a.Client != nil })
		n.addresses("10.5.0.2/24", "192.168.7.7/32")
		n.wantAPI("have the new address", func(a secrets.API) bool { return certOf(n.T, a.Server).VerifyHostname("192.168.7.7") == nil })
		n.named("node-2")
		last := n.wantAPI("have the new name", func(a secrets.API) bool { return certOf(n.T, a.Server).VerifyHostname("node-2.lab.internal") == nil })
		if bytes.Equal(last.Client.Crt, first.Client.Crt) {
			n.T.Error("the client certificate has the old name")
		}
		n.Advance(time.Hour)
		again := n.wantAPI("be there", anyAPI)
		if !bytes.Equal(again.Server.Crt, last.Server.Crt) || !bytes.Equal(again.Client.Crt, last.Client.Crt) {
			n.T.Error("certificates were issued anew without a reason")
		}
	})
}

func TestNothingIsIssuedBeforeClockAndNetwork(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.named("node-1")
		n.addresses("10.5.0.2/24")
		n.controlPlane()
		controllertest.WantNever[secrets.API](n.Harness, secrets.APIID)
		n.synced()
		controllertest.WantNever[secrets.API](n.Harness, secrets.APIID)
		controllertest.WantNever[secrets.Etcd](n.Harness, secrets.EtcdID)
		n.online()
		n.wantAPI("be issued", anyAPI)
		controllertest.Modify(n.Harness, clock.TimeStatusID, func(s *clock.TimeStatus) { s.Synced = false })
		controllertest.Modify(n.Harness, network.StatusID, func(s *network.Status) { s.AddressReady = false })
		n.Settle()
		n.wantAPI("stay", anyAPI)
	})
}

func TestWithoutAConfigTheNodeHasAnAPIOfItsOwn(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.named("node-1")
		n.addresses("10.5.0.2/24")
		// Nobody has looked for the config yet: strangers are not let in.
		controllertest.WantNever[secrets.API](n.Harness, secrets.APIID)
		controllertest.Create(n.Harness, runtime.MaintenanceServiceID, runtime.MaintenanceServiceRequest{})
		api := n.wantAPI("be in maintenance", func(a secrets.API) bool { return a.SkipVerifyingClientCert })
		if api.Client != nil || len(api.AcceptedCAs) != 0 {
			n.T.Errorf("client certificate %v, %d accepted authorities; want none", api.Client != nil, len(api.AcceptedCAs))
		}
		cert := certOf(n.T, api.Server)
		if cert.Subject.CommonName != "maintenance-service.talos.dev" {
			n.T.Errorf("it is for %q", cert.Subject.CommonName)
		}
		root := wantSpec[secrets.MaintenanceRoot](n, secrets.MaintenanceRootID)
		ca, err := secret.ParseAuthority(root.CA.Crt, root.CA.Key)
		verify(n.T, "maintenance", cert, must(n.T, ca, err), secret.Server, "10.5.0.2", "node-1")

		// A pin on what the console has shown goes on working.
		n.addresses("10.5.0.3/24")
		n.Advance(24 * time.Hour)
		if again := wantSpec[secrets.API](n, secrets.APIID); !bytes.Equal(again.Server.Crt, api.Server.Crt) {
			n.T.Error("the certificate was made anew when addresses and time changed")
		}

		// With a config it goes, even if the node's own one has to wait for the clock.
		n.controlPlane()
		controllertest.WantGone[secrets.API](n.Harness, secrets.APIID)
		n.online()
		n.synced()
		n.wantAPI("be the node's", func(a secrets.API) bool { return !a.SkipVerifyingClientCert && len(a.AcceptedCAs) == 1 })
	})
}

func TestANewIssuingAuthorityIssuesAtOnce(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.ready()
		n.controlPlane()
		n.wantAPI("be issued", func(a secrets.API) bool { return a.Client != nil })
		old := n.bundle.OS
		next, err := secret.NewAuthority(secret.OS, time.Now())
		n.bundle.OS = must(n.T, next, err)
		n.controlPlane()
		api := n.wantAPI("be of the new authority", func(a secrets.API) bool { return certOf(n.T, a.Server).CheckSignatureFrom(next.Certificate()) == nil })
		verify(n.T, "server", certOf(n.T, api.Server), next, secret.Server)
		verify(n.T, "client", certOf(n.T, *api.Client), next, secret.Client)
		if certOf(n.T, api.Server).CheckSignatureFrom(old.Certificate()) == nil {
			n.T.Error("it is of the old authority")
		}
	})
}

// worker runs a test with a worker that knows the control plane by the cluster's endpoint.
func worker(t *testing.T, test func(n *node, d *trustd)) {
	t.Helper()
	var d *trustd
	run(t, Deps{Dial: func(ctx context.Context, address string) (net.Conn, error) {
		if d == nil {
			return nil, errors.New("no control plane yet")
		}
		return d.dial(ctx, address)
	}}, func(n *node) {
		d = newTrustd(n.T, n.bundle, "k8s.example.com", "10.5.0.9")
		n.ready()
		test(n, d)
	})
}

func (n *node) worker() {
	n.T.Helper()
	n.configure(configText(n.T, n.bundle, newStyle, schema.Worker, ""), machineconfig.TypeWorker)
}

func TestAWorkerAsksTheControlPlane(t *testing.T) {
	worker(t, func(n *node, d *trustd) {
		n.worker()
		api := n.wantAPI("be issued", func(a secrets.API) bool { return !a.SkipVerifyingClientCert })
		cert := certOf(n.T, api.Server)
		verify(n.T, "server", cert, n.bundle.OS, secret.Server, nodeNames...)
		if api.Client != nil || len(secret.Roles(cert)) > 0 {
			n.T.Error("a worker has a client certificate, or a role")
		}
		root := wantSpec[secrets.OSRoot](n, secrets.OSRootID)
		if root.IssuingCA != nil {
			n.T.Error("a worker has the issuing authority")
		}
		controllertest.WantNever[secrets.Trustd](n.Harness, secrets.TrustdID)
		controllertest.WantNever[secrets.EtcdRoot](n.Harness, secrets.EtcdRootID)
		controllertest.WantNever[secrets.KubernetesRoot](n.Harness, secrets.KubernetesRootID)

		calls := d.calls.Load()
		n.Advance(time.Hour)
		if d.calls.Load() != calls {
			n.T.Error("it asked again without a reason")
		}
		n.Advance(24 * time.Hour)
		n.wantAPI("be renewed", func(a secrets.API) bool { return time.Until(certOf(n.T, a.Server).NotAfter) > 11*time.Hour })
		n.addresses("10.5.0.2/24", "10.5.0.77/24")
		n.wantAPI("have the new address", func(a secrets.API) bool { return certOf(n.T, a.Server).VerifyHostname("10.5.0.77") == nil })
	})
}

func TestAWorkerTriesEveryNodeAndTriesAgain(t *testing.T) {
	worker(t, func(n *node, d *trustd) {
		d.down.Store(true)
		n.worker()
		n.Advance(3 * time.Minute)
		controllertest.WantNever[secrets.API](n.Harness, secrets.APIID)
		calls := d.calls.Load()
		if calls < 4 || calls > 100 {
			n.T.Errorf("%d attempts in three minutes; want some, further and further apart", calls)
		}
		for _, s := range n.Scheduler.Status() {
			if s.Name == "secrets.APIController" && (s.Err == nil || !strings.Contains(s.Err.Error(), "k8s.example.com: ")) {
				n.T.Errorf("its error is %v; want the name of the endpoint in it", s.Err)
			}
		}
		// The endpoint stays down; a node that was discovered answers.
		d.leave("k8s.example.com")
		d.down.Store(false)
		controllertest.Create(n.Harness, kube.EndpointDiscovery, kube.Endpoint{Addresses: []netip.Addr{netip.MustParseAddr("10.5.0.8"), netip.MustParseAddr("10.5.0.9")}})
		n.wantAPI("be issued", anyAPI)
	})
}

func TestAWorkerKeepsWhatItHasWhileTheControlPlaneIsAway(t *testing.T) {
	worker(t, func(n *node, d *trustd) {
		n.worker()
		first := n.wantAPI("be issued", anyAPI)
		d.down.Store(true)
		n.Advance(13 * time.Hour)
		n.wantAPI("be the first", func(a secrets.API) bool { return bytes.Equal(a.Server.Crt, first.Server.Crt) })
		d.down.Store(false)
		n.wantAPI("be renewed", func(a secrets.API) bool { return !bytes.Equal(a.Server.Crt, first.Server.Crt) })
	})
}

func TestAWorkerFollowsARotation(t *testing.T) {
	worker(t, func(n *node, d *trustd) {
		n.worker()
		first := n.wantAPI("be issued", anyAPI)
		old := n.bundle.OS
		next, err := secret.NewAuthority(secret.OS, time.Now())
		must(n.T, next, err)
		accept := func(b *secret.Bundle, also *secret.Authority) {
			n.configure(configText(n.T, b, newStyle, schema.Worker, "machine:\n  acceptedCAs:\n    - crt: "+encode64(also.CertificatePEM())+"\n"), machineconfig.TypeWorker)
		}
		// Another authority is accepted, the control plane does not answer: what is there stays, the new one is believed.
		d.down.Store(true)
		accept(n.bundle, next)
		api := n.wantAPI("accept both", func(a secrets.API) bool { return len(a.AcceptedCAs) == 2 })
		if !bytes.Equal(api.Server.Crt, first.Server.Crt) {
			n.T.Error("the certificate has gone")
		}
		// The new one issues.
		d.down.Store(false)
		rotated := *n.bundle
		rotated.OS = next
		m, err := d.source.Material()
		material := *must(n.T, m, err)
		material.Issuing = next
		d.source.Set(&material)
		accept(&rotated, old)
		n.wantAPI("be of the new one", func(a secrets.API) bool { return certOf(n.T, a.Server).CheckSignatureFrom(next.Certificate()) == nil })
	})
}

func TestTheWrongTokenIsSaid(t *testing.T) {
	worker(t, func(n *node, d *trustd) {
		other := *n.bundle
		token, err := secret.NewToken(nil)
		other.MachineToken = must(n.T, token, err)
		n.configure(configText(n.T, &other, newStyle, schema.Worker, ""), machineconfig.TypeWorker)
		n.Settle()
		for _, s := range n.Scheduler.Status() {
			if s.Name != "secrets.APIController" {
				continue
			}
			if s.Err == nil || !strings.Contains(s.Err.Error(), "k8s.example.com: Unauthenticated: the machine token") || strings.Contains(s.Err.Error(), token.Reveal()) {
				n.T.Errorf("its error is %v; want that the token is wrong, without it", s.Err)
			}
		}
	})
}

// A machine without a time server had an API for nobody, and nobody could give it a config with one.
func TestTheAPIDoesNotWaitForEverForTheClock(t *testing.T) {
	run(t, Deps{}, func(n *node) {
		n.named("node-1")
		n.addresses("10.5.0.2/24")
		n.online()
		n.controlPlane()
		n.Advance(clockPatience - time.Second)
		if _, err := state.Get[secrets.API](n.T.Context(), n.State, secrets.APIID); err == nil {
			n.T.Error("the API did not wait for the clock")
		}
		n.Advance(2 * time.Second)
		n.wantAPI("be issued", func(a secrets.API) bool { return a.Client != nil })
		if _, err := state.Get[secrets.Trustd](n.T.Context(), n.State, secrets.TrustdID); err == nil {
			n.T.Error("what is for others was issued by a clock that nobody has confirmed")
		}
	})
}
