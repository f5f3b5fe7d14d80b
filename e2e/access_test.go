package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/proxy"
	"talos.internal/secret"
)

func TestAccess(t *testing.T) {
	l := newLab(t, "e2e-access", 52, options{}).ready()
	t.Run("strangers are refused and learn nothing", l.strangers)
	t.Run("a reader reads and changes nothing", l.readers)
	t.Run("a node with a config was never open to strangers", func(t *testing.T) { // not even before it had read the config
		l := l.on(t)
		log := l.console(l.control())
		if strings.Contains(log, "maintenance") || !strings.Contains(log, "machine config acquired") {
			t.Errorf("the node was in maintenance mode:\n%s", log)
		}
	})
	t.Run("an operator does not read secrets", func(t *testing.T) {
		l := l.on(t)
		c := l.as(l.control(), secret.RoleOperator)
		if _, err := list(l.context(), c, "secrets", "OSRootSecrets.secrets.talos.dev"); status.Code(err) != codes.PermissionDenied {
			t.Errorf("list of secrets: %v; want PermissionDenied", err)
		}
	})
	t.Run("an administrator reads secrets", func(t *testing.T) { // what the others are refused is there
		l := l.on(t)
		ids, err := list(l.context(), l.as(l.control(), secret.RoleAdmin), "secrets", "OSRootSecrets.secrets.talos.dev")
		if err != nil || len(ids) == 0 {
			t.Errorf("list of secrets = %q, %v; want some", ids, err)
		}
	})
}

// issued is a certificate of an authority that is not always the cluster's.
func (l *lab) issued(a *secret.Authority, leaf secret.Leaf, at time.Time) *tls.Certificate {
	l.t.Helper()
	pair, err := a.Issue(leaf, at)
	if err != nil {
		l.t.Fatal(err)
	}
	return new(pair.TLS())
}

// strangers call the API with certificates that are no good. What they hear must not tell them more than that.
func (l *lab) strangers(t *testing.T) {
	l = l.on(t)
	now := time.Now()
	other, err := secret.NewAuthority(secret.OS, now)
	if err != nil {
		t.Fatal(err)
	}
	admin := secret.OSClient([]string{secret.RoleAdmin}, time.Hour)
	server := admin
	server.Usage = secret.NodeServer("x", secret.SANs{}).Usage
	self := l.issued(l.secrets.OS, admin, now)
	for _, tc := range []struct {
		name string
		cert *tls.Certificate
	}{
		{"no certificate", nil},
		{"an expired one", l.issued(l.secrets.OS, admin, now.Add(-2*time.Hour))},
		{"one of another authority with the same name", l.issued(other, admin, now)},
		{"one of another authority of the cluster", l.issued(l.secrets.Kubernetes, admin, now)},
		{"one that is only a server's", l.issued(l.secrets.OS, server, now)},
		{"one without a role", l.issued(l.secrets.OS, secret.OSClient([]string{"os:unknown"}, time.Hour), now)},
		{"one with the key of another", &tls.Certificate{Certificate: self.Certificate, PrivateKey: l.issued(l.secrets.OS, admin, now).PrivateKey}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := l.on(t)
			config := &tls.Config{RootCAs: l.secrets.OS.Pool()}
			if tc.cert != nil {
				config.Certificates = []tls.Certificate{*tc.cert}
			}
			ctx, cancel := context.WithTimeout(l.context(), 5*time.Second)
			defer cancel()
			err := version(ctx, l.withTLS(l.control(), config))
			if err == nil {
				t.Fatal("Version was answered")
			}
			if tc.name == "one without a role" {
				if status.Code(err) != codes.PermissionDenied {
					t.Errorf("error = %v; want PermissionDenied", err)
				}
			} else if code := status.Code(err); code != codes.Unavailable {
				t.Errorf("code = %v; want Unavailable: there is no connection", code)
			}
			if s := status.Convert(err).Message(); strings.Contains(s, "x509") || strings.Contains(s, l.name) {
				t.Errorf("the error tells of the node's insides: %v", err)
			}
		})
	}
	t.Run("the server says nothing but that it refuses", func(t *testing.T) {
		l := l.on(t)
		for _, cert := range []*tls.Certificate{
			nil, l.issued(other, admin, now), l.issued(l.secrets.OS, server, now), l.issued(l.secrets.OS, admin, now.Add(-2*time.Hour)),
		} {
			got, asked := l.refusal(cert)
			if want := "remote error: tls: bad certificate"; cert != nil && got != want {
				t.Errorf("refusal = %q; want %q", got, want)
			}
			if want := "remote error: tls: certificate required"; cert == nil && got != want {
				t.Errorf("refusal = %q; want %q", got, want)
			}
			if len(asked) != 0 {
				t.Errorf("the server names %d authorities to a stranger; want none", len(asked))
			}
		}
	})
	l.answers(l.control(), l.as(l.control(), secret.RoleAdmin))
}

// refusal is what the server says to a client certificate, and the authorities that it named when it asked for one.
func (l *lab) refusal(cert *tls.Certificate) (text string, authorities [][]byte) {
	l.t.Helper()
	config := &tls.Config{
		RootCAs: l.secrets.OS.Pool(), ServerName: l.control().Endpoint, NextProtos: []string{"h2"},
		GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			authorities = r.AcceptableCAs
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			leaf := s.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: l.secrets.OS.Pool()}); err != nil {
				return err
			}
			return nil
		},
	}
	d := tls.Dialer{Config: config}
	c, err := d.DialContext(l.context(), "tcp", fmt.Sprintf("%s:%d", l.control().Endpoint, proxy.Port))
	if err != nil {
		return err.Error(), authorities
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err = c.Read(make([]byte, 1)); err != nil {
		return err.Error(), authorities
	}
	return "", authorities
}

