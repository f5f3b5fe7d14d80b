package process

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"talos.internal/internal/sys/proc"
)

// status starts a child with options, and returns what the kernel says about it.
func status(t *testing.T, r *Reaper, o Options) proc.Status {
	t.Helper()
	var out bytes.Buffer
	cmd := child("status")
	cmd.Stdout = &out
	c, err := r.Start(cmd, o)
	if err != nil {
		t.Fatal(err)
	}
	if e := wait(t, c); !e.Success() {
		t.Fatalf("child ended with %v: %s", e, out.String())
	}
	s, err := proc.ParseStatus(&out)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOptionsReachTheChildAndNobodyElse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user and to drop capabilities")
	}
	r := running(t, nil)
	before := threads(t)
	none := Caps(0)
	s := status(t, r, Options{User: &User{UID: 50, GID: 51, Groups: []uint32{60, 61}}, Bound: &none, NoNewPrivs: true})
	if s.UIDs != [4]uint32{50, 50, 50, 50} || s.GIDs != [4]uint32{51, 51, 51, 51} || !cmp.Equal(s.Groups, []uint32{60, 61}) {
		t.Errorf("user = %v %v %v; want 50 51 [60 61]", s.UIDs, s.GIDs, s.Groups)
	}
	if s.CapBounding|s.CapEffective|s.CapPermitted|s.CapInheritable|s.CapAmbient != 0 || !s.NoNewPrivs {
		t.Errorf("rights = %+v; want none", s)
	}

	keep, err := ParseCaps("CAP_NET_BIND_SERVICE", "CAP_KILL")
	if err != nil {
		t.Fatal(err)
	}
	s = status(t, r, Options{Bound: &keep})
	if s.CapBounding != uint64(keep) || s.CapEffective != uint64(keep) || s.CapPermitted != uint64(keep) || s.NoNewPrivs {
		t.Errorf("rights of a bound root = %+v; want %s", s, keep)
	}
	// The threads that started the children end after that.
	var d string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.Gosched() {
		if d = cmp.Diff(before, threads(t)); d == "" {
			return
		}
	}
	t.Errorf("threads of the parent changed (-before +after):\n%s", d)
}

// rights are those that a thread can have for itself.
type rights struct {
	Effective, Bounding uint64
	NoNewPrivs          bool
}

// threads returns which rights there are among the threads of this process.
func threads(t *testing.T) map[rights]bool {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	kinds := map[rights]bool{}
	for _, task := range tasks {
		f, err := os.Open(task)
		if err != nil {
			continue // the thread that started the child has ended
		}
		s, err := proc.ParseStatus(f)
		f.Close()
		if err == nil {
			kinds[rights{s.CapEffective, s.CapBounding, s.NoNewPrivs}] = true
		}
	}
	return kinds
}

func TestTheFirstThreadIsNotThrownAway(t *testing.T) {
	var first atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			_ = thrownAway(func() error {
				if unix.Gettid() == unix.Getpid() {
					first.Add(1)
				}
				return nil
			})
		})
	}
	wg.Wait()
	if n := first.Load(); n != 0 {
		t.Errorf("%d of 200 ran on the first thread", n)
	}
}

func TestWhatRunsOnTheThreadIsInheritedByTheFork(t *testing.T) {
	r := running(t, nil)
	s := status(t, r, Options{OnThread: func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }})
	if !s.NoNewPrivs {
		t.Error("no_new_privs of the thread did not reach the child")
	}
	want := errors.New("no")
	if _, err := r.Start(child("exit:0"), Options{OnThread: func() error { return want }}); !errors.Is(err, want) {
		t.Errorf("Start() = %v; want the error of OnThread", err)
	}
	cmd := child("exit:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := r.Start(cmd, Options{NoNewPrivs: true}); err == nil {
		t.Error("Start() took a signal at the death of a thread that ends at once")
	}
}

