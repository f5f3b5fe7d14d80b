// Package kubereal runs etcd and kube-apiserver as processes, for tests that need the real ones: those that were built into
// _out/components.
//
// The API server has RBAC, node authorisation and the admission plugin NodeRestriction, and no other part of Kubernetes runs with
// it. Where the programs are not built, the test is skipped, and says so.
package kubereal

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"talos.internal/internal/kubeapi"
	"talos.internal/secret"
	"talos.internal/secret/kubeconfig"
)

// startLimit is how long the API server may take until it is ready, on a machine that does much else.
const startLimit = 90 * time.Second

// Server is a running API server.
type Server struct {
	// Kubeconfig is an administrator's.
	Kubeconfig string

	ca  *secret.Authority
	url string
}

// Start starts a server, and returns when it is ready. It ends with the test. etcd does not wait for the disk.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t, "--unsafe-no-fsync")
}

// StartDurable is [Start] with an etcd that waits for the disk, as one does that is for more than a test.
func StartDurable(t testing.TB) *Server {
	t.Helper()
	return start(t)
}

func start(t testing.TB, more ...string) *Server {
	t.Helper()
	etcd, kubernetes := program(t, "etcd/etcd"), program(t, "kubernetes/kubernetes")
	dir, now := t.TempDir(), time.Now()
	ca, err := secret.NewAuthority(secret.Kubernetes, now)
	check(t, err)
	names, err := secret.ParseSANs([]string{"127.0.0.1"})
	check(t, err)
	pair, err := ca.Issue(secret.Leaf{CommonName: "kube-apiserver", SANs: names, Usage: secret.Server, TTL: time.Hour}, now)
	check(t, err)
	key, err := secret.GenerateKey(secret.ECDSAP256)
	check(t, err)
	for name, data := range map[string][]byte{
		"ca.crt": ca.CertificatePEM(), "api.crt": pair.CertificatePEM(), "api.key": pair.Key().PEM(), "sa.key": key.PEM(),
	} {
		check(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	client, peer, api := port(t), port(t), port(t)
	at := func(p int) string { return "http://127.0.0.1:" + strconv.Itoa(p) }
	run(t, etcd, append([]string{"etcd", "--data-dir=" + filepath.Join(dir, "etcd"),
		"--listen-client-urls=" + at(client), "--advertise-client-urls=" + at(client),
		"--listen-peer-urls=" + at(peer), "--initial-advertise-peer-urls=" + at(peer), "--initial-cluster=default=" + at(peer)}, more...)...)
	file := func(name string) string { return filepath.Join(dir, name) }
	output := run(t, kubernetes, "kube-apiserver", "--etcd-servers="+at(client),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+strconv.Itoa(api),
		"--tls-cert-file="+file("api.crt"), "--tls-private-key-file="+file("api.key"), "--client-ca-file="+file("ca.crt"),
		"--service-account-issuer=https://kubernetes.default", "--service-account-key-file="+file("sa.key"),
		"--service-account-signing-key-file="+file("sa.key"), "--service-cluster-ip-range=10.96.0.0/12,fc00:db8:20::/112",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--enable-bootstrap-token-auth",
		"--allow-privileged=true", "--endpoint-reconciler-type=none")
	s := &Server{ca: ca, url: "https://127.0.0.1:" + strconv.Itoa(api)}
	s.Kubeconfig = s.kubeconfig(t, secret.KubeAdmin(time.Hour))
	s.wait(t, output)
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Node returns the kubeconfig of the kubelet of a node.
func (s *Server) Node(t testing.TB, name string) string {
	t.Helper()
	return s.kubeconfig(t, secret.Leaf{
		CommonName: "system:node:" + name, Organization: []string{"system:nodes"}, Usage: secret.Client, TTL: time.Hour,
	})
}

func (s *Server) kubeconfig(t testing.TB, leaf secret.Leaf) string {
	t.Helper()
	pair, err := s.ca.Issue(leaf, time.Now())
	check(t, err)
	text, err := kubeconfig.Admin("test", s.url, []*x509.Certificate{s.ca.Certificate()}, pair).Marshal()
	check(t, err)
	return string(text)
}

// Client returns a client with a kubeconfig, which is closed at the end of the test.
func Client(t testing.TB, text string) *kubeapi.Client {
	t.Helper()
	conf, err := kubeapi.ParseKubeconfig([]byte(text), "")
	check(t, err)
	c, err := kubeapi.New(conf, kubeapi.Options{})
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

// wait waits until the server is ready.
func (s *Server) wait(t testing.TB, output *bytes.Buffer) {
	t.Helper()
	c := Client(t, s.Kubeconfig)
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	var last error
	for {
		err := c.Ready(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			text := output.Bytes()
			t.Fatalf("the API server is not ready after %v: %v\n%s", startLimit, last, text[max(0, len(text)-2000):])
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// run runs a program until the test ends, and returns what it prints, to be read when it has ended or has long been silent.
func run(t testing.TB, path string, args ...string) *bytes.Buffer {
	t.Helper()
	var output bytes.Buffer
	cmd := &exec.Cmd{Path: path, Args: args, Dir: t.TempDir(), Stdout: &output, Stderr: &output, Env: os.Environ()}
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
			t.Error(err)
		}
	})
	return &output
}

// program returns the path of a program of _out/components, or of the folder that TALOS_COMPONENTS names. Where CI is set it must
// be there.
func program(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TALOS_COMPONENTS")
	if dir == "" {
		dir = filepath.Join(module(t), "_out", "components")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the component %s is missing: %v", name, err)
		}
		t.Skipf("%v: build it with \"make components\"", err)
	}
	return path
}

// module returns the folder of go.mod.
func module(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	check(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("there is no go.mod above this test")
		}
		dir = up
	}
}

// port returns a port of the loopback that is free.
func port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer func() { check(t, l.Close()) }()
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		check(t, fmt.Errorf("address %v is not of TCP", l.Addr()))
	}
	return a.Port
}
