package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/cli/command"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// running is a command that goes on until it is interrupted.
type running struct {
	lines     *bufio.Scanner
	stderr    *strings.Builder
	interrupt context.CancelFunc
	ended     chan int
}

func start(t *testing.T, c *fakeCluster, line string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "talosconfig")
	if err := os.WriteFile(file, c.talosconfig(t), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	run := &running{lines: bufio.NewScanner(r), stderr: new(strings.Builder), interrupt: cancel, ended: make(chan int, 1)}
	env := command.Env{
		Stdin: strings.NewReader(""), Stdout: w, Stderr: run.stderr,
		Getenv: func(string) string { return "" }, Now: func() time.Time { return now },
	}
	go func() {
		code := Run(ctx, env, append(strings.Fields(line), "--talosconfig", file))
		_ = w.Close() // never fails
		run.ended <- code
	}()
	return run
}

// want reads lines up to one that has all the words, in their order.
func (r *running) want(t *testing.T, words ...string) {
	t.Helper()
	for r.lines.Scan() {
		rest, ok := r.lines.Text(), true
		for _, w := range words {
			_, after, found := strings.Cut(rest, w)
			rest, ok = after, ok && found
		}
		if ok {
			return
		}
	}
	t.Fatalf("the output ended without a line with %q; standard error: %s", words, r.stderr)
}

// end interrupts the command and returns its exit code.
func (r *running) end(t *testing.T) int {
	t.Helper()
	r.interrupt()
	for r.lines.Scan() {
		continue
	}
	return <-r.ended
}

func TestGetWatchShowsWhatIsThereAndWhatChanges(t *testing.T) {
	c := newCluster(t)
	run := start(t, c, "-n 10.5.0.2,10.5.0.3 get machinestatus --watch")
	run.want(t, "NODE", "*", "NAMESPACE", "STAGE")
	run.want(t, "+", "runtime", "MachineStatus", "1", "running")
	run.want(t, "+", "runtime", "MachineStatus", "1", "running")
	m := c.machines[second]
	if _, err := state.Modify(t.Context(), m.store, runtime.MachineStatusID, func(_ *resource.Metadata, s *runtime.MachineStatus) error {
		s.Stage = runtime.StageRebooting
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	run.want(t, second, "runtime", "2", "rebooting")
	ref := state.RefOf[runtime.MachineStatus](runtime.MachineStatusID)
	if err := state.TeardownAndDestroy(t.Context(), m.store, ref, ""); err != nil {
		t.Fatal(err)
	}
	run.want(t, second, "-", "runtime", "MachineStatus")
	if code := run.end(t); code != exitOK || run.stderr.Len() > 0 {
		t.Errorf("exit code = %d, standard error %q; want 0 and nothing: it was interrupted by who started it", code, run.stderr)
	}
}

func TestGetWatchOfOneResource(t *testing.T) {
	c := newCluster(t)
	run := start(t, c, "get machinestatus machine --watch -o yaml")
	run.want(t, "event: created")
	run.want(t, "stage: running")
	run.end(t)
}

func TestGetWatchGoesOnWithoutAMachineThatFails(t *testing.T) {
	c := newCluster(t)
	run := start(t, c, "-n 10.5.0.9,10.5.0.2 get machinestatus --watch")
	run.want(t, first, "+", "running")
	if code := run.end(t); code != exitError || !strings.Contains(run.stderr.String(), "error: 10.5.0.9: ") {
		t.Errorf("exit code = %d, standard error %q; want 1 and the machine that failed", code, run.stderr)
	}
}

func TestProcessesWatchDrawsAnew(t *testing.T) {
	run := start(t, newCluster(t), "processes --watch")
	run.want(t, "\x1b[H\x1b[J", "NODE", "COMMAND")
	run.want(t, "/sbin/init --now")
	run.want(t, "\x1b[H\x1b[J")
	if code := run.end(t); code != exitOK {
		t.Errorf("exit code = %d; want 0", code)
	}
}
