package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/secret"
)

func TestConnectionsThatAreRefused(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2")
	other := must(secret.NewAuthority(secret.OS, time.Now()))(t)
	admin := secret.OSClient([]string{secret.RoleAdmin}, time.Hour)

	brief := admin
	brief.TTL = time.Minute

	both := admin
	both.Usage = secret.Client | secret.Server

	server := admin
	server.Usage = secret.Server
	server.SANs = sans("10.5.0.7")

	for _, tc := range []struct {
		name string
		pair secret.Pair
		// what the client is told, all of it
		want string
	}{
		{name: "no certificate", want: "tls: certificate required"},
		{name: "an expired one", pair: must(c.ca.Issue(brief, time.Now().Add(-30*time.Minute)))(t), want: "tls: bad certificate"},
		{name: "one that is not valid yet", pair: must(c.ca.Issue(admin, time.Now().Add(2*time.Hour)))(t), want: "tls: bad certificate"},
		{name: "one of another authority", pair: must(other.Issue(admin, time.Now()))(t), want: "tls: bad certificate"},
		{name: "one for servers, with a role", pair: c.issue(server), want: "tls: bad certificate"},
		{name: "a node's server certificate", pair: c.issue(secret.NodeServer("w", sans("10.5.0.7"))), want: "tls: bad certificate"},
		{name: "the other authority itself", pair: other.Pair(), want: "tls: bad certificate"},
		{name: "one for clients and servers is let in", pair: c.issue(both)},
		{name: "one for clients is let in", pair: c.issue(admin)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := machinepb.NewMachineServiceClient(n.connectAs(tc.pair)).Version(limited(t), &emptypb.Empty{})
			if tc.want == "" {
				if err != nil {
					t.Errorf("Version = %v; want no error", err)
				}

				return
			}

			wantCode(t, "Version", err, codes.Unavailable)

			// gRPC writes before it reads, and may then say that the connection broke. Seen without gRPC, it is this alone.
			if alert := n.alert(tc.pair); alert != "remote error: "+tc.want {
				t.Errorf("the handshake ends with %q; want %q", alert, "remote error: "+tc.want)
			}

			for _, leak := range []string{"x509", "authority", "os:", "expired", "10.5.0", "certificate ("} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("the client is told %q: %v", leak, err)
				}
			}
		})
	}

	if n.machined.metadata() == nil {
		t.Error("no call got to machined; want those of the certificates that are let in")
	}

	if got := n.log.String(); !strings.Contains(got, "connection refused") || !strings.Contains(got, "expired") {
		t.Errorf("the log has no reason for a refusal:\n%s", got)
	}
}

// alert returns the error by which a client learns that its certificate was refused.
func (n *node) alert(pair secret.Pair) string {
	t := n.cluster.t
	cert := pair.TLS()

	conn := must(tls.Dial("tcp", n.listen, &tls.Config{
		RootCAs: n.cluster.ca.Pool(), ServerName: n.addr, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	}))(t)
	defer func() { _ = conn.Close() }()

	// In TLS 1.3 the client is ready before the server has judged it (RFC 8446 section 4.4.2.4).
	_, err := conn.Read(make([]byte, 1))
	if err == nil {
		return "none"
	}

	return err.Error()
}

// What a client sees of the handshake is the server's certificate, and no list of authorities.
func TestHandshake(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2")

	t.Run("TLS 1.2 is refused", func(t *testing.T) {
		conn, err := tls.Dial("tcp", n.listen, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if err == nil {
			_ = conn.Close()

			t.Fatal("Dial = nil; want an error")
		}

		if !strings.Contains(err.Error(), "protocol version not supported") {
			t.Errorf("Dial = %v; want protocol version not supported", err)
		}
	})

	t.Run("the request for a certificate names no authority", func(t *testing.T) {
		var asked *tls.CertificateRequestInfo

		cert := c.issue(secret.OSClient([]string{secret.RoleReader}, 0)).TLS()

		conn := must(tls.Dial("tcp", n.listen, &tls.Config{
			RootCAs: c.ca.Pool(), ServerName: "10.5.0.2", NextProtos: []string{"h2"},
			GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = info

				return &cert, nil
			},
		}))(t)
		defer func() { _ = conn.Close() }()

		if asked == nil || len(asked.AcceptableCAs) > 0 {
			t.Errorf("certificate request = %+v; want one without authorities", asked)
		}

		if state := conn.ConnectionState(); state.Version != tls.VersionTLS13 || state.DidResume {
			t.Errorf("version %x, resumed %t; want TLS 1.3, not resumed", state.Version, state.DidResume)
		}
	})

	t.Run("without an identity there is no handshake", func(t *testing.T) {
		late := c.start("10.5.0.3", func(o *Options) { o.Identities = &Current{} })

		_, err := machinepb.NewMachineServiceClient(late.connect(secret.RoleAdmin)).Version(limited(t), &emptypb.Empty{})
		wantCode(t, "Version", err, codes.Unavailable)

		if !strings.Contains(err.Error(), "remote error: tls: internal error") {
			t.Errorf("Version = %v; want only internal error", err)
		}
	})

	t.Run("an identity without authorities lets nobody in", func(t *testing.T) {
		n := c.start("10.5.0.4")
		n.ids.Set(must(NewIdentity(c.issue(secret.NodeServer("n", sans("10.5.0.4"))), secret.Pair{}))(t))

		_, err := machinepb.NewMachineServiceClient(n.connect(secret.RoleAdmin)).Version(limited(t), &emptypb.Empty{})
		wantCode(t, "Version", err, codes.Unavailable)
	})

	t.Run("bytes that are no handshake do no harm", func(t *testing.T) {
		for _, text := range []string{"GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", ""} {
			conn := must(net.Dial("tcp", n.listen))(t)
			if _, err := io.WriteString(conn, text); err != nil {
				t.Error(err)
			}

			_ = conn.Close()
		}

		if _, err := machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).Version(limited(t), &emptypb.Empty{}); err != nil {
			t.Errorf("Version = %v; want no error", err)
		}
	})
}

