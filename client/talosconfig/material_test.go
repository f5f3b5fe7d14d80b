package talosconfig

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"testing"
	"time"

	"talos.internal/secret"
)

func TestMaterialOfThePublicClientsFiles(t *testing.T) {
	for _, name := range []string{"v1.6.talosconfig", "v1.14.talosconfig"} {
		t.Run(name, func(t *testing.T) {
			_, context, err := load(t, string(read(t, name))).Lookup("")
			if err != nil {
				t.Fatal(err)
			}

			m := must(context.Material())(t)
			if len(m.CA) != 1 || m.CA[0].Subject.String() != "O=talos" || m.Client.Certificate().CheckSignatureFrom(m.CA[0]) != nil {
				t.Errorf("Material = %v, %v; want an authority and a certificate that it signed", m.CA, m.Client)
			}

			id := must(context.Identity())(t)
			if !slices.Equal(id.Roles, []string{secret.RoleAdmin}) || id.NotAfter.Sub(id.NotBefore) != secret.ClientTTL {
				t.Errorf("Identity = %+v; want os:admin for a year", id)
			}
		})
	}
}

func TestNewContextConnects(t *testing.T) {
	now := time.Date(2027, 1, 15, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	ca := must(secret.NewAuthority(secret.OS, now))(t)
	server := must(ca.Issue(secret.NodeServer("node", secret.SANs{DNS: []string{"node"}}), now))(t)
	client := must(ca.Issue(secret.OSClient([]string{secret.RoleReader}, time.Hour), now))(t)

	context := NewContext([]string{"127.0.0.1"}, nil, ca.CertificatePEM(), client)

	// By way of the file, as it is used.
	data := must((&Config{Context: "x", Contexts: map[string]*Context{"x": context}}).Marshal())(t)
	m := must(load(t, string(data)).Contexts["x"].Material())(t)

	listener := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), Time: clock,
	}))(t)
	defer listener.Close()

	roles := make(chan []string, 1)

	go func() {
		defer close(roles)

		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()

		if server := conn.(*tls.Conn); server.Handshake() == nil {
			roles <- secret.Roles(server.ConnectionState().PeerCertificates[0])
		}
	}()

	raw := must(net.Dial("tcp", listener.Addr().String()))(t)
	defer raw.Close()

	pool := ca.Pool()
	if err := tls.Client(raw, &tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{m.Client.TLS()}, ServerName: "node", Time: clock,
	}).Handshake(); err != nil {
		t.Fatal(err)
	}

	if got := <-roles; !slices.Equal(got, []string{secret.RoleReader}) {
		t.Errorf("the server sees the roles %q; want os:reader", got)
	}
}

func TestMaterial(t *testing.T) {
	now := time.Date(2027, 1, 15, 0, 0, 0, 0, time.UTC)
	ca := must(secret.NewAuthority(secret.OS, now))(t)
	issue := func() secret.Pair { return must(ca.Issue(secret.OSClient([]string{secret.RoleAdmin}, 0), now))(t) }
	client, other := issue(), issue()
	b64 := func(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

	for _, tt := range []struct {
		name   string
		change func(*Context)
		errs   []string
	}{
		{"complete", func(*Context) {}, nil},
		{"two authorities", func(c *Context) { c.CA = b64(append(ca.CertificatePEM(), ca.CertificatePEM()...)) }, nil},
		{"no authority", func(c *Context) { c.CA = "" }, nil},
		{"no certificate", func(c *Context) { c.Crt, c.Key = "", secret.Text{} }, nil},
		{"line break after the base64", func(c *Context) { c.Crt += "\n" }, nil},
		{"key alone", func(c *Context) { c.Crt = "" }, []string{"crt: missing, but there is a key"}},
		{"certificate alone", func(c *Context) { c.Key = secret.Text{} }, []string{"key: missing, but there is a crt"}},
		{"key of another", func(c *Context) { c.Key = secret.NewText(b64(other.Key().PEM())) },
			[]string{"crt and key: the private key (Ed25519) does not belong to the certificate (Ed25519, O=os:admin)"}},
		{"leaf for the authority", func(c *Context) { c.CA = c.Crt }, []string{"ca: the certificate (Ed25519, O=os:admin) is not that of an authority"}},
		{"all broken", func(c *Context) { c.CA, c.Crt, c.Key = "!", "aGk=", secret.NewText("opensesame!") },
			[]string{"ca: not base64", "crt: want a certificate in PEM", "key: not base64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			context := NewContext(nil, nil, ca.CertificatePEM(), client)
			tt.change(context)

			m, err := context.Material()
			wantError(t, "Material", err, tt.errs...)

			if err != nil && (m.CA != nil || !m.Client.IsZero()) {
				t.Error("Material returns something beside an error")
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	id, err := (&Context{Key: secret.NewText("broken")}).Identity()
	if err != nil || id.Roles != nil || !id.NotAfter.IsZero() {
		t.Errorf("Identity without certificate = %+v, %v; want none", id, err)
	}

	_, err = (&Context{Crt: "aGk="}).Identity()
	wantError(t, "Identity of a broken certificate", err, "crt: want a certificate in PEM")
}