// readers are those who may look. Each of them is asked by the method of a role that it does not have.
func (l *lab) readers(t *testing.T) {
	l = l.on(t)
	c := l.as(l.control(), secret.RoleReader)
	for name, call := range map[string]func(context.Context) error{
		"Version": func(ctx context.Context) error { return version(ctx, c) },
		"ServiceList": func(ctx context.Context) error {
			_, err := services(ctx, c)
			return err
		},
		"State": func(ctx context.Context) error {
			_, err := list(ctx, c, "network", "HostnameStatuses.net.talos.dev")
			return err
		},
		"Logs": func(ctx context.Context) error {
			_, err := text(c.Machine().Logs(ctx, &machinepb.LogsRequest{Namespace: "system", Id: "apid", TailLines: -1}))
			return err
		},
	} {
		if err := call(l.context()); err != nil {
			t.Errorf("%s: %v; a reader may call it", name, err)
		}
	}
	m := c.Machine()
	forbidden := map[string]func(context.Context) error{
		"ApplyConfiguration": func(ctx context.Context) error {
			_, err := m.ApplyConfiguration(ctx, &machinepb.ApplyConfigurationRequest{Data: []byte("x")})
			return err
		},
		"ApplyConfiguration, dry": func(ctx context.Context) error {
			_, err := m.ApplyConfiguration(ctx, &machinepb.ApplyConfigurationRequest{Data: []byte("x"), DryRun: true})
			return err
		},
		"Reset": func(ctx context.Context) error {
			_, err := m.Reset(ctx, &machinepb.ResetRequest{})
			return err
		},
		"Reboot": func(ctx context.Context) error {
			_, err := m.Reboot(ctx, &machinepb.RebootRequest{})
			return err
		},
		"Shutdown": func(ctx context.Context) error {
			_, err := m.Shutdown(ctx, &machinepb.ShutdownRequest{})
			return err
		},
		"ServiceStop": func(ctx context.Context) error {
			_, err := m.ServiceStop(ctx, &machinepb.ServiceStopRequest{Id: "apid"})
			return err
		},
		"ServiceRestart": func(ctx context.Context) error {
			_, err := m.ServiceRestart(ctx, &machinepb.ServiceRestartRequest{Id: "apid"})
			return err
		},
		"Bootstrap": func(ctx context.Context) error {
			_, err := m.Bootstrap(ctx, &machinepb.BootstrapRequest{})
			return err
		},
		"GenerateClientConfiguration": func(ctx context.Context) error {
			_, err := m.GenerateClientConfiguration(ctx, &machinepb.GenerateClientConfigurationRequest{Roles: []string{secret.RoleAdmin}})
			return err
		},
		"Read": func(ctx context.Context) error {
			_, err := text(m.Read(ctx, &machinepb.ReadRequest{Path: "/system/state/config.yaml"}))
			return err
		},
		"Copy": func(ctx context.Context) error {
			_, err := text(m.Copy(ctx, &machinepb.CopyRequest{RootPath: "/system/state"}))
			return err
		},
		"State of secrets": func(ctx context.Context) error {
			_, err := list(ctx, c, "secrets", "OSRootSecrets.secrets.talos.dev")
			return err
		},
		"State of one secret": func(ctx context.Context) error {
			_, err := c.State().Get(ctx, &statepb.GetRequest{Namespace: "secrets", Type: "ApiCertificates.secrets.talos.dev", Id: "api"})
			return err
		},
		"State of the machine config": func(ctx context.Context) error {
			_, err := list(ctx, c, "config", "MachineConfigs.config.talos.dev")
			return err
		},
		"State of secrets, watched": func(ctx context.Context) error {
			s, err := c.State().Watch(ctx, &statepb.WatchRequest{Namespace: "secrets", Type: "OSRootSecrets.secrets.talos.dev", ApiVersion: 1})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
	}
	for name, call := range forbidden {
		if err := call(l.context()); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v; want PermissionDenied", name, err)
		}
	}
	t.Run("whatever roles it says that it has", func(t *testing.T) {
		l := l.on(t)
		for _, key := range []string{"talos-role", "Talos-Role", "talos-roles", "proxyfrom"} {
			for name, call := range forbidden {
				ctx := metadata.AppendToOutgoingContext(l.context(), key, secret.RoleAdmin, key, secret.RoleImpersonator)
				if err := call(ctx); status.Code(err) != codes.PermissionDenied {
					t.Errorf("%s with %s: %v; want PermissionDenied", name, key, err)
				}
			}
		}
	})
	t.Run("and nothing has changed", func(t *testing.T) {
		l := l.on(t)
		config, err := text(l.as(l.control(), secret.RoleAdmin).Machine().Read(l.context(), &machinepb.ReadRequest{Path: "/system/state/config.yaml"}))
		if err != nil || !strings.Contains(config, l.name) {
			t.Errorf("config = %d bytes, %v; want the one of %s", len(config), err, l.name)
		}
		got, err := client.Only(c.Machine().Hostname(l.context(), &emptypb.Empty{}))
		if err != nil || got.GetHostname() != l.control().Name {
			t.Errorf("Hostname = %v, %v", got, err)
		}
	})
}