// The connection is older than the end of the certificate.
func TestACertificateThatExpiresOnAConnectionIsRefused(t *testing.T) {
	c := newCluster(t)
	clock := make(chan time.Time, 1)
	clock <- time.Now()

	n := c.start("10.5.0.2", func(o *Options) {
		o.Now = func() time.Time {
			now := <-clock
			clock <- now

			return now
		}
	})
	client := machinepb.NewMachineServiceClient(n.connect(secret.RoleReader))

	if _, err := client.Version(limited(t), &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}

	<-clock
	clock <- time.Now().Add(2 * time.Hour)

	_, err := client.Version(limited(t), &emptypb.Empty{})
	wantCode(t, "Version with an expired certificate", err, codes.Unauthenticated)
}

func TestAReaderListsAndDoesNotChange(t *testing.T) {
	n := newCluster(t).start("10.5.0.2")
	ctx := limited(t)

	for _, tc := range []struct {
		roles         []string
		list, reboot  codes.Code
		forged        string
		stateDestroys codes.Code
	}{
		{roles: []string{secret.RoleReader}, reboot: codes.PermissionDenied, stateDestroys: codes.PermissionDenied},
		{roles: []string{secret.RoleReader}, forged: secret.RoleAdmin, reboot: codes.PermissionDenied, stateDestroys: codes.PermissionDenied},
		{roles: []string{secret.RoleOperator}, stateDestroys: codes.PermissionDenied},
		{roles: []string{secret.RoleAdmin}, stateDestroys: codes.Unimplemented}, // machined's own answer
		{roles: []string{secret.RoleAdmin}, forged: secret.RoleReader, stateDestroys: codes.Unimplemented},
		{roles: []string{secret.RoleEtcdBackup}, list: codes.PermissionDenied, reboot: codes.PermissionDenied, stateDestroys: codes.PermissionDenied},
		{roles: []string{"os:future"}, list: codes.PermissionDenied, reboot: codes.PermissionDenied, stateDestroys: codes.PermissionDenied},
	} {
		t.Run(strings.Join(tc.roles, ",")+" says "+tc.forged, func(t *testing.T) {
			conn := n.connect(tc.roles...)
			machine := machinepb.NewMachineServiceClient(conn)

			ctx := ctx
			if tc.forged != "" {
				ctx = to(ctx, keyRoles, tc.forged)
			}

			_, err := machine.ServiceList(ctx, &emptypb.Empty{})
			wantCode(t, "ServiceList", err, tc.list)

			if got := n.machined.roles(); err == nil && !slices.Equal(got, tc.roles) {
				t.Errorf("machined saw the roles %q; want %q", got, tc.roles)
			}

			_, err = machine.Reboot(ctx, &machinepb.RebootRequest{})
			wantCode(t, "Reboot", err, tc.reboot)

			_, err = statepb.NewStateClient(conn).Destroy(ctx, &statepb.DestroyRequest{})
			wantCode(t, "Destroy", err, tc.stateDestroys)
		})
	}
}

