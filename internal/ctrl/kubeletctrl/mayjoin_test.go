package kubeletctrl

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"talos.internal/config/generate/generatetest"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
)

func TestKubeletStartsAgainWhenItCanJoin(t *testing.T) {
	n, r, w := nothing, refused, welcomed
	for _, tc := range []struct {
		name string
		seen []outlook
		want string // R: it is started again
	}{
		{"it is not taken", []outlook{r, r, r, r}, "...."},
		{"it is taken from the first", []outlook{w, w, w, w}, "...."},
		{"it is taken after it was not", []outlook{r, r, w, w, w, w, w}, "...R..."},
		{"it joins by itself", []outlook{r, w, n, n}, "...."},
		{"the answers change", []outlook{r, w, r, w, w}, "....R"},
		{"it does not run for a while", []outlook{r, w, n, w, w}, "....."},
		{"it lost its certificate", []outlook{n, n, r, w, w}, "....R"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p patience
			got := ""
			for _, seen := range tc.seen {
				if p.next(seen) {
					got += "R"
				} else {
					got += "."
				}
			}
			if got != tc.want {
				t.Errorf("after %v: %s; want %s", tc.seen, got, tc.want)
			}
		})
	}
}

func TestJoinIsWatched(t *testing.T) {
	s := &services{loaded: map[string]supervise.Service{ServiceID: {ID: ServiceID, Runner: supervise.Func(func(ctx context.Context, _ io.Writer) error {
		<-ctx.Done()
		return nil
	})}}}
	var mu sync.Mutex
	answer := errors.New("connection refused")
	asked := 0
	d := tempDeps(t)
	d.Services = s
	d.MayJoin = func(context.Context, secrets.Kubelet) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return answer == nil, answer
	}
	questions := func() int {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		if err := s.Start(ServiceID); err != nil {
			h.T.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := questions(); n != 0 {
			h.T.Errorf("asked %d times without credentials", n)
		}
		controllertest.Create(h, secrets.KubeletID, keysOf(h.T))
		time.Sleep(5 * time.Second)
		if got, want := s.did(), "start"; got != want || questions() == 0 {
			h.T.Errorf("while the cluster does not answer: %q, asked %d times; want %q", got, questions(), want)
		}
		mu.Lock()
		answer = nil
		mu.Unlock()
		time.Sleep(time.Minute)
		if got, want := s.did(), "start restart"; got != want {
			h.T.Errorf("when it does: %q; want %q: once", got, want)
		}
		if err := errors.Join(os.MkdirAll(d.pki(), 0o700), os.MkdirAll(d.Etc, 0o700), os.WriteFile(d.clientCertFile(), []byte("certificate"), 0o600), os.WriteFile(d.kubeconfigFile(), []byte("kubeconfig"), 0o600)); err != nil {
			h.T.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		before := questions()
		time.Sleep(time.Minute)
		if n := questions(); n != before {
			h.T.Errorf("asked %d times after kubelet has joined", n-before)
		}
		s.end()
	}, JoinController{deps: d})
}

func TestKubeletWaitsUntilItHasSomethingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := generatetest.Bundle(t)
		time.Sleep(time.Until(b.Kubernetes.Certificate().NotBefore.Add(time.Hour))) // the bubble's clock begins long before
		base := run{spec: kube.KubeletSpec{Image: "kubelet", ExpectedNodename: "node-1"}, keys: keysOf(t)}
		d := tempDeps(t)
		var answer atomic.Bool
		var images, fails int
		d.MayJoin = func(context.Context, secrets.Kubelet) (bool, error) { return answer.Load(), nil }
		d.Image = func(context.Context, string) error {
			if images++; images <= fails {
				return errors.New("containerd does not answer")
			}
			return nil
		}
		// after returns how long kubelet waits when do happens after ten seconds.
		after := func(r run, do func(c *ServiceController)) time.Duration {
			t.Helper()
			c := &ServiceController{deps: d, want: r}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			time.AfterFunc(10*time.Second, func() { do(c) })
			_ = admission{c}.Wait(ctx)
			return time.Since(began)
		}
		nothing := func(*ServiceController) {}
		if got := after(base, nothing); got != time.Minute {
			t.Errorf("it waited for %v; want until it was told to end", got)
		}
		if images != 1 {
			t.Errorf("the image was asked for %d times; want once", images)
		}
		images, fails = 0, 3
		if got := after(base, func(*ServiceController) { answer.Store(true) }); got > 11*time.Second || got < 10*time.Second {
			t.Errorf("it waited for %v; want until the cluster takes the node", got)
		}
		if images != 4 {
			t.Errorf("the image was asked for %d times; want until it is there", images)
		}
		answer.Store(false)
		pods := base
		pods.pods = true
		if got := after(base, func(c *ServiceController) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.want = pods
		}); got > 11*time.Second {
			t.Errorf("it waited for %v; want until the user gave it a pod", got)
		}
		master := base
		master.issuer = secrets.CertificateAndKey{Crt: b.Kubernetes.CertificatePEM(), Key: b.Kubernetes.Key().PEM()}
		if got := after(master, nothing); got != 0 {
			t.Errorf("on the control plane it waited for %v", got)
		}
		if err := prepare(master, d, time.Now(), io.Discard); err != nil {
			t.Fatal(err)
		}
		if got := after(base, nothing); got != 0 {
			t.Errorf("with a certificate it waited for %v", got)
		}
	})
}

func TestMayJoin(t *testing.T) {
	reply, code := "", 0
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" || r.Header.Get("Authorization") != "Bearer id.secret" ||
			!strings.Contains(string(body), `"certificatesigningrequests"`) {
			code = http.StatusTeapot
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, reply)
	}))
	defer srv.Close()
	u, err := resource.ParseURL(srv.URL)
	must(t, u, err)
	keys := secrets.Kubelet{BootstrapTokenID: "id", BootstrapTokenSecret: "secret", AcceptedCAs: []secrets.Certificate{
		{Crt: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})},
	}}
	keys.Endpoint = u
	for _, tc := range []struct {
		name  string
		code  int
		reply string
		want  bool
		err   string
	}{
		{"yes", 201, `{"status":{"allowed":true}}`, true, ""},
		{"no", 201, `{"status":{"allowed":false,"reason":"no RBAC policy matched"}}`, false, ""},
		{"the token is not known", 401, `{"kind":"Status"}`, false, "401 Unauthorized"},
		{"not JSON", 201, `<html>`, false, "invalid character"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, reply = tc.code, tc.reply
			got, err := MayJoin(t.Context(), keys)
			if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("MayJoin = %t, %v; want %t and an error with %q", got, err, tc.want, tc.err)
			}
		})
	}
	t.Run("a server of another cluster", func(t *testing.T) {
		code, reply = 201, `{"status":{"allowed":true}}`
		other := keys
		other.AcceptedCAs = nil
		if got, err := MayJoin(t.Context(), other); got || err == nil {
			t.Errorf("MayJoin = %t, %v; want an error", got, err)
		}
	})
}
