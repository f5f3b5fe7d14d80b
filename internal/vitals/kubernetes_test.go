package vitals

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/secret"
	"talos.internal/secret/kubeconfig"
)

// answers are what Kubernetes sends, cut down to what matters and a little more.
var answers = map[string]string{
	"/api/v1/nodes": `{"kind":"NodeList","items":[{"metadata":{"name":"w-1","labels":{"a":"b"}},"spec":{"unschedulable":true},"status":{
		"addresses":[{"type":"InternalIP","address":"10.5.0.4"},{"type":"Hostname","address":"w-1"},{"type":"InternalIP","address":"fd00::4"}],
		"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"cni plugin not initialized"}]}}]}`,
	"/api/v1/namespaces/kube-system/pods": `{"items":[{"metadata":{"name":"kube-scheduler-cp-1"},"spec":{"nodeName":"cp-1"},"status":{"phase":"Running",
		"conditions":[{"type":"Ready","status":"True"}]}},{"metadata":{"name":"x"},"status":{"phase":"Pending"}}]}`,
	"/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy": `{"metadata":{"generation":2},"status":{"observedGeneration":1,"desiredNumberScheduled":3,"numberReady":2}}`,
}

// testAPI returns access to a server that asks for the certificate of an administrator.
func testAPI(t *testing.T, handler http.HandlerFunc) (*API, []byte) {
	t.Helper()
	ca, err := secret.NewAuthority(secret.Kubernetes, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(l secret.Leaf) secret.Pair {
		pair, err := ca.Issue(l, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	server := issue(secret.NodeServer("kube", secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}))
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	text, err := kubeconfig.Admin("demo", s.URL, []*x509.Certificate{ca.Certificate()}, issue(secret.KubeAdmin(time.Hour))).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	api, err := NewKubernetes(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return api, text
}

func TestAnswersOfKubernetesAreRead(t *testing.T) {
	var deleted []string
	api, text := testAPI(t, func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		switch {
		case r.Method == http.MethodDelete:
			deleted = append(deleted, r.URL.Path)
			answer = "{}"
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			answer = `{"kind":"Status","message":"deployments.apps \"coredns\" not found"}`
		}
		fmt.Fprint(w, answer)
	})
	got := api.Observe(t.Context(), AskNodes|AskPods|AskProxy|AskDNS)
	want := KubeObservation{
		Nodes: NewAnswer([]KubeNode{{
			Name: "w-1", Addresses: []netip.Addr{netip.MustParseAddr("10.5.0.4"), netip.MustParseAddr("fd00::4")}, Reason: "cni plugin not initialized", Unschedulable: true,
		}}, nil),
		Pods:  NewAnswer([]Pod{{Name: "kube-scheduler-cp-1", Node: "cp-1", Phase: "Running", Ready: true}, {Name: "x", Phase: "Pending"}}, nil),
		Proxy: NewAnswer(Workload{Desired: 3, Ready: 2}, nil),
		DNS:   NewAnswer(Workload{Missing: true}, nil),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("Observe (-want +got):\n%s", diff)
	}
	if o := api.Observe(t.Context(), AskNodes); o.Pods.Known || o.Pods.Err != nil {
		t.Errorf("what was not asked has an answer: %+v", o.Pods)
	}
	for _, n := range []Node{NewNode("10.5.0.4", false), NewNode("10.5.0.99", false)} {
		if err := api.RemoveNode(t.Context(), n); err != nil {
			t.Errorf("RemoveNode(%s) = %v", n, err)
		}
	}
	if want := []string{"/api/v1/nodes/w-1"}; !cmp.Equal(deleted, want) {
		t.Errorf("deleted %q; want %q", deleted, want)
	}
	// Another server than that of the file.
	other, err := NewKubernetes(text, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Observe(t.Context(), AskNodes).Nodes.Err; err == nil || !strings.Contains(err.Error(), "Kubernetes at https://127.0.0.1:1 does not answer: ") {
		t.Errorf("Observe of nobody = %v; want the address in the error", err)
	}
}

func TestARefusalOfKubernetesIsSaid(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"with a message", `{"message":"nodes is forbidden"}`, "get /api/v1/nodes of Kubernetes: nodes is forbidden"},
		{"without", "no", "403 Forbidden"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, _ := testAPI(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, tc.body)
			})
			err := api.Observe(t.Context(), AskNodes).Nodes.Err
			if s, ok := errors.AsType[*StatusError](err); !ok || s.Code != http.StatusForbidden || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Observe = %v; want %q", err, tc.want)
			}
		})
	}
}

func FuzzNewKubernetes(f *testing.F) {
	f.Add([]byte("clusters:\n- cluster: {server: 'https://10.5.0.2:6443', certificate-authority-data: QUJD}\n"), "")
	f.Add([]byte("clusters: []"), "https://x")
	f.Add([]byte("{"), "%zz")
	f.Fuzz(func(t *testing.T, data []byte, server string) {
		if api, err := NewKubernetes(data, server); (api == nil) == (err == nil) {
			t.Errorf("NewKubernetes = %v, %v; want one of them", api, err)
		}
	})
}

func FuzzPeerAddresses(f *testing.F) {
	f.Add("https://10.5.0.2:2380")
	f.Add("https://[fd00::2]:2380")
	f.Add("://")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range peerAddresses([]string{text}) {
			if !a.IsValid() {
				t.Errorf("peerAddresses(%q) has an address that is none", text)
			}
		}
	})
}
