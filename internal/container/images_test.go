package container

import (
	"net/http"
	"testing"
	"time"
)

// The node's own registry compares a blob with its digest before it answers.
func TestARegistryMayTakeLongToAnswer(t *testing.T) {
	transport := &http.Transport{ResponseHeaderTimeout: 30 * time.Second}
	if err := patient(&http.Client{Transport: transport}); err != nil || transport.ResponseHeaderTimeout != headerLimit {
		t.Errorf("a registry has %v to answer, %v; want %v", transport.ResponseHeaderTimeout, err, headerLimit)
	}
}
