package metal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/provision/qemu"
)

// consoleFile is the console of the machine as a file of this computer.
func (m *machine) consoleFile() string {
	return filepath.Join(m.dir, m.cluster.Name, "nodes", m.node().Name, "console.log")
}

// speaks waits until the kernel has said something on the console after the first skip bytes, and returns when that was.
func (m *machine) speaks(skip int) time.Time {
	m.t.Helper()
	for began := time.Now(); time.Since(began) < bootLimit; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(m.consoleFile()); err == nil && len(text) > skip && bytes.Contains(text[skip:], []byte("Linux version")) {
			return time.Now()
		}
	}
	m.t.Fatalf("the kernel said nothing in %v", bootLimit)
	return time.Time{}
}

// milestones are lines of the console after the first skip bytes that say how far a start is.
func (m *machine) milestones(skip int) string {
	m.t.Helper()
	text, err := os.ReadFile(m.consoleFile())
	if err != nil {
		m.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text[min(skip, len(text)):])) {
		if strings.Contains(line, "talos:") || strings.Contains(line, "Run /init") || strings.Contains(line, "XFS (") {
			fmt.Fprintf(&out, "%.180s\n", strings.TrimSpace(line))
		}
	}
	return out.String()
}

// memory is what the kernel says of its memory.
func (m *machine) memory() string {
	m.t.Helper()
	var said strings.Builder
	m.until("the memory", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "read", "/proc/meminfo")
		if err != nil {
			return err
		}
		said.Reset()
		for line := range strings.Lines(out) {
			for _, key := range []string{"MemTotal:", "MemFree:", "MemAvailable:", "AnonPages:", "AnonHugePages:"} {
				if strings.HasPrefix(line, key) {
					said.WriteString(strings.Join(strings.Fields(line), " ") + "; ")
				}
			}
		}
		return nil
	})
	return said.String()
}

// TestStartTime measures from the kernel's first message to an answer of the API, at the first start of a disk and at the second. What it
// takes depends on who else works on this computer, so it is reported and only bounded from above.
func TestStartTime(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options qemu.Options
	}{{"by the kernel", direct(t)}, {"by firmware", qemu.Options{UEFI: true}}} {
		t.Run(tc.name, func(t *testing.T) {
			m := newCluster(t, shape{
				name: "metal-speed", image: built(t, "talos.qcow2", "talos.raw"), options: tc.options, cpus: 2, documents: []string{withoutTimeServer},
			})
			begun := m.speaks(0)
			m.answers()
			t.Logf("first start: %.1f s\n%s\n%s", time.Since(begun).Seconds(), m.milestones(0), m.memory())
			m.shows("volumestatus EPHEMERAL", "phase: ready")
			if err := m.p.KillNode(t.Context(), m.cluster.Name, m.node().Name); err != nil {
				t.Fatal(err)
			}
			said, err := os.ReadFile(m.consoleFile())
			if err != nil {
				t.Fatal(err)
			}
			m.start()
			begun = m.speaks(len(said))
			m.answers()
			t.Logf("second start: %.1f s\n%s\n%s", time.Since(begun).Seconds(), m.milestones(len(said)), m.memory())
		})
	}
}
