package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
)

// patience ends a test that hangs; nothing is measured by it.
const patience = 30 * time.Second

// run is one run of a Runner under a test.
type run struct {
	t       *testing.T
	cancel  context.CancelFunc
	kill    chan struct{}
	started chan string
	done    chan error

	mu    sync.Mutex
	said  strings.Builder
	spoke chan struct{}
}

func (r *run) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.Write(p)
	select {
	case r.spoke <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (r *run) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

// begin starts spec.
func begin(t *testing.T, l Launcher, spec Spec) *run {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{t: t, cancel: cancel, kill: make(chan struct{}), started: make(chan string, 1), done: make(chan error, 1), spoke: make(chan struct{}, 1)}
	go func() {
		r.done <- Runner{Spec: spec, Launcher: l}.Run(ctx, supervise.Env{Log: r, Kill: r.kill, Started: func(m string) { r.started <- m }})
	}()
	return r
}

// hears waits until the child has said text.
func (r *run) hears(text string) {
	r.t.Helper()
	late := time.After(patience)
	for !strings.Contains(r.text(), text) {
		select {
		case <-r.spoke:
		case <-late:
			r.t.Fatalf("the child said %q; want %q", r.text(), text)
		}
	}
}

func (r *run) end() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		r.t.Fatalf("the run does not end; it said %q", r.text())
		return nil
	}
}

var pidOf = regexp.MustCompile(`PID (\d+)`)

func (r *run) pid() int {
	r.t.Helper()
	select {
	case m := <-r.started:
		return pidIn(r.t, m)
	case err := <-r.done:
		r.t.Fatalf("the run ended with %v", err)
	case <-time.After(patience):
		r.t.Fatal("the run does not start")
	}
	return 0
}

func pidIn(t *testing.T, message string) int {
	t.Helper()
	m := pidOf.FindStringSubmatch(message)
	if m == nil {
		t.Fatalf("message %q names no PID", message)
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// launchers runs a test with a launcher that waits for its children and with one under a global reaper.
func launchers(t *testing.T, f func(t *testing.T, l Launcher)) {
	t.Run("own wait", func(t *testing.T) { f(t, Exec{}) })
	t.Run("global reaper", func(t *testing.T) { f(t, Exec{Reaper: reap(t)}) })
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	if fmt.Sprint(err) != want {
		t.Errorf("Run = %v; want %s", err, want)
	}
}

func TestRunEndsAsTheProcessDoes(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		for _, code := range []int{0, 1, 42} {
			r := begin(t, l, act(fmt.Sprint("exit ", code)))
			err := r.end()
			want := "<nil>"
			if code != 0 {
				want = fmt.Sprint("exit status ", code)
			}
			check(t, err, want)
			if got, want := r.text(), fmt.Sprintf("leaving with %d\n", code); got != want {
				t.Errorf("log = %q; want %q", got, want)
			}
		}
	})
}

func TestKillFromOutsideIsSeen(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		r := begin(t, l, act("wait"))
		if err := syscall.Kill(r.pid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		err := r.end()
		check(t, err, "signal: killed")
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Exit.Signal != syscall.SIGKILL {
			t.Errorf("Run = %#v; want an ExitError with SIGKILL", err)
		}
	})
}

func TestStopSignalAsks(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		for _, sig := range []syscall.Signal{0, syscall.SIGUSR1} {
			spec := act("polite")
			spec.StopSignal = sig
			r := begin(t, l, spec)
			r.hears("ready")
			r.cancel()
			check(t, r.end(), "<nil>")
			name := "terminated"
			if sig != 0 {
				name = sig.String()
			}
			if want := "ready\ngot " + name + "\n"; r.text() != want {
				t.Errorf("log = %q; want %q", r.text(), want)
			}
		}
	})
}

func TestKillEndsWhatIgnoresTheStopSignal(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		r := begin(t, l, act("deaf"))
		r.hears("ready")
		r.cancel()
		select {
		case err := <-r.done:
			t.Fatalf("Run = %v before it was killed", err)
		default:
		}
		close(r.kill)
		check(t, r.end(), "signal: killed")
	})
}

// grandchild listens for the connection that a grandchild holds as long as it lives.
func grandchild(t *testing.T) (socket string, accept func() (pid int, dead <-chan struct{})) {
	t.Helper()
	dir, err := os.MkdirTemp("", "child") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return socket, func() (int, <-chan struct{}) {
		t.Helper()
		if err := ln.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(conn)
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		dead := make(chan struct{})
		go func() {
			defer close(dead)
			defer conn.Close()
			_, _ = io.Copy(io.Discard, in)
		}()
		return pid, dead
	}
}

