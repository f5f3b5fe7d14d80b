//go:build linux

package native

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// runc starts the program of that name for the containers of one cluster.
type runc struct {
	path string
	root string // its state
}

// run starts it with args and waits. What the container inherits for its output is console; nil where there is no container
// to be made. log is a file for its messages, "" for none. The error has what it said.
//
// It is killed with this process, so that nothing is made after an interrupted create when a destroy is under way. A signal
// at the death of the parent comes with the end of the thread that started the child, so that thread waits here.
func (r runc) run(ctx context.Context, console io.Writer, log string, args ...string) (string, error) {
	type result struct {
		out string
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		out, err := r.wait(ctx, console, log, args)
		done <- result{out, err}
	}()
	res := <-done
	return res.out, res.err
}

func (r runc) wait(ctx context.Context, console io.Writer, log string, args []string) (string, error) {
	all := []string{"--root", r.root}
	var start int64
	if log != "" {
		all = append(all, "--log", log)
		if info, err := os.Stat(log); err == nil {
			start = info.Size()
		}
	}
	cmd := exec.CommandContext(ctx, r.path, append(all, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second // a container that got the output keeps it open
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if console != nil {
		cmd.Stdout, cmd.Stderr = console, console
	}
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if console != nil {
			said = after(log, start)
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", fmt.Errorf("runc %s: %w: %s", strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// after returns what was written to a file after its first bytes, a line of it for each.
func after(name string, start int64) string {
	text, err := os.ReadFile(name)
	if err != nil || int64(len(text)) <= start {
		return ""
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(text[start:])), "\n"), "; ")
}

// instance is a container as runc list has it.
type instance struct {
	ID     string `json:"id"`
	PID    int    `json:"pid"`
	Status string `json:"status"` // created, running, paused, stopped
}

// list returns the containers by name.
func (r runc) list(ctx context.Context) (map[string]instance, error) {
	all := map[string]instance{}
	if _, err := os.Stat(r.root); errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	out, err := r.run(ctx, nil, "", "list", "--format", "json")
	if err != nil {
		return nil, err
	}
	var found []instance
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		return nil, fmt.Errorf("runc list: %w: %q", err, out)
	}
	for _, i := range found {
		all[i.ID] = i
	}
	return all, nil
}
