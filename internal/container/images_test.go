package container

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

// The node's own registry compares a blob with its digest before it answers. One that hangs elsewhere is not waited for so long.
func TestTheNodesOwnRegistryMayTakeLongToAnswer(t *testing.T) {
	const usual = 30 * time.Second
	c := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: usual}}
	if err := patient(c); err != nil {
		t.Fatal(err)
	}
	both, ok := c.Transport.(byHost)
	if !ok {
		t.Fatalf("the transport is %T", c.Transport)
	}
	limit := func(r http.RoundTripper) time.Duration {
		if h, ok := r.(*http.Transport); ok {
			return h.ResponseHeaderTimeout
		}
		return 0
	}
	if limit(both.own) != headerLimit || limit(both.others) != usual {
		t.Errorf("limits %v and %v; want %v and %v", limit(both.own), limit(both.others), headerLimit, usual)
	}
	for url, own := range map[string]bool{
		"http://127.0.0.1:3172/v2/": true, "http://[::1]:3172/v2/": true, "https://registry.example.com/v2/": false, "http://10.5.0.1:5000/v2/": false,
	} {
		asked := ""
		trip := byHost{own: tripper(func() { asked = "own" }), others: tripper(func() { asked = "others" })}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trip.RoundTrip(r); !errors.Is(err, http.ErrSkipAltProtocol) || (asked == "own") != own {
			t.Errorf("%s goes to %s, %v", url, asked, err)
		}
	}
}

type tripper func()

func (f tripper) RoundTrip(*http.Request) (*http.Response, error) {
	f()
	return nil, http.ErrSkipAltProtocol
}