func TestLimits(t *testing.T) {
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
	want := Limit{Soft: 100, Hard: 200}
	if err := SetLimit(c.PID(), unix.RLIMIT_NOFILE, want); err != nil {
		t.Fatal(err)
	}
	if got, err := GetLimit(c.PID(), unix.RLIMIT_NOFILE); got != want || err != nil {
		t.Errorf("GetLimit() = %v, %v; want %v", got, err, want)
	}
	if err := SetOOMScoreAdj("", c.PID(), 500); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join("/proc", "self", "oom_score_adj")); err != nil || strings.TrimSpace(string(b)) == "500" {
		t.Errorf("own oom_score_adj = %s, %v; want it unchanged", b, err)
	}
	in.Close()
	wait(t, c)
	if err := SetLimit(c.PID(), unix.RLIMIT_NOFILE, want); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("SetLimit(of one that has ended) = %v; want ESRCH", err)
	}
	if err := SetOOMScoreAdj("", c.PID(), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SetOOMScoreAdj(of one that has ended) = %v; want fs.ErrNotExist", err)
	}
	if err := SetOOMScoreAdj("", os.Getpid(), 1001); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("SetOOMScoreAdj(1001) = %v; want EINVAL", err)
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "proc", "7"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "proc", "7", "oom_score_adj")
	if err := os.WriteFile(file, []byte("-1000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := SetOOMScoreAdj(root, 7, -5); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); string(b) != "-5" {
		t.Errorf("oom_score_adj = %q, %v; want -5", b, err)
	}
}

func TestCaps(t *testing.T) {
	c, err := ParseCaps("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE")
	if c != 1|1<<40 || err != nil {
		t.Errorf("ParseCaps() = %x, %v", uint64(c), err)
	}
	if got := (c | 1<<60).String(); got != "CAP_CHOWN,CAP_CHECKPOINT_RESTORE,capability 60" {
		t.Errorf("String() = %s", got)
	}
	if _, err := ParseCaps("cap_chown"); err == nil {
		t.Error("ParseCaps(cap_chown) = nil; want an error")
	}
}

func TestRecorder(t *testing.T) {
	r := &Recorder{FailAt: 2}
	if err := r.SetHostname("node-1"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetHostname("node-2"); !errors.Is(err, syscall.EPERM) {
		t.Errorf("second verb = %v; want EPERM", err)
	}
	r.Sync()
	if err := errors.Join(r.SignalAll(syscall.SIGTERM), r.CtrlAltDel(false), r.Reboot(Restart)); err != nil {
		t.Fatal(err)
	}
	want := []string{"set host name node-1", "set host name node-2", "sync", "send terminated to all", "set ctrl-alt-del to restart: false", "reboot (restart)"}
	if d := cmp.Diff(want, r.Log()); d != "" || r.Hostname() != "node-1" {
		t.Errorf("Hostname() = %s; Log() (-want +got):\n%s", r.Hostname(), d)
	}
}

func TestKernelRefusesAnUnknownEnd(t *testing.T) {
	if err := (Kernel{}).Reboot("somehow"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Reboot(somehow) = %v; want EINVAL", err)
	}
}

func TestAUserCanKeepACapabilityAndBeNice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	r := running(t, nil)
	keep, err := ParseCaps("CAP_NET_BIND_SERVICE")
	if err != nil {
		t.Fatal(err)
	}
	s := status(t, r, Options{User: &User{UID: 50, GID: 51}, Bound: &keep, Ambient: keep, Nice: 19})
	if s.UIDs[0] != 50 || s.CapEffective != uint64(keep) || s.CapAmbient != uint64(keep) || s.CapBounding != uint64(keep) {
		t.Errorf("status = %+v; want user 50 with %s", s, keep)
	}
	if p, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); p == 20-19 || err != nil {
		t.Errorf("this process has the priority of its child (%v)", err)
	}
}

func TestLimitsStayWithinWhatIsAllowed(t *testing.T) {
	if _, err := ParseLimit("FILES"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("ParseLimit(FILES) = %v; want EINVAL", err)
	}
	n, err := ParseLimit("RLIMIT_CORE")
	if n != unix.RLIMIT_CORE || err != nil {
		t.Fatalf("ParseLimit(RLIMIT_CORE) = %d, %v; want %d", n, err, unix.RLIMIT_CORE)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, to start a child as another user")
	}
	r := running(t, nil)
	user := &User{UID: 50, GID: 51}
	cmd := child("cat:0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Start(cmd, Options{User: user})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); wait(t, c) }()
	for _, want := range []Limit{{100, 200}, {50, 150}} {
		if got, err := SetLimitWithin(c.PID(), user, n, want); got != want || err != nil {
			t.Errorf("SetLimitWithin(%+v) = %+v, %v", want, got, err)
		}
	}
	s, err := (proc.Reader{}).Status(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	want := Limit{120, 1000}
	if s.CapEffective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		want = Limit{120, 150}
	}
	if got, err := SetLimitWithin(c.PID(), user, n, Limit{120, 1000}); got != want || err != nil {
		t.Errorf("SetLimitWithin(120, 1000 above the hard limit) = %+v, %v; want %+v", got, err, want)
	}
	if os.Getuid() != 0 || syscall.Geteuid() != 0 {
		t.Error("this process became another user")
	}
}
