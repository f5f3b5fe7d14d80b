package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/statepb"
	"talos.internal/internal/discovery"
	"talos.internal/internal/discovery/affiliate"
	"talos.internal/internal/trust"
	"talos.internal/resource/catalog"
	"talos.internal/resource/cluster"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state/memstate"
	"talos.internal/state/stategrpc"
)

func TestTrustdFollowsTheState(t *testing.T) {
	st := memstate.New(memstate.Options{})
	now := time.Now()
	ca, err := secret.NewAuthority(secret.OS, now)
	if err != nil {
		t.Fatal(err)
	}
	loopback := secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	own, err := ca.Issue(secret.NodeServer("cp-1", loopback), now)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := catalog.Registry()
	if err != nil {
		t.Fatal(err)
	}
	sockets := Sockets{State: serveUnix(t, "state.sock", func(s *grpc.Server) {
		statepb.RegisterStateServer(s, stategrpc.NewServer(st, reg))
	})}
	addr := freePort(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Trustd(ctx, sockets, addr, slog.New(slog.DiscardHandler)) }()

	const first, second = "abcdef.0123456789abcdef", "fedcba.fedcba9876543210"
	root := secrets.OSRoot{IssuingCA: &secrets.CertificateAndKey{Crt: ca.CertificatePEM(), Key: ca.Key().PEM()}, Token: first}
	modify(t, st, secrets.TrustdID, secrets.Trustd{Server: pem(own)})
	modify(t, st, secrets.OSRootID, root)
	ask := func(token string) error {
		tk, err := secret.ParseToken(token)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = trust.Request{
			Endpoints: []string{addr}, Token: tk, Accepted: []*x509.Certificate{ca.Certificate()},
			CommonName: "worker-1", SANs: loopback,
		}.Certificate(ctx)
		return err
	}
	eventually(t, "a worker with the token gets a certificate", func() string {
		if err := ask(first); err != nil {
			return err.Error()
		}
		return ""
	})
	if err := ask(second); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("with another token: %v; want a refusal that names the token", err)
	}
	root.Token = second
	modify(t, st, secrets.OSRootID, root)
	eventually(t, "the new token counts", func() string {
		if err := ask(second); err != nil {
			return err.Error()
		}
		return ""
	})

	// The machines of the cluster find each other there, and nobody else does.
	const clusterID = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	register := func(token, id string) string {
		t.Helper()
		c, err := discovery.New(discovery.Options{ClusterID: id, Secret: make([]byte, affiliate.SecretSize), NodeID: "worker-1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetServers([]discovery.Server{{Address: addr, TLS: &tls.Config{RootCAs: pool}, Token: token}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		for v := uint64(0); ; {
			view, err := c.Next(ctx, v)
			if err != nil {
				return err.Error()
			}
			if s := view.Servers[0]; s.Healthy {
				return "registered"
			} else if s.LastError != "" {
				return s.LastError
			}
			v = view.Revision
		}
	}
	if got := register(second, clusterID); !strings.Contains(got, "does not know its cluster yet") {
		t.Errorf("before the cluster is known: %s", got)
	}
	modify(t, st, cluster.InfoID, cluster.Info{ClusterID: clusterID})
	eventually(t, "a machine with the token is registered", func() string {
		return want(register(second, clusterID), nil, "registered")
	})
	for _, tc := range []struct{ token, id, want string }{
		{first, clusterID, "machine token"}, {"", clusterID, "machine token"},
		{second, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=", "another cluster"},
	} {
		if got := register(tc.token, tc.id); !strings.Contains(got, tc.want) {
			t.Errorf("with token %q for cluster %s: %s; want %q in it", tc.token, tc.id, got, tc.want)
		}
	}

	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Trustd = %v; want nil after its context ended", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Trustd did not return within 10 s of the end of its context")
	}
}
