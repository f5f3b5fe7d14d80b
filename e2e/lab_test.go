package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/config"
	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/cli"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/image"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/native"
	"talos.internal/secret"
)

// limit bounds what a test waits for. A node is there within seconds; a busy computer needs the rest.
const limit = time.Minute

// age is how old the clusters' authorities are, so that a certificate of theirs can have expired.
const age = 72 * time.Hour

// secrets are those of all clusters: to make the RSA key takes seconds.
var secrets = sync.OnceValues(func() (*secret.Bundle, error) { return secret.NewBundle(time.Now().Add(-age), nil) })

// parts are what a node is made from.
type parts struct{ images, runc string }

// find looks for the parts. The text says what is missing and how to make it.
func find() (parts, string) {
	if os.Getuid() != 0 {
		return parts{}, "nodes are made by root alone: run the tests as root"
	}
	var p parts
	if p.images = os.Getenv("TALOS_IMAGES"); p.images == "" {
		p.images, _ = filepath.Abs("../_out/images")
	}
	all, err := oci.Read(p.images)
	if err != nil {
		return parts{}, fmt.Sprintf("no image cache at %s (%v): build it with make image, or name it in TALOS_IMAGES", p.images, err)
	}
	ref := image.NodeRef(buildinfo.Version)
	found := false
	for _, img := range all {
		found = found || img.Ref == ref
	}
	if !found {
		return parts{}, fmt.Sprintf("the image cache at %s has no %s: build it with make image", p.images, ref)
	}
	p.runc = os.Getenv("TALOS_RUNC")
	if built, err := filepath.Abs("../_out/components/runc/runc"); p.runc == "" && err == nil {
		if _, err := os.Stat(built); err == nil {
			p.runc = built
		}
	}
	if p.runc == "" {
		if p.runc, err = exec.LookPath("runc"); err != nil {
			return parts{}, "no runc: build it with make components, install Debian's package runc, or name it in TALOS_RUNC"
		}
	}
	return p, ""
}

// lab is a cluster of a test.
type lab struct {
	t       testing.TB
	p       provision.Provisioner
	name    string
	secrets *secret.Bundle
	nodes   []provision.Node // control plane first
}

// on is the same cluster for a subtest.
func (l *lab) on(t testing.TB) *lab {
	sub := *l
	sub.t = t
	return &sub
}

// options change a cluster from its default: one control-plane node with a config.
type options struct {
	workers int
	blank   bool // nodes get no config
}

