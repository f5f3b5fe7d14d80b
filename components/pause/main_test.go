package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestMain runs pause in place of the tests when it is started as the helper, and says on standard
// output when the handlers are in place.
func TestMain(m *testing.M) {
	if os.Getenv("PAUSE_HELPER") != "" {
		s := listen()
		os.Stdout.WriteString("ready\n")
		hold(s)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestExitsCleanlyOnTermAndInt(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		clean  bool
	}{
		{"SIGTERM", syscall.SIGTERM, true},
		{"SIGINT", syscall.SIGINT, true},
		{"SIGHUP is not handled", syscall.SIGHUP, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			// A process that ignores the signal would be waited for without end.
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, self)
			cmd.Env = append(os.Environ(), "PAUSE_HELPER=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatalf("helper said %q, %v; want ready", line, err)
			}
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); c.clean != (err == nil) {
				t.Errorf("pause after %v = %v; want a clean exit: %v", c.signal, err, c.clean)
			}
		})
	}
}

func TestReapsEveryChildThatHasEnded(t *testing.T) {
	if n := reap(); n != 0 {
		t.Fatalf("reap() without children = %d; want 0", n)
	}
	ended := make(chan os.Signal, 8)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	const children = 3
	for range children {
		if _, err := syscall.ForkExec("/bin/true", []string{"true"}, nil); err != nil {
			t.Skipf("start /bin/true: %v", err)
		}
	}
	deadline := time.After(30 * time.Second)
	// Signals of one kind merge, so their number says nothing: look again after each.
	for reaped := 0; reaped < children; {
		select {
		case <-ended:
			reaped += reap()
		case <-deadline:
			t.Fatalf("reaped %d children; want %d", reaped, children)
		}
	}
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("wait after reap = %v; want %v", err, syscall.ECHILD)
	}
}
