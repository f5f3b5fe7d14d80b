package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/discoverypb"
	"talos.internal/secret"
)

// start runs discovery-service and returns its address; the test waits for its end.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, append(args, "--listen", "127.0.0.1:0"), w)
		_ = w.Close()
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(stopTime + 5*time.Second):
			t.Error("it does not end")
		}
	})
	line, err := bufio.NewReader(r).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "discovery is served at ")
	if err != nil || !ok {
		t.Fatalf("its first line is %q, %v", line, err)
	}
	return address
}

// meet leaves the data of a machine and sees it, and keeps a watch open at the end.
func meet(t *testing.T, address string, creds credentials.TransportCredentials) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := discoverypb.NewClusterClient(conn)
	cluster := base64.StdEncoding.EncodeToString(make([]byte, 32))
	if _, err := c.Hello(ctx, &discoverypb.HelloRequest{ClusterId: cluster, ClientVersion: "v1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AffiliateUpdate(ctx, &discoverypb.AffiliateUpdateRequest{ClusterId: cluster, AffiliateId: "node", AffiliateData: []byte("sealed"), Ttl: durationpb.New(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	watch, err := c.Watch(ctx, &discoverypb.WatchRequest{ClusterId: cluster})
	if err != nil {
		t.Fatal(err)
	}
	seen, err := watch.Recv()
	if err != nil || len(seen.GetAffiliates()) != 1 || string(seen.GetAffiliates()[0].GetData()) != "sealed" {
		t.Errorf("Watch = %v, %v; want the machine", seen, err)
	}
}

func TestMachinesMeetOverTLS(t *testing.T) {
	ca, err := secret.NewAuthority(secret.OS, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sans, err := secret.ParseSANs([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(secret.Leaf{CommonName: "discovery", SANs: sans, Usage: secret.Server, TTL: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string][]byte{cert: pair.CertificatePEM(), key: pair.Key().PEM()} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	meet(t, start(t, "--cert", cert, "--key", key), credentials.NewTLS(&tls.Config{RootCAs: ca.Pool()}))
}

func TestMachinesMeetBehindAProxy(t *testing.T) {
	meet(t, start(t, "--plaintext"), insecure.NewCredentials())
}

func TestWrongArguments(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", "expected --cert and --key, or --plaintext"},
		{"--cert a", "expected --cert and --key"},
		{"--plaintext --key a", "has no use for --cert and --key"},
		{"--plaintext extra", `unexpected argument "extra"`},
		{"--cert /nowhere/a --key /nowhere/b", "read the certificate: open /nowhere/a"},
		{"--plaintext --listen nonsense", "nonsense"},
		{"--frobnicate", "frobnicate"},
	} {
		err := run(t.Context(), strings.Fields(tc.args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("run(%q) = %v; want %q in it", tc.args, err, tc.want)
		}
	}
}
