package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/resource"
	"talos.internal/resource/catalog"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
	"talos.internal/state/memstate"
	"talos.internal/state/stategrpc"
)

// machined answers Version over a unix socket, and nothing else.
type machined struct {
	machinepb.UnimplementedMachineServiceServer
}

func (machined) Version(context.Context, *emptypb.Empty) (*machinepb.VersionResponse, error) {
	return &machinepb.VersionResponse{Messages: []*machinepb.Version{{Version: &machinepb.VersionInfo{Tag: "v1.2.3"}}}}, nil
}

func serveUnix(t *testing.T, name string, register func(*grpc.Server)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return path
}

// freePort returns a loopback address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func pem(p secret.Pair) secrets.CertificateAndKey {
	return secrets.CertificateAndKey{Crt: p.CertificatePEM(), Key: p.Key().PEM()}
}

// call asks for the version over a connection of its own, and returns the serial number of the server's certificate.
func call(t *testing.T, addr string, ca *secret.Authority, client *secret.Pair) (tag, serial string, err error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	cfg := &tls.Config{RootCAs: pool, VerifyConnection: func(s tls.ConnectionState) error {
		serial = s.PeerCertificates[0].SerialNumber.String()
		return nil
	}}
	if client != nil {
		cfg.Certificates = []tls.Certificate{client.TLS()}
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	v, err := machinepb.NewMachineServiceClient(conn).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", serial, err
	}
	return v.GetMessages()[0].GetVersion().GetTag(), serial, nil
}

