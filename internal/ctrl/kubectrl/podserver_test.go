package kubectrl

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// asked asks for the list on a connection, and reports the answer, and after how long it came.
func asked(ctx context.Context, p *podList, method, path string) (*httptest.ResponseRecorder, time.Duration) {
	began := time.Now()
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, http.NoBody))
	return w, time.Since(began)
}

func TestKubeletWaitsForAnotherList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &podList{}
		one, other := remember(t.Context(), nil), remember(t.Context(), nil)
		expect := func(what string, ctx context.Context, want string, after time.Duration) {
			t.Helper()
			w, took := asked(ctx, p, http.MethodGet, "/pods")
			if w.Code != http.StatusOK || w.Body.String() != want || took != after {
				t.Errorf("%s: %d %q after %v; want %q after %v", what, w.Code, w.Body, took, want, after)
			}
		}
		for range 2 {
			if w, took := asked(one, p, http.MethodGet, "/pods"); w.Code != http.StatusServiceUnavailable || took != 0 {
				t.Errorf("before there is a list: %d after %v; want 503 at once", w.Code, took)
			}
		}
		p.set([]byte("first"))
		expect("a first question", one, "first", 0)
		expect("nothing changes", one, "first", hold)
		expect("another connection", other, "first", 0)
		go func() {
			time.Sleep(time.Second)
			p.set([]byte("first")) // it is the same: nobody is woken
			time.Sleep(time.Second)
			p.set([]byte("second"))
		}()
		expect("it changes meanwhile", one, "second", 2*time.Second)
		expect("it changed since", other, "second", 0)

		gone, cancel := context.WithCancel(one)
		time.AfterFunc(time.Second, cancel)
		if w, took := asked(gone, p, http.MethodGet, "/pods"); w.Body.Len() != 0 || took != time.Second {
			t.Errorf("kubelet goes away: %q after %v; want nothing after 1s", w.Body, took)
		}
		for _, tc := range []struct {
			method, path string
			want         int
		}{{http.MethodPost, "/pods", http.StatusMethodNotAllowed}, {http.MethodGet, "/", http.StatusNotFound}} {
			if w, took := asked(one, p, tc.method, tc.path); w.Code != tc.want || took != 0 {
				t.Errorf("%s %s: %d after %v; want %d at once", tc.method, tc.path, w.Code, took, tc.want)
			}
		}
	})
}
