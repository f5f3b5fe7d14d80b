package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/supervise/child"
	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// TestMain lets the test binary be its own children: LAUNCH_TEST says what one does.
func TestMain(m *testing.M) {
	switch os.Getenv("LAUNCH_TEST") {
	case "":
		os.Exit(m.Run())
	case "wait": // to be killed; by itself only after a test that failed
		fmt.Println("ready")
		time.Sleep(time.Minute)
	case "exit":
		syscall.Exit(7)
	case "escape": // leaves a child in a process group of its own, and ends
		c := exec.Command("/proc/self/exe")
		c.Env = []string{"LAUNCH_TEST=wait"}
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			fmt.Println(err)
			syscall.Exit(1)
		}
		fmt.Println(c.Process.Pid)
		syscall.Exit(0)
	case "leave": // leaves a child in its process group, and waits to be told to end
		c := exec.Command("/proc/self/exe")
		c.Env = []string{"LAUNCH_TEST=wait"}
		if err := c.Start(); err != nil {
			fmt.Println(err)
			syscall.Exit(1)
		}
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println(c.Process.Pid)
		<-term
		syscall.Exit(0)
	}
}

type fixture struct {
	*Launcher
	log *bytes.Buffer
	out *bufio.Reader
	in  *os.File
}

func setup(t *testing.T, tree *cgroup.Tree) fixture {
	t.Helper()
	if err := process.BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	r := process.NewReaper(nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-done; out.Close(); in.Close() })
	var log bytes.Buffer
	return fixture{New(r, tree, slog.New(slog.NewTextHandler(&log, nil))), &log, bufio.NewReader(out), in}
}

// start starts a spec as this binary again, which any user can reach through proc.
func (f fixture) start(t *testing.T, what string, spec child.Spec) child.Process {
	t.Helper()
	spec.Path, spec.Env = "/proc/self/exe", []string{"LAUNCH_TEST=" + what}
	p, err := f.Start(spec, f.in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func (f fixture) line(t *testing.T) string {
	t.Helper()
	s, err := f.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

func exited(t *testing.T, p child.Process) child.Exit {
	t.Helper()
	select {
	case e := <-p.Exited():
		return e
	case <-time.After(30 * time.Second):
		t.Fatalf("process %d has not ended", p.PID())
		return child.Exit{}
	}
}

func TestAServiceIsWhatItsSpecSays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	f := setup(t, nil)
	bind, err := process.ParseCaps("CAP_NET_BIND_SERVICE")
	if err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // the system call gives 20 - nice
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name       string
		spec       child.Spec
		uid        uint32
		effective  uint64
		noNewPrivs bool
		priority   int
	}{
		{"another user without capabilities", child.Spec{User: &child.User{UID: 50, GID: 50}, Capabilities: []string{}, Nice: 15}, 50, 0, true, 20 - 15},
		{"another user with one", child.Spec{User: &child.User{UID: 51, GID: 51}, Capabilities: []string{"CAP_NET_BIND_SERVICE"}}, 51, uint64(bind), false, own},
		{"root with one", child.Spec{Capabilities: []string{"CAP_NET_BIND_SERVICE"}}, 0, uint64(bind), false, own},
	} {
		t.Run(tc.name, func(t *testing.T) {
			score := 321
			tc.spec.OOMScoreAdj = &score
			tc.spec.Rlimits = []child.Rlimit{{Resource: "CORE", Soft: 0, Hard: 0}, {Resource: "NOFILE", Soft: 100, Hard: 200}}
			p := f.start(t, "wait", tc.spec)
			f.line(t)
			s, err := proc.Reader{}.Status(p.PID())
			if err != nil {
				t.Fatal(err)
			}
			if s.UIDs[0] != tc.uid || s.CapEffective != tc.effective || s.CapPermitted != tc.effective || s.CapBounding != tc.effective || s.NoNewPrivs != tc.noNewPrivs {
				t.Errorf("status = %+v; want uid %d, capabilities %x, no_new_privs %t", s, tc.uid, tc.effective, tc.noNewPrivs)
			}
			// Who is another user may not ask for limits, but may read them. The runtime of Go raises the soft one.
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID()))
			if err != nil || !regexp.MustCompile(`(?m)^Max open files +[0-9]+ +200 `).Match(b) {
				t.Errorf("limits = %v\n%s\nwant hard 200 of open files", err, b)
			}
			if b, err = os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID())); err != nil || strings.TrimSpace(string(b)) != "321" {
				t.Errorf("oom_score_adj = %q, %v; want 321", b, err)
			}
			if n, err := syscall.Getpriority(syscall.PRIO_PROCESS, p.PID()); n != tc.priority || err != nil {
				t.Errorf("priority = %d, %v; want %d", n, err, tc.priority)
			}
			if pgid, err := syscall.Getpgid(p.PID()); pgid != p.PID() || err != nil {
				t.Errorf("process group = %d, %v; want its own, %d", pgid, err, p.PID())
			}
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			if e := exited(t, p); e.Signal != syscall.SIGKILL {
				t.Errorf("exit = %+v; want SIGKILL", e)
			}
		})
	}
}

