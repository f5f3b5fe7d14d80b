package node

import (
	"testing"

	"talos.internal/internal/sys/proc"
)

func TestTheCommandLineKeepsTheScreenFromTheDashboard(t *testing.T) {
	for value, want := range map[string]bool{"1": false, "true": false, "0": true, "what": true} {
		if got := wantsDashboard([]proc.Param{{Key: "talos.dashboard.disabled", Value: value, Set: true}}); got != want {
			t.Errorf("wantsDashboard(%s) = %t; want %t", value, got, want)
		}
	}
	if !wantsDashboard(nil) {
		t.Error("a command line that says nothing keeps the screen from the dashboard")
	}
}
