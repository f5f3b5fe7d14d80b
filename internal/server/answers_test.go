package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/status"
)

// answers calls every method once, as an administrator, with an empty request.
func answers(t *testing.T, r *rig) string {
	t.Helper()
	var out strings.Builder
	for _, m := range methods(r.server) {
		patience := 10 * time.Second
		if m.full == "/machine.MachineService/Events" {
			patience = 50 * time.Millisecond // it has no end
		}
		err := send(as(t, admin), r.conn, m, nil, patience)
		fmt.Fprintf(&out, "%s %s", m.full, status.Code(err))
		if err != nil {
			text := strings.ReplaceAll(status.Convert(err).Message(), r.deps.Root, "ROOT")
			fmt.Fprintf(&out, ": %s", strings.ReplaceAll(text, "\n", " | "))
		}
		out.WriteString("\n")
	}
	return out.String()
}

// TestEachMethodAnswersOrSaysWhyNot holds what every method says to an empty request: on a node without optional parts, where the
// mode refuses and says why, and on one that has all.
func TestEachMethodAnswersOrSaysWhyNot(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"bare":         nil,
		"worker":       func(r *rig) { r.configs.set(t, configText(t, "worker", "lab")) },
		"controlplane": func(r *rig) { full(r); controlPlane(t)(r) },
	} {
		t.Run(name, func(t *testing.T) {
			got := answers(t, newRig(t, change))
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs (-update writes it):\n%s", path, got)
			}
		})
	}
}
