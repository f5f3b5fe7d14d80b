package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// TestMain lets the test binary be its own child: it writes its groups, starts a child of its own, and waits.
func TestMain(m *testing.M) {
	switch os.Getenv("CGROUP_TEST") {
	case "":
		os.Exit(m.Run())
	case "parent":
		c := exec.Command("/proc/self/exe")
		c.Env = []string{"CGROUP_TEST=child"}
		if err := c.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		b, err := os.ReadFile("/proc/self/cgroup")
		fmt.Printf("%s%v\n.\n", b, err)
	}
	time.Sleep(time.Minute) // to be killed; by itself only after a test that failed
}

// trees returns the trees of this machine in which groups can be made. A v2 hierarchy beside v1 counts, too: it has no
// controllers, but groups and processes.
func trees(t *testing.T) map[string]*Tree {
	t.Helper()
	tree, err := Detect("")
	if err != nil {
		t.Skipf("no cgroups on this machine: %v", err)
	}
	out := map[string]*Tree{fmt.Sprintf("v%d", tree.version): tree}
	if tree.version == V1 {
		mounts, err := proc.Reader{}.MountInfo()
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(mounts, func(m proc.MountInfo) bool { return m.Type == "cgroup2" }); i >= 0 {
			v2 := *tree
			v2.version, v2.dirs = V2, map[string]string{"": mounts[i].Point}
			out["v2"] = &v2
		}
	}
	return out
}

func TestAProcessIsBornInItsGroupAndDiesWithIt(t *testing.T) {
	for name, tree := range trees(t) {
		t.Run(name, func(t *testing.T) {
			g := tree.Group(fmt.Sprintf("/talos-test-%d", os.Getpid()))
			err := g.Create()
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EBUSY) {
				t.Skipf("no group can be made here: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			defer func() { _ = g.Destroy(ctx) }()
			if _, err := g.SetLimits(Limits{MemoryMax: new(int64(256 << 20)), CPUWeight: new(int64(50)), ProcessesMax: new(int64(200))}); err != nil {
				t.Fatal(err)
			}

			if err := process.BecomeSubreaper(); err != nil {
				t.Fatal(err)
			}
			r := process.NewReaper(nil)
			done := make(chan error, 1)
			running, stop := context.WithCancel(ctx)
			go func() { done <- r.Run(running) }()
			defer func() { stop(); <-done }()

			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{"CGROUP_TEST=parent"}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			onThread, prepared, err := g.Prepare(cmd)
			if err != nil {
				t.Fatal(err)
			}
			c, err := r.Start(cmd, process.Options{OnThread: onThread})
			prepared()
			if err != nil {
				t.Fatal(err)
			}
			var said []byte
			for buf := make([]byte, 4096); !bytes.HasSuffix(said, []byte(".\n")); {
				n, err := out.Read(buf)
				said = append(said, buf[:n]...)
				if err != nil {
					t.Fatalf("child said %q, %v", said, err)
				}
			}
			list, err := ParseMembership(strings.NewReader(strings.TrimSuffix(string(said), "<nil>\n.\n")))
			if err != nil {
				t.Fatal(err)
			}
			in := 0
			for _, m := range list {
				if strings.HasSuffix(m.Path, g.Path()) {
					in++
				}
			}
			if want := len(g.all()); in != want {
				t.Errorf("the child was born in %d of %d hierarchies: %s", in, want, said)
			}
			pids, err := g.Processes()
			if len(pids) != 2 || !slices.Contains(pids, c.PID()) || err != nil {
				t.Errorf("Processes() = %v, %v; want %d and its child", pids, err, c.PID())
			}
			if s, err := g.Stats(); err != nil || tree.version == V1 && (s.Memory == 0 || s.CPU == 0 || s.Processes < 2) {
				t.Errorf("Stats() = %+v, %v; want what two processes use", s, err)
			}
			if err := g.Remove(); !errors.Is(err, syscall.EBUSY) {
				t.Errorf("Remove(with processes) = %v; want EBUSY", err)
			}
			if err := g.Destroy(ctx); err != nil || g.Exists() {
				t.Errorf("Destroy() = %v, exists %t", err, g.Exists())
			}
			if e, err := c.Wait(ctx); e.Signal != syscall.SIGKILL || err != nil {
				t.Errorf("the child ended with %v, %v; want SIGKILL", e, err)
			}
			if own, _ := filepath.Glob("/proc/self/task/*/cgroup"); len(own) == 0 {
				t.Error("no thread was looked at")
			} else {
				for _, f := range own {
					if b, _ := os.ReadFile(f); strings.Contains(string(b), g.Path()) && !strings.Contains(string(b), "(deleted)") {
						t.Errorf("%s is in the group: %s", f, b)
					}
				}
			}
		})
	}
}