func TestWhatTheMachineRefusesIsSaidOnceAndTheServiceRuns(t *testing.T) {
	f := setup(t, nil)
	nofile, err := process.ParseLimit("NOFILE")
	if err != nil {
		t.Fatal(err)
	}
	have, err := process.GetLimit(0, nofile)
	if err != nil {
		t.Fatal(err)
	}
	score := -1000
	for range 2 {
		// Without CAP_SYS_RESOURCE in its bounding set this process is refused both; with it both are done.
		p := f.start(t, "wait", child.Spec{OOMScoreAdj: &score, Rlimits: []child.Rlimit{{Resource: "NOFILE", Soft: 64, Hard: have.Hard + 1}}})
		f.line(t)
		if l, err := process.GetLimit(p.PID(), nofile); err != nil || l.Hard < have.Hard {
			t.Errorf("NOFILE = %+v, %v; want hard at least %d", l, err, have.Hard)
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		exited(t, p)
	}
	for _, text := range []string{"oom_score_adj", "limit=NOFILE"} {
		if n := strings.Count(f.log.String(), text); n > 1 {
			t.Errorf("%q is logged %d times; want once at most:\n%s", text, n, f.log)
		}
	}
	if s, err := (proc.Reader{}).Status(os.Getpid()); err == nil && s.CapEffective&(1<<24) == 0 && strings.Count(f.log.String(), "\n") != 2 {
		t.Errorf("log without CAP_SYS_RESOURCE:\n%s\nwant both refusals", f.log)
	}
}

func TestABadSpecStartsNothing(t *testing.T) {
	f := setup(t, nil)
	score := 1001
	for _, tc := range []struct {
		name string
		spec child.Spec
		want error
	}{
		{"no such program", child.Spec{Path: "/no/such/program"}, fs.ErrNotExist},
		{"no such limit", child.Spec{Path: "/proc/self/exe", Rlimits: []child.Rlimit{{Resource: "FILES"}}}, syscall.EINVAL},
		{"soft above hard", child.Spec{Path: "/proc/self/exe", Rlimits: []child.Rlimit{{Resource: "CORE", Soft: 1}}}, syscall.EINVAL},
		{"score out of range", child.Spec{Path: "/proc/self/exe", OOMScoreAdj: &score}, syscall.EINVAL},
		{"nice out of range", child.Spec{Path: "/proc/self/exe", Nice: 20}, syscall.EINVAL},
		{"a cgroup where there are none", child.Spec{Path: "/proc/self/exe", Cgroup: "system/x"}, errors.ErrUnsupported},
	} {
		if p, err := f.Start(tc.spec, f.in); p != nil || !errors.Is(err, tc.want) || !strings.Contains(err.Error(), "start "+tc.spec.Path) {
			t.Errorf("%s: Start() = %v, %v; want %v", tc.name, p, err, tc.want)
		}
	}
	if _, err := f.Start(child.Spec{Path: "/proc/self/exe", Capabilities: []string{"CAP_NONE"}}, f.in); err == nil {
		t.Error("Start(unknown capability) = nil; want an error")
	}
}

func TestLeftoversOfTheProcessGroup(t *testing.T) {
	for _, tc := range []struct {
		name      string
		leftovers child.Leftovers
		lives     bool
	}{{"killed", child.KillLeftovers, false}, {"kept", child.KeepLeftovers, true}} {
		t.Run(tc.name, func(t *testing.T) {
			f := setup(t, nil) // one reaper at a time
			p := f.start(t, "leave", child.Spec{Leftovers: tc.leftovers})
			left, err := strconv.Atoi(f.line(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			exited(t, p)
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			if got := lives(left, !tc.lives); got != tc.lives {
				t.Errorf("the child lives: %t; want %t", got, tc.lives)
			}
			_ = syscall.Kill(left, syscall.SIGKILL)
			lives(left, true)
		})
	}
}

// lives reports whether a process is there, and gives one that shall end some time to do so.
func lives(pid int, wait bool) bool {
	for range 500 {
		if err := syscall.Kill(pid, 0); err != nil {
			return false
		}
		if !wait {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}

func TestACgroupIsMadeAndWhatLeftTheProcessGroupIsKilledInIt(t *testing.T) {
	tree, err := cgroup.Detect("")
	if err != nil {
		t.Skipf("this machine has no cgroups: %v", err)
	}
	g := tree.Group(fmt.Sprintf("/talos-launch-%d", os.Getpid()))
	if err := g.Create(); errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EBUSY) {
		t.Skipf("no group can be made here: %v", err)
	}
	f := setup(t, tree)
	t.Cleanup(func() { _ = g.Destroy(context.Background()) })
	p := f.start(t, "escape", child.Spec{Cgroup: g.Path() + "/service"})
	left, err := strconv.Atoi(f.line(t))
	if err != nil {
		t.Fatal(err)
	}
	if e := exited(t, p); e != (child.Exit{}) {
		t.Errorf("exit = %+v; want 0", e)
	}
	pids, err := tree.Group(g.Path() + "/service").Processes()
	if err != nil || len(pids) != 1 || pids[0] != left {
		t.Errorf("Processes() = %v, %v; want the one that left the process group, %d", pids, err, left)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if lives(left, true) {
		t.Errorf("process %d is left", left)
	}
	if e := exited(t, f.start(t, "exit", child.Spec{Cgroup: g.Path() + "/service"})); e.Code != 7 {
		t.Errorf("exit = %+v; want 7", e)
	}
	if _, err := f.Start(child.Spec{Path: "/proc/self/exe", Cgroup: "/"}, f.in); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Start(in the group of all) = %v; want EINVAL", err)
	}
}
