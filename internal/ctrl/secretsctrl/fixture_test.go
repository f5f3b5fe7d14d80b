package secretsctrl

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"talos.internal/config/generate"
	"talos.internal/config/generate/generatetest"
	"talos.internal/config/schema"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/trust"
	"talos.internal/resource"
	"talos.internal/resource/clock"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

// Contracts under which configs are written: the old style, in one document, and the new one.
var (
	oldStyle = "v1.6"
	newStyle = "v1.14"
)

func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// configText writes the config of a machine, with a patch over it; an empty one changes nothing.
func configText(t testing.TB, b *secret.Bundle, style string, role schema.Role, over string) string {
	t.Helper()
	contract, err := generate.ParseContract(style)
	must(t, contract, err)
	in := generate.Input{Secrets: b, Contract: contract, ExtraSANs: []string{"api.example.com", "203.0.113.7"}}
	return generatetest.Text(t, in, role, over)
}

// node is a test with the controllers of a node.
type node struct {
	*controllertest.Harness
	bundle *secret.Bundle
}

// run runs the controllers in virtual time, on a node that has a clock, a network and a name, and no config.
func run(t *testing.T, d Deps, test func(n *node)) {
	t.Helper()
	if d.StateDir == "" {
		d.StateDir = t.TempDir()
	}
	if d.SystemRoots == nil {
		d.SystemRoots = func() ([]byte, error) { return []byte("# of the image\n"), nil }
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		test(&node{Harness: h, bundle: generatetest.NewBundle(h.T, time.Now())})
	}, Controllers(d)...)
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func (n *node) addresses(list ...string) {
	n.T.Helper()
	for _, id := range []string{network.NodeAddressAccumulative, network.Filtered(network.NodeAddressAccumulative, network.FilterNoK8s)} {
		controllertest.Modify(n.Harness, id, func(s *network.NodeAddress) { s.Addresses = prefixes(list...) })
	}
}

func (n *node) named(hostname string) {
	n.T.Helper()
	controllertest.Modify(n.Harness, network.HostnameStatusID, func(s *network.HostnameStatus) { s.Hostname, s.Domainname = hostname, "lab.internal" })
}

func (n *node) online() {
	n.T.Helper()
	controllertest.Modify(n.Harness, network.StatusID, func(s *network.Status) { s.AddressReady, s.HostnameReady = true, true })
}

func (n *node) synced() {
	n.T.Helper()
	controllertest.Modify(n.Harness, clock.TimeStatusID, func(s *clock.TimeStatus) { s.Synced = true })
}

// ready gives the node all that comes before certificates.
func (n *node) ready() {
	n.T.Helper()
	n.named("node-1")
	n.addresses("10.5.0.2/24", "fd00::2/64")
	n.online()
	n.synced()
}

// configure gives the node a config, or another one.
func (n *node) configure(text string, kind machineconfig.MachineType) {
	n.T.Helper()
	controllertest.Modify(n.Harness, machineconfig.Active, func(s *machineconfig.Config) { s.Text = text })
	n.Settle() // the roots are there before the type: nothing may depend on the order
	controllertest.Modify(n.Harness, machineconfig.TypeID, func(s *machineconfig.Type) { s.Type = kind })
}

func (n *node) controlPlane() {
	n.T.Helper()
	n.configure(configText(n.T, n.bundle, newStyle, schema.ControlPlane, ""), machineconfig.TypeControlPlane)
}

// certOf parses a certificate of a resource.
func certOf(t testing.TB, c secrets.CertificateAndKey) *x509.Certificate {
	t.Helper()
	pair, err := secret.ParsePair(c.Crt, c.Key)
	return must(t, pair, err).Certificate()
}

// wantAPI waits for the API's certificates to be as they should, and returns them.
func (n *node) wantAPI(what string, met func(api secrets.API) bool) secrets.API {
	n.T.Helper()
	return controllertest.WantThat(n.Harness, secrets.APIID, what, func(r *resource.Typed[secrets.API]) bool { return met(r.Spec()) }).Spec()
}

// anyAPI is met by the certificates of a node that has a config.
func anyAPI(a secrets.API) bool { return !a.SkipVerifyingClientCert }

// wantSpec waits until a resource is there.
func wantSpec[S resource.Spec](n *node, id string) S {
	n.T.Helper()
	return controllertest.WantThat(n.Harness, id, "be there", func(*resource.Typed[S]) bool { return true }).Spec()
}

// verify checks that cert is good for usage and, as a server, for each of names, now, and for no other usage.
func verify(t testing.TB, what string, cert *x509.Certificate, ca *secret.Authority, usage secret.Usage, names ...string) {
	t.Helper()
	verifyAt(t, what, cert, ca, time.Now(), usage, names...)
}

func verifyAt(t testing.TB, what string, cert *x509.Certificate, ca *secret.Authority, now time.Time, usage secret.Usage, names ...string) {
	t.Helper()
	for u, eku := range map[secret.Usage]x509.ExtKeyUsage{secret.Server: x509.ExtKeyUsageServerAuth, secret.Client: x509.ExtKeyUsageClientAuth} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{eku}})
		if (err == nil) != (usage&u != 0) {
			t.Errorf("%s: verified for extended usage %d = %v; want that for usage %d", what, eku, err, usage)
		}
	}
	for _, name := range names {
		if err := cert.VerifyHostname(name); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// trustd is a control plane for workers, in memory.
type trustd struct {
	source trust.Current
	calls  atomic.Int64 // connections that were tried
	down   atomic.Bool
	mu     sync.Mutex
	ln     map[string]*bufconn.Listener
}

// newTrustd serves trustd at names with the authorities of b until the test ends. It is called within the bubble.
func newTrustd(t testing.TB, b *secret.Bundle, names ...string) *trustd {
	t.Helper()
	d := &trustd{ln: map[string]*bufconn.Listener{}}
	sans, err := secret.ParseSANs(names)
	must(t, sans, err)
	pair, err := b.OS.Issue(secret.Leaf{CommonName: "cp", SANs: sans, Usage: secret.Server, TTL: 365 * 24 * time.Hour}, time.Now())
	must(t, pair, err)
	d.source.Set(&trust.Material{Issuing: b.OS, Server: pair, Token: b.MachineToken})
	for _, name := range names {
		server, err := trust.NewServer(trust.Options{Source: &d.source})
		must(t, server, err)
		ln := bufconn.Listen(1 << 16)
		d.ln[name] = ln
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- server.Serve(ctx, ln) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return d
}

func (d *trustd) dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "50001" {
		return nil, errors.Join(err, errors.New("dialled "+address))
	}
	d.calls.Add(1)
	d.mu.Lock()
	ln, ok := d.ln[host]
	d.mu.Unlock()
	if !ok || d.down.Load() {
		return nil, os.ErrDeadlineExceeded
	}
	return ln.DialContext(ctx)
}

// leave takes a node of the control plane away for good.
func (d *trustd) leave(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ln, name)
}