// lacks ends a test for want of something that has to be there. It is skipped, but where CI is set, which has everything, it fails.
func lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// newLab makes a cluster in the network 10.N.0.0/24, and removes it after the test. A test that failed shows the consoles.
func newLab(t testing.TB, name string, n byte, o options) *lab {
	t.Helper()
	p, missing := find()
	if missing != "" {
		lacks(t, missing)
	}
	s, err := secrets()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	prov, err := native.New(native.Options{Dir: filepath.Join(dir, "clusters"), Images: p.images, Runc: p.runc})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, p: prov, name: name, secrets: s}
	r := provision.ClusterRequest{
		Name: name, Image: image.NodeRef(buildinfo.Version),
		Network: provision.NetworkRequest{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n, 0, 0}), 24), MTU: 1500},
	}
	r.Network.Nameservers = []netip.Addr{r.Network.Gateway()}
	r.KubernetesEndpoint = "https://" + r.Network.Address(0).String() + ":6443"
	for i := range 1 + o.workers {
		kind, role := provision.ControlPlane, schema.ControlPlane
		place := 1
		if i > 0 {
			kind, role, place = provision.Worker, schema.Worker, i
		}
		node := provision.NodeRequest{Name: provision.NodeName(name, kind, place), Type: kind, Address: r.Network.Address(i)}
		if !o.blank {
			node.Config = l.config(role, r.KubernetesEndpoint)
		}
		r.Nodes = append(r.Nodes, node)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	t.Cleanup(func() {
		if t.Failed() {
			l.showConsoles()
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := prov.Destroy(ctx, name, nil); err != nil {
			t.Error(err)
		}
	})
	c, err := prov.Create(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.nodes = c.Nodes
	return l
}

// config is the config of a machine of the cluster.
func (l *lab) config(role schema.Role, endpoint string, patches ...string) []byte {
	l.t.Helper()
	in := generate.Input{ClusterName: l.name, Secrets: l.secrets, Discovery: true}
	if err := in.Endpoint.UnmarshalText([]byte(endpoint)); err != nil {
		l.t.Fatal(err)
	}
	c, err := in.Config(role)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.patched(c, patches...)
}

// patched returns the text of a config after patches.
func (l *lab) patched(c *config.Config, patches ...string) []byte {
	l.t.Helper()
	for _, text := range patches {
		p, err := patch.Parse("", []byte(text))
		if err != nil {
			l.t.Fatal(err)
		}
		if c, err = c.Patch(p); err != nil {
			l.t.Fatal(err)
		}
	}
	text, err := c.Bytes()
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

func (l *lab) showConsoles() {
	for _, n := range l.nodes {
		var text bytes.Buffer
		_ = l.p.Logs(context.Background(), l.name, n.Name, provision.LogOptions{Tail: 200}, &text)
		l.t.Logf("end of the console of %s:\n%s", n.Name, text.String())
	}
}

// console is what a node wrote until now.
func (l *lab) console(n provision.Node) string {
	l.t.Helper()
	var text bytes.Buffer
	if err := l.p.Logs(context.Background(), l.name, n.Name, provision.LogOptions{}, &text); err != nil {
		l.t.Fatal(err)
	}
	return text.String()
}

// control and worker are the nodes that most tests have.
func (l *lab) control() provision.Node { return l.nodes[0] }
func (l *lab) worker() provision.Node  { return l.nodes[1] }

// reflect looks at the nodes again: after a restart their processes are others.
func (l *lab) reflect() {
	l.t.Helper()
	c, err := l.p.Reflect(context.Background(), l.name)
	if err != nil {
		l.t.Fatal(err)
	}
	l.nodes = c.Nodes
}

// context is for one thing that a test waits for.
func (l *lab) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	l.t.Cleanup(cancel)
	return ctx
}

// certificate issues a client certificate of the cluster.
func (l *lab) certificate(roles ...string) secret.Pair {
	l.t.Helper()
	pair, err := l.secrets.OS.Issue(secret.OSClient(roles, time.Hour), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	return pair
}

// as returns a client with roles that talks to a node, whose own apid answers unless a call names another.
func (l *lab) as(n provision.Node, roles ...string) *client.Client {
	l.t.Helper()
	return l.client(talosconfig.NewContext([]string{n.Endpoint}, nil, l.secrets.OS.CertificatePEM(), l.certificate(roles...)))
}

func (l *lab) client(c *talosconfig.Context) *client.Client {
	l.t.Helper()
	return l.open(client.Options{Context: c})
}

// withTLS returns a client that shows what the caller says to a node.
func (l *lab) withTLS(n provision.Node, config *tls.Config) *client.Client {
	l.t.Helper()
	return l.open(client.Options{Endpoints: []string{n.Endpoint}, TLS: config})
}

// anonymous returns a client for a node without a config.
func (l *lab) anonymous(n provision.Node) *client.Client {
	l.t.Helper()
	return l.open(client.Options{Endpoints: []string{n.Endpoint}, Maintenance: &client.Maintenance{}})
}

func (l *lab) open(o client.Options) *client.Client {
	l.t.Helper()
	c, err := client.New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	return c
}

// version asks for the version, the smallest call that goes all the way.
func version(ctx context.Context, c *client.Client) error {
	_, err := client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
	return err
}

// ready waits until all nodes answer administrators.
func (l *lab) ready() *lab {
	l.t.Helper()
	for _, n := range l.nodes {
		l.answers(n, l.as(n, secret.RoleAdmin))
	}
	return l
}

// answers waits until a node answers a client.
func (l *lab) answers(n provision.Node, c *client.Client) {
	l.t.Helper()
	l.until(n.Name+" to answer", func(ctx context.Context) error { return version(ctx, c) })
}

// until waits for f to succeed. It calls f again and again, each time with a second's context.
func (l *lab) until(what string, f func(ctx context.Context) error) {
	l.t.Helper()
	var last error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		last = f(ctx)
		cancel()
		if last == nil {
			return
		}
	}
	l.t.Fatalf("waited %v for %s; last seen: %v", limit, what, last)
}

// talosctl runs a command line with the real command tree, as an administrator whose endpoint is the control plane.
func (l *lab) talosctl(args ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "talosconfig")
	c := &talosconfig.Config{Context: l.name, Contexts: map[string]*talosconfig.Context{
		l.name: talosconfig.NewContext([]string{l.control().Endpoint}, nil, l.secrets.OS.CertificatePEM(), l.certificate(secret.RoleAdmin)),
	}}
	if err := c.Save(file); err != nil {
		l.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	env := command.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now,
		Getenv: func(name string) string { return map[string]string{"TALOSCONFIG": file}[name] },
	}
	code = cli.Run(l.context(), env, args)
	return out.String(), errs.String(), code
}

// text is all of a stream of bytes.
func text(s grpc.ServerStreamingClient[commonpb.Data], err error) (string, error) {
	var b strings.Builder
	for err == nil {
		var d *commonpb.Data
		if d, err = s.Recv(); err == nil {
			b.Write(d.GetBytes())
			err = client.PartError(d)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b.String(), err
}

// services are the services of a node by id.
func services(ctx context.Context, c *client.Client) (map[string]*machinepb.ServiceInfo, error) {
	list, err := client.Only(c.Machine().ServiceList(ctx, &emptypb.Empty{}))
	if err != nil {
		return nil, err
	}
	all := map[string]*machinepb.ServiceInfo{}
	for _, s := range list.GetServices() {
		all[s.GetId()] = s
	}
	return all, nil
}