func awaitDead(t *testing.T, dead <-chan struct{}) {
	t.Helper()
	select {
	case <-dead:
	case <-time.After(patience):
		t.Fatal("the grandchild lives")
	}
}

func TestGrandchildrenGoWithTheirParent(t *testing.T) {
	for _, tc := range []struct {
		name, part string
		end        func(r *run, pid int)
		want       string
	}{
		{"when it crashes", "wait", func(_ *run, pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }, "signal: killed"},
		{"when it stops, and they ignore the signal", "polite", func(r *run, _ int) { r.cancel() }, "<nil>"},
		{"when it is killed", "deaf", func(r *run, _ int) { r.cancel(); close(r.kill) }, "signal: killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			launchers(t, func(t *testing.T, l Launcher) {
				socket, accept := grandchild(t)
				r := begin(t, l, act("parent "+socket+" "+tc.part))
				pid := r.pid()
				r.hears("ready")
				_, dead := accept()
				tc.end(r, pid)
				check(t, r.end(), tc.want)
				awaitDead(t, dead)
			})
		})
	}
}

func TestTheStopSignalGoesToTheGroup(t *testing.T) {
	for _, tc := range []struct {
		leftovers Leftovers
		want      string
	}{
		{KillLeftovers, "ready\ngot terminated\nthe child is gone\n"},
		{KeepLeftovers, "ready\n"},
	} {
		spec := act("family")
		spec.Leftovers = tc.leftovers
		r := begin(t, Exec{}, spec)
		r.hears("ready")
		pid := r.pid()
		r.cancel()
		if tc.leftovers == KillLeftovers {
			r.hears("is gone")
		}
		close(r.kill)
		check(t, r.end(), "signal: killed")
		if r.text() != tc.want {
			t.Errorf("the family said %q; want %q", r.text(), tc.want)
		}
		_ = syscall.Kill(-pid, syscall.SIGKILL) // the child that was kept
	}
}

func TestTheReaperSeesOrphansToo(t *testing.T) {
	reaper := reap(t)
	socket, accept := grandchild(t)
	r := begin(t, Exec{Reaper: reaper}, act("parent "+socket+" wait"))
	pid := r.pid()
	grand, dead := accept()
	_ = syscall.Kill(pid, syscall.SIGKILL)
	check(t, r.end(), "signal: killed")
	awaitDead(t, dead)
	// Orphans of tests before this one may end only now.
	var others []int
	for late := time.After(patience); ; {
		select {
		case orphan := <-reaper.orphans:
			if orphan == grand {
				return
			}
			others = append(others, orphan)
		case <-late:
			t.Fatalf("orphan %d was not collected within %v; others were: %v", grand, patience, others)
		}
	}
}

func TestLeftoversAreKeptIfTheSpecSaysSo(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		socket, accept := grandchild(t)
		spec := act("parent " + socket + " wait")
		spec.Leftovers = KeepLeftovers
		r := begin(t, l, spec)
		pid := r.pid()
		grand, dead := accept()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		check(t, r.end(), "signal: killed") // although it holds the pipe
		select {
		case <-dead:
			t.Error("the grandchild is dead; want it to live")
		default:
		}
		if err := syscall.Kill(grand, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		awaitDead(t, dead)
	})
}