// The test of the task's words: a forged talos-role from a peer without impersonator is ignored. The same metadata from a
// peer with it is believed, so that the test can fail.
func TestRolesInMetadataAreBelievedOnlyFromImpersonators(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2")
	ctx := to(limited(t), keyRoles, secret.RoleAdmin, "Talos-Role", secret.RoleAdmin)

	_, err := machinepb.NewMachineServiceClient(n.connect(secret.RoleReader)).Reboot(ctx, &machinepb.RebootRequest{})
	wantCode(t, "Reboot by a reader who says he is admin", err, codes.PermissionDenied)

	if got := n.machined.metadata(); got != nil {
		t.Errorf("machined was called with %v; want no call", got)
	}

	impersonator := machinepb.NewMachineServiceClient(n.connectAs(c.issue(secret.NodeImpersonator("cp"))))

	_, err = impersonator.Reboot(ctx, &machinepb.RebootRequest{})
	wantCode(t, "Reboot by a node for an admin", err, codes.OK)

	_, err = impersonator.Reboot(to(limited(t), keyRoles, secret.RoleReader), &machinepb.RebootRequest{})
	wantCode(t, "Reboot by a node for a reader", err, codes.PermissionDenied)

	_, err = impersonator.Reboot(limited(t), &machinepb.RebootRequest{})
	wantCode(t, "Reboot by a node for nobody", err, codes.PermissionDenied)
}

func TestMaintenanceMode(t *testing.T) {
	c := newCluster(t)
	n := c.start("10.5.0.2", maintenance)
	machine := machinepb.NewMachineServiceClient(n.connectAs(secret.Pair{}))
	ctx := limited(t)

	_, err := machine.Version(ctx, &emptypb.Empty{})
	wantCode(t, "Version", err, codes.OK)

	if got, want := n.machined.roles(), []string{secret.RoleReader}; !slices.Equal(got, want) {
		t.Errorf("machined saw the roles %q; want %q", got, want)
	}

	_, err = machine.ApplyConfiguration(ctx, &machinepb.ApplyConfigurationRequest{})
	wantCode(t, "ApplyConfiguration", err, codes.Unimplemented) // machined's own answer

	_, err = machine.Reboot(ctx, &machinepb.RebootRequest{})
	wantCode(t, "Reboot", err, codes.PermissionDenied)

	_, err = machine.Reboot(to(ctx, keyRoles, secret.RoleAdmin), &machinepb.RebootRequest{})
	wantCode(t, "Reboot with a forged role", err, codes.PermissionDenied)

	_, err = machine.Version(to(ctx, keyNode, "10.5.0.9"), &emptypb.Empty{})
	wantCode(t, "Version of another node", err, codes.PermissionDenied)
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	local := func(context.Context) (net.Conn, error) { return nil, io.EOF }

	for _, tc := range []struct {
		name string
		opts Options
		want string
	}{
		{"no identities", Options{Local: local}, "no identities"},
		{"no machined", Options{Identities: &Current{}}, "no way to machined"},
		{"forwarding for anonymous callers", Options{Identities: &Current{}, Local: local, Forwarding: true, Mode: 1}, "anonymous"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(tc.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("New = %v; want %q", err, tc.want)
			}
		})
	}

	c := newCluster(t)
	leaf := c.issue(secret.OSClient([]string{"a"}, 0))

	if _, err := NewIdentity(secret.Pair{}, leaf, c.ca.Certificate()); err == nil {
		t.Error("NewIdentity without a server certificate = nil; want an error")
	}

	if _, err := NewIdentity(leaf, leaf, leaf.Certificate()); err == nil {
		t.Error("NewIdentity with a leaf as an authority = nil; want an error")
	}
}

// crypto/x509 takes a certificate without extended key usage for one that may do everything.
func TestAClientCertificateMustSayThatItIsOne(t *testing.T) {
	c := newCluster(t)
	leaf := *c.issue(secret.OSClient([]string{secret.RoleAdmin}, 0)).Certificate()

	if err := verifyClient([]*x509.Certificate{&leaf}, c.ca.Pool(), time.Now()); err != nil {
		t.Fatalf("verifyClient = %v; want no error", err)
	}

	// Without a pool, crypto/x509 takes the authorities of the system.
	if err := verifyClient([]*x509.Certificate{&leaf}, nil, time.Now()); err == nil || !strings.Contains(err.Error(), "no authority") {
		t.Errorf("verifyClient without authorities = %v; want no authority", err)
	}

	leaf.ExtKeyUsage = nil
	if err := verifyClient([]*x509.Certificate{&leaf}, c.ca.Pool(), time.Now()); err == nil {
		t.Error("verifyClient without usage = nil; want an error")
	}

	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	if err := verifyClient([]*x509.Certificate{&leaf}, c.ca.Pool(), time.Now()); err == nil {
		t.Error("verifyClient with any usage = nil; want an error")
	}
}