func TestAPIDFollowsTheState(t *testing.T) {
	ctx := t.Context()
	st := memstate.New(memstate.Options{})
	now := time.Now()
	ca, err := secret.NewAuthority(secret.OS, now)
	if err != nil {
		t.Fatal(err)
	}
	sans := secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	issue := func(leaf secret.Leaf) secret.Pair {
		t.Helper()
		p, err := ca.Issue(leaf, now)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second := issue(secret.NodeServer("node-1", sans)), issue(secret.NodeServer("node-1", sans))
	admin := issue(secret.OSClient([]string{secret.RoleAdmin}, time.Hour))

	reg, err := catalog.Registry()
	if err != nil {
		t.Fatal(err)
	}
	sockets := Sockets{
		State: serveUnix(t, "state.sock", func(s *grpc.Server) {
			statepb.RegisterStateServer(s, stategrpc.NewServer(st, reg))
		}),
		Machine: serveUnix(t, "machine.sock", func(s *grpc.Server) {
			machinepb.RegisterMachineServiceServer(s, machined{})
		}),
	}
	addr := freePort(t)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- APID(running, sockets, slog.New(slog.DiscardHandler)) }()

	// Maintenance first: nobody needs a certificate.
	modify(t, st, secrets.APIID, secrets.API{Server: pem(first), AcceptedCAs: []secrets.Certificate{{Crt: ca.CertificatePEM()}}})
	modify(t, st, runtime.APIServiceConfigID, runtime.APIServiceConfig{ListenAddress: addr, SkipVerifyingClientCert: true})
	modify(t, st, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-1"})
	eventually(t, "an anonymous caller is served", func() string {
		tag, _, err := call(t, addr, ca, nil)
		return want(tag, err, "v1.2.3")
	})

	// With a config, nobody without one is. The node's own authority goes, and the resource with its certificate; the new one begins
	// with the same version, for which it was once taken for the old one.
	if err := st.Destroy(ctx, state.RefOf[secrets.API](secrets.APIID), state.DestroyOptions{}); err != nil {
		t.Fatal(err)
	}
	third := issue(secret.NodeServer("node-1", sans))
	modify(t, st, secrets.APIID, secrets.API{Server: pem(third), AcceptedCAs: []secrets.Certificate{{Crt: ca.CertificatePEM()}}})
	modify(t, st, runtime.APIServiceConfigID, runtime.APIServiceConfig{ListenAddress: addr})
	eventually(t, "an anonymous caller is refused", func() string {
		if _, _, err := call(t, addr, ca, nil); err == nil {
			return "was served"
		}
		return ""
	})
	eventually(t, "an administrator is served", func() string {
		tag, serial, err := call(t, addr, ca, &admin)
		return want(tag+" "+serial, err, "v1.2.3 "+third.Certificate().SerialNumber.String())
	})

	// A renewed certificate is shown without a new server.
	modify(t, st, secrets.APIID, secrets.API{Server: pem(second), AcceptedCAs: []secrets.Certificate{{Crt: ca.CertificatePEM()}}})
	eventually(t, "the new certificate is shown", func() string {
		_, serial, err := call(t, addr, ca, &admin)
		return want(serial, err, second.Certificate().SerialNumber.String())
	})

	// A new name ends no connection: it once made a new server, and nobody was served until the old one had ended.
	pool := ca.Pool()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(
		&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{admin.TLS()}})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := machinepb.NewMachineServiceClient(conn).Version(ctx, &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	modify(t, st, network.HostnameStatusID, network.HostnameStatus{Hostname: "node-2"})
	time.Sleep(100 * time.Millisecond)
	if s := conn.GetState(); s != connectivity.Ready {
		t.Errorf("after a new name the connection is %v; want it ready", s)
	}

	// A certificate that is no certificate changes nothing.
	modify(t, st, secrets.APIID, secrets.API{Server: secrets.CertificateAndKey{Crt: []byte("nonsense")}})
	time.Sleep(100 * time.Millisecond)
	if _, serial, err := call(t, addr, ca, &admin); err != nil || serial != second.Certificate().SerialNumber.String() {
		t.Errorf("after a broken certificate: %s, %v; want the former one", serial, err)
	}

	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("APID = %v; want nil after its context ended", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("APID did not return within 10 s of the end of its context")
	}
}

func TestServingFollowsConfigAndCertificates(t *testing.T) {
	client := &secrets.CertificateAndKey{}
	for _, tc := range []struct {
		name  string
		cfg   runtime.APIServiceConfig
		certs secrets.API
		want  string
	}{
		{"control plane", runtime.APIServiceConfig{}, secrets.API{Client: client}, ":50000 running forwards"},
		{"worker", runtime.APIServiceConfig{}, secrets.API{}, ":50000 running"},
		{"routing disabled", runtime.APIServiceConfig{NodeRoutingDisabled: true}, secrets.API{Client: client}, ":50000 running"},
		{"maintenance by config", runtime.APIServiceConfig{SkipVerifyingClientCert: true, ListenAddress: "[::1]:1"}, secrets.API{Client: client}, "[::1]:1 maintenance"},
		{"maintenance by certificates", runtime.APIServiceConfig{}, secrets.API{SkipVerifyingClientCert: true}, ":50000 maintenance"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := servingOf(tc.cfg, tc.certs)
			got := []string{s.listen, [...]string{"running", "maintenance"}[s.mode]}
			if s.forwarding {
				got = append(got, "forwards")
			}
			if g := strings.Join(got, " "); g != tc.want {
				t.Errorf("servingOf = %q; want %q", g, tc.want)
			}
		})
	}
}

// modify makes the resource id have this spec.
func modify[S resource.Spec](t *testing.T, st state.State, id string, spec S) {
	t.Helper()
	_, err := state.Modify(t.Context(), st, id, func(_ *resource.Metadata, s *S) error {
		*s = spec
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eventually calls f until it returns "", and fails with what it returned last after ten seconds.
func eventually(t *testing.T, what string, f func() string) {
	t.Helper()
	last := ""
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = f(); last == "" {
			return
		}
	}
	t.Fatalf("waited 10 s until %s; last seen: %s", what, last)
}

func want(got string, err error, want string) string {
	if err != nil {
		return err.Error()
	}
	if got != want {
		return "got " + got + ", want " + want
	}
	return ""
}
