package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be its own children: PROCESS_TEST says what one does.
func TestMain(m *testing.M) {
	what, arg, _ := strings.Cut(os.Getenv("PROCESS_TEST"), ":")
	n, _ := strconv.Atoi(arg)
	switch what {
	case "":
		os.Exit(m.Run())
	case "exit":
		os.Exit(n)
	case "cat": // until the end of the input
		_, _ = io.Copy(os.Stdout, os.Stdin)
		os.Exit(n)
	case "orphan": // leave a child that lives until the end of the input
		c := child("cat:" + arg)
		c.Stdin = os.Stdin
		if err := c.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.Process.Pid)
	case "status":
		b, err := os.ReadFile("/proc/self/status")
		fmt.Printf("%s%v", b, err)
	}
}

// child returns a command that is this binary again. It is named by the link of proc, since another user could not come
// through the directories that go test makes.
func child(what string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"PROCESS_TEST=" + what, "GORACE=atexit_sleep_ms=0"} // the race detector would wait a second at each exit
	return cmd
}

// running returns a Reaper that runs until the test ends.
func running(t *testing.T, orphan func(Exit)) *Reaper {
	t.Helper()
	if err := BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	r := NewReaper(orphan)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v; want context.Canceled", err)
		}
		if pid, err := ended(0, 0); pid != 0 || err != nil {
			t.Errorf("child %d was not collected (%v)", pid, err)
		}
	})
	return r
}

func wait(t *testing.T, c *Child) Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := c.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEachChildGetsItsOwnStatus(t *testing.T) {
	r := running(t, func(e Exit) { t.Errorf("%+v was taken for an orphan", e) })
	const starters, each = 8, 6
	var wg sync.WaitGroup
	for s := range starters {
		wg.Go(func() {
			for i := range each {
				code := (s*each + i) % 100
				c, err := r.Start(child(fmt.Sprintf("exit:%d", code)), Options{})
				if err != nil {
					t.Error(err)
					return
				}
				// A program that is not there: the syscall package forks for it and collects the child itself.
				if _, err := r.Start(exec.Command("/no/such/program"), Options{}); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Start(/no/such/program) = %v; want fs.ErrNotExist", err)
				}
				if e := wait(t, c); e.Code != code || e.PID != c.PID() {
					t.Errorf("child %d ended with %+v; want code %d", c.PID(), e, code)
				}
			}
		})
	}
	wg.Wait()
	if len(r.known) != 0 {
		t.Errorf("%d children are still known", len(r.known))
	}
}

