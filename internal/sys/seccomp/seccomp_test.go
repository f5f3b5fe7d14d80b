package seccomp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childVariable has this program be the restricted one.
const childVariable = "SECCOMP_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		restricted()
		return
	}
	os.Exit(m.Run())
}

// restricted does what a daemon does, and what it may not, and prints what came of it.
func restricted() {
	say := func(what string, err error) { fmt.Printf("%s: %v\n", what, err) }
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "answer") }))
	old.StartTLS() // it has threads from before
	say("restrict", Restrict())
	say("restrict twice", Restrict())

	get := func(s *httptest.Server) error {
		r, err := s.Client().Get(s.URL)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		_, err = io.Copy(io.Discard, r.Body)
		return err
	}
	say("a server from before", get(old))
	young := httptest.NewTLSServer(old.Config.Handler)
	say("a server", get(young))
	var all sync.WaitGroup
	for range 200 { // threads: each waits in the kernel
		all.Go(func() { _ = unix.Nanosleep(&unix.Timespec{Nsec: 20e6}, nil) })
	}
	all.Wait()
	_, err := net.Interfaces()
	say("interfaces", err)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = (&net.Resolver{}).LookupHost(ctx, "localhost")
	say("names", err)
	_, err = os.ReadFile("/proc/self/status")
	say("files", err)
	f, err := os.CreateTemp("", "seccomp")
	if err == nil {
		err = errors.Join(os.Chmod(f.Name(), 0o600), f.Close(), os.Remove(f.Name()))
	}
	say("new files", err)
	a, b, err := os.Pipe()
	if err == nil {
		err = errors.Join(a.Close(), b.Close())
	}
	say("pipes", err)

	say("no execute", exec.Command("/bin/true").Run())
	_, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	say("no process", errno)
	_, _, errno = unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	say("no clone3", errno)
	_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	say("no packets", err)
	say("no namespace", unix.Unshare(unix.CLONE_NEWUSER))
	say("no mount", unix.Mount("none", "/nowhere", "tmpfs", 0, ""))
	say("no trace", unix.PtraceAttach(os.Getppid()))
	say("no module", unix.FinitModule(0, "", 0))
	_, _, errno = unix.RawSyscall(4000, 0, 0, 0)
	say("no new call", errno)
	var wrong error
	all.Go(func() { wrong = unix.Setuid(1) })
	all.Wait()
	say("no other user", wrong)
}

func TestADaemonWorksAndCannotDoWhatItNeverDoes(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the restricted program: %v\n%s", err, out)
	}
	want := []string{
		"restrict: <nil>", "restrict twice: <nil>", "a server from before: <nil>", "a server: <nil>", "interfaces: <nil>", "names: <nil>", "files: <nil>",
		"new files: <nil>", "pipes: <nil>",
		"no execute: fork/exec /bin/true: operation not permitted", "no process: operation not permitted", "no clone3: function not implemented",
		"no packets: operation not permitted", "no namespace: operation not permitted", "no mount: operation not permitted", "no trace: operation not permitted",
		"no module: operation not permitted", "no new call: function not implemented", "no other user: operation not permitted",
	}
	if got := strings.Split(strings.TrimSpace(string(out)), "\n"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it printed\n%s\nwant\n%s", out, strings.Join(want, "\n"))
	}
}

func TestEachJumpIsShortEnough(t *testing.T) {
	p, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range p {
		if f.Code&7 == unix.BPF_JMP && (i+1+int(f.Jt) >= len(p) || i+1+int(f.Jf) >= len(p)) {
			t.Errorf("instruction %d leads out of the program: %+v", i, f)
		}
	}
	if last := p[len(p)-1]; last.K != unix.SECCOMP_RET_KILL_PROCESS || len(p) > unix.BPF_MAXINSNS {
		t.Errorf("%d instructions, the last %+v", len(p), last)
	}
}