func TestOutputHasBothStreamsInOrder(t *testing.T) {
	logs, err := logring.NewSet(0)
	if err != nil {
		t.Fatal(err)
	}
	s := supervise.New(logs)
	if err := s.Load(supervise.Service{ID: "x", Restart: supervise.Once, Runner: Runner{act("streams"), Exec{}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start("x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.WaitUp(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, s, "x", supervise.Finished)
	if got, want := strings.Join(logs.Tail("x", -1), "|"), "out 0|err 0|out 1|err 1|out 2|err 2|unfinished"; got != want {
		t.Errorf("log = %s; want %s", got, want)
	}
}

func TestSpecReachesTheProcess(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	spec := act("who")
	spec.Args, spec.Dir = []string{"-a", "b c"}, dir
	who := fmt.Sprintf("uid %d gid %d", os.Getuid(), os.Getgid())
	if os.Getuid() == 0 {
		spec.User = &User{UID: 50, GID: 51}
		spec.Dir, dir = "/", "/"
		who = "uid 50 gid 51"
	}
	r := begin(t, Exec{}, spec)
	check(t, r.end(), "<nil>")
	want := fmt.Sprintf("args [child -a b c] env [%s=who] dir %s %s leads true stdin 0\n", actEnv, dir, who)
	if r.text() != want {
		t.Errorf("the child says %q; want %q", r.text(), want)
	}
}

func TestNoEnvironmentIsNotOurs(t *testing.T) {
	r := begin(t, Exec{}, Spec{Path: "/proc/self/exe", Args: []string{"who"}})
	check(t, r.end(), "<nil>")
	if !strings.Contains(r.text(), " env [] ") {
		t.Errorf("the child says %q; want no environment", r.text())
	}
}

func TestWhatCannotBeStartedIsAnErrorWithItsCause(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	adj := -998
	for _, tc := range []struct {
		name string
		spec Spec
		want error
	}{
		{"a missing binary", Spec{Path: filepath.Join(dir, "missing")}, syscall.ENOENT},
		{"no executable", Spec{Path: file("plain", "#!/bin/x\n", 0o600)}, syscall.EACCES},
		{"not a format of this machine", Spec{Path: file("bad", "not an ELF file", 0o700)}, syscall.ENOEXEC},
		{"a directory", Spec{Path: dir}, syscall.EACCES},
		{"a working directory that is not there", Spec{Path: "/proc/self/exe", Dir: filepath.Join(dir, "missing")}, syscall.ENOENT},
		{"capabilities", Spec{Path: "/x", Capabilities: []string{}}, errors.ErrUnsupported},
		{"rlimits", Spec{Path: "/x", Rlimits: []Rlimit{{"NOFILE", 1, 1}}}, errors.ErrUnsupported},
		{"oom_score_adj", Spec{Path: "/x", OOMScoreAdj: &adj}, errors.ErrUnsupported},
		{"nice", Spec{Path: "/x", Nice: 10}, errors.ErrUnsupported},
		{"a cgroup", Spec{Path: "/x", Cgroup: "system/apid"}, errors.ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			launchers(t, func(t *testing.T, l Launcher) {
				r := begin(t, l, tc.spec)
				if err := r.end(); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.spec.Path) {
					t.Errorf("Run = %v; want %v, with the path", err, tc.want)
				}
				if len(r.started) > 0 {
					t.Error("it says that it has started")
				}
			})
		})
	}
}

func TestNothingIsLeftOfManyRuns(t *testing.T) {
	launchers(t, func(t *testing.T, l Launcher) {
		check(t, begin(t, l, act("exit 0")).end(), "<nil>")
		before, files := runtime.NumGoroutine(), openFiles(t)
		for i := range 20 {
			part := []string{"exit 1", "streams", "wait", "deaf"}[i%4]
			r := begin(t, l, act(part))
			if i%4 >= 2 {
				r.hears("ready")
				r.cancel()
				close(r.kill)
			}
			_ = r.end()
			r.cancel()
		}
		for range 1000 { // goroutines that have done their work may not have gone yet
			if runtime.NumGoroutine() <= before {
				break
			}
			runtime.Gosched()
			time.Sleep(time.Millisecond)
		}
		if after := runtime.NumGoroutine(); after > before {
			buf := make([]byte, 1<<16)
			t.Errorf("%d goroutines; want %d\n%s", after, before, buf[:runtime.Stack(buf, true)])
		}
		if after := openFiles(t); after > files {
			t.Errorf("%d open files; want %d", after, files)
		}
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestExitErrorReadsAsPeopleKnowIt(t *testing.T) {
	for _, tc := range []struct {
		exit Exit
		want string
	}{
		{Exit{}, "<nil>"},
		{Exit{Code: 3}, "exit status 3"},
		{Exit{Signal: syscall.SIGSEGV}, "signal: segmentation fault"},
		{Exit{Signal: syscall.SIGSEGV, Core: true}, "signal: segmentation fault (core dumped)"},
		{Exit{Lost: errLost}, "exit status unknown: the status was collected by someone else"},
	} {
		if got := fmt.Sprint(tc.exit.Err()); got != tc.want {
			t.Errorf("%+v.Err() = %s; want %s", tc.exit, got, tc.want)
		}
	}
}