func TestAChildThatEndsBeforeItsStartReturnsIsNoOrphan(t *testing.T) {
	r := running(t, func(e Exit) { t.Errorf("%+v was taken for an orphan", e) })
	// The start is held up until the loop has seen the dead child and waits for the starts under way to end.
	r.starts.RLock()
	cmd := child("exit:5")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for pid := 0; pid == 0; {
		var err error
		if pid, err = ended(1, cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	for r.starts.TryRLock() { // until a writer waits
		r.starts.RUnlock()
	}
	c := &Child{cmd: cmd, collected: make(chan struct{}), finished: make(chan struct{})}
	r.mu.Lock()
	r.known[cmd.Process.Pid] = c
	r.mu.Unlock()
	r.starts.RUnlock()
	<-c.collected
	if c.exit.Code != 5 || c.err != nil {
		t.Errorf("child ended with %+v, %v; want code 5", c.exit, c.err)
	}
}

func TestOrphansAreCollected(t *testing.T) {
	orphans := make(chan Exit, 1)
	r := running(t, func(e Exit) { orphans <- e })
	for _, watched := range []bool{false, true} {
		t.Run(fmt.Sprintf("watched %t", watched), func(t *testing.T) {
			in, hold, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			var out bytes.Buffer
			cmd := child("orphan:7")
			cmd.Stdin, cmd.Stdout = in, &out
			c, err := r.Start(cmd, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if e := wait(t, c); !e.Success() {
				t.Fatalf("the parent ended with %v: %s", e, out.String())
			}
			pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
			if err != nil {
				t.Fatal(err)
			}
			from := (<-chan Exit)(orphans)
			if watched {
				exit, stop, err := r.Watch(pid)
				if err != nil {
					t.Fatal(err)
				}
				defer stop()
				from = exit
			}
			hold.Close()
			if e := <-from; e.PID != pid || e.Code != 7 {
				t.Errorf("orphan ended with %+v; want pid %d and code 7", e, pid)
			}
			if _, _, err := r.Watch(pid); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Watch(of one that has ended) = %v; want fs.ErrNotExist", err)
			}
		})
	}
	if len(r.watches) != 0 {
		t.Errorf("%d watches are left", len(r.watches))
	}
}

func TestSignalsAndWhatTheyLeave(t *testing.T) {
	r := running(t, nil)
	cmd := child("cat:0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c, err := r.Start(cmd, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := wait(t, c)
	if e.Signal != syscall.SIGKILL || e.Code != -1 || e.Success() || e.String() != "signal: killed" {
		t.Errorf("child ended with %+v (%s); want SIGKILL", e, e)
	}
	if err := c.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal(after the end) = %v; want os.ErrProcessDone", err)
	}
}

// slow is a writer that takes its time: it says that it was called, and goes on when it is told to.
type slow struct {
	called, release chan struct{}
	taken           atomic.Int64
}

func (s *slow) Write(p []byte) (int, error) {
	s.called <- struct{}{}
	<-s.release
	s.taken.Add(int64(len(p)))
	return len(p), nil
}

func TestWaitEndsAfterTheOutputIsRead(t *testing.T) {
	r := running(t, nil)
	t.Run("however slowly", func(t *testing.T) {
		out := &slow{called: make(chan struct{}), release: make(chan struct{})}
		cmd := child("cat:0")
		cmd.Stdin, cmd.Stdout = strings.NewReader("text"), out
		c, err := r.Start(cmd, Options{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-out.called
			<-c.collected
			// A wait that ends now would be early. It has some turns to do so.
			for range 1000 {
				runtime.Gosched()
			}
			close(out.release)
		}()
		wait(t, c)
		if n := out.taken.Load(); n != 4 {
			t.Errorf("the wait ended after %d of 4 bytes were taken", n)
		}
	})
	text := strings.Repeat("all of it\n", 20000)
	var out bytes.Buffer
	cmd := child("cat:3")
	cmd.Stdin, cmd.Stdout = strings.NewReader(text), &out
	c, err := r.Start(cmd, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if e := wait(t, c); e.Code != 3 || out.String() != text || e.String() != "exit status 3" {
		t.Errorf("child ended with %v and %d bytes; want 3 and %d", e, out.Len(), len(text))
	}
}

func TestTheContextOfACommandEndsIt(t *testing.T) {
	r := running(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{"PROCESS_TEST=cat:0"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Start(cmd, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "up\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" || err != nil {
		t.Fatalf("child said %q, %v", line, err)
	}
	cancel()
	if e := wait(t, c); e.Signal != syscall.SIGKILL {
		t.Errorf("child ended with %v; want SIGKILL", e)
	}
}

func TestAWaitThatIsGivenUpSaysForWhat(t *testing.T) {
	r := running(t, nil)
	cmd := child("cat:0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Start(cmd, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("no more patience"))
	if _, err := c.Wait(ctx); err == nil || !strings.Contains(err.Error(), "/proc/self/exe") || !strings.Contains(err.Error(), "no more patience") {
		t.Errorf("Wait() = %v; want the program and the cause", err)
	}
	in.Close()
	<-c.Done()
	if e := wait(t, c); !e.Success() {
		t.Errorf("child ended with %v", e)
	}
}
