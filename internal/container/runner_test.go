package container

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sync/errgroup"

	"talos.internal/internal/supervise"
)

// run is a run that is under way.
type run struct {
	log     *syncBuffer
	started chan string
	stop    context.CancelFunc
	kill    chan struct{}
	done    chan error
}

func begin(r Runner) *run {
	ctx, cancel := context.WithCancel(context.Background())
	u := &run{log: &syncBuffer{}, started: make(chan string, 1), stop: cancel, kill: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		u.done <- r.Run(ctx, supervise.Env{Log: u.log, Started: func(m string) { u.started <- m }, Kill: u.kill})
	}()
	return u
}

// waitFor waits until the log has text.
func (u *run) waitFor(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(u.log.String(), text); {
		select {
		case err := <-u.done:
			t.Fatalf("waited for %q; Run = %v, and the log is:\n%s", text, err, u.log)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("waited for %q; the log is:\n%s", text, u.log)
		}
	}
}

func (u *run) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-u.done:
		return err
	case <-time.After(90 * time.Second): // a disk that others write to can be slow
		t.Fatalf("the run does not end; its log:\n%s", u.log)
		return nil
	}
}

func spec(id string, args ...string) Spec {
	return Spec{ID: id, Image: testImage, Args: append([]string{"/program"}, args...), Cgroup: "/talos-test/" + id}
}

// TestContainers is one test with one containerd, which takes a second to start.
func TestContainers(t *testing.T) {
	d := startDaemon(t)
	c := d.newClient(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	t.Run("a container is what its specification says", func(t *testing.T) {
		data := t.TempDir()
		if err := os.WriteFile(filepath.Join(data, "file"), []byte("from the host"), 0o644); err != nil {
			t.Fatal(err)
		}
		s := spec("show", "show", "me")
		s.Env = []string{"FROM_SPEC=s"}
		s.Mounts = []Mount{{Source: data, Target: "/data", Options: []string{"ro"}}}
		s.Capabilities = []string{"CAP_NET_ADMIN", "CAP_CHOWN"}
		s.OOMScoreAdj = 123
		u := begin(Runner{Client: c, Spec: s})
		if err := u.end(t); err != nil {
			t.Fatalf("Run = %v; log:\n%s\n%s", err, u.log, d.log)
		}
		got := u.log.String()
		for _, want := range []string{
			"pulling image " + testImage, "args [show me] uid 60 gid 61 pid1 true", "env i s\n", "this is standard error\n",
			"CapEff:\t0000000000001001\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n", "oom 123\n",
			`data "from the host" <nil>`, "read-only file system", "/new: permission denied",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("the log has no %q; it is:\n%s", want, got)
			}
		}
		if m := <-u.started; !strings.HasPrefix(m, "Container show started with PID ") {
			t.Errorf("it was said that %q", m)
		}
	})

	t.Run("a folder in place of an image", func(t *testing.T) {
		dir, err := os.MkdirTemp("/dev/shm", "ctd") // overlayfs keeps what is written there, as it does on a machine
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		root := filepath.Join(dir, "root")
		build := exec.Command("go", "build", "-o", filepath.Join(root, "program"), "./testdata/program")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the program: %v\n%s", err, out)
		}
		data := t.TempDir()
		if err := os.WriteFile(filepath.Join(data, "file"), []byte("from the host"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, readonly := range []bool{true, false} {
			s := Spec{
				ID: "folder", Rootfs: root, Scratch: filepath.Join(dir, "scratch"), Args: []string{"./program", "show", "me"}, Dir: "/", User: &User{},
				Mounts: []Mount{{Source: data, Target: "/data", Options: []string{"ro"}}}, Privileged: true, ReadonlyRootfs: readonly,
				MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{}, Cgroup: "/talos-test/folder",
			}
			u := begin(Runner{Client: c, Spec: s})
			if err := u.end(t); err != nil {
				t.Fatalf("Run = %v; log:\n%s\n%s", err, u.log, d.log)
			}
			written := "write open /data/written: read-only file system <nil>"
			if readonly {
				written = "write open /data/written: read-only file system open /new: read-only file system"
			}
			for _, want := range []string{"args [show me] uid 0", `data "from the host" <nil>`, written} {
				if !strings.Contains(u.log.String(), want) {
					t.Errorf("the log has no %q; it is:\n%s", want, u.log)
				}
			}
			if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
				t.Errorf("the folder has %v, %v; want the program alone", left, err)
			}
		}
		s := Spec{ID: "folder", Rootfs: filepath.Join(dir, "none"), Scratch: filepath.Join(dir, "scratch"), Args: []string{"x"}}
		if err := begin(Runner{Client: c, Spec: s}).end(t); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Run without the folder = %v; want fs.ErrNotExist", err)
		}
	})

	t.Run("a privileged container on the host's namespaces", func(t *testing.T) {
		host, err := ReadHost()
		if err != nil {
			t.Fatal(err)
		}
		name, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		s := spec("host", "show")
		s.User, s.Privileged, s.HostNetwork, s.HostPID, s.HostIPC, s.HostSys = &User{}, true, true, true, true, true
		s.RootfsPropagation, s.OOMScoreAdj = "rshared", -1000
		u := begin(Runner{Client: c, Spec: s})
		if err := u.end(t); err != nil {
			t.Fatalf("Run = %v; log:\n%s\n%s", err, u.log, d.log)
		}
		for _, want := range []string{"uid 0 gid 0 pid1 false host " + name + "\n", "NoNewPrivs:\t0\n", "Seccomp:\t0\n"} {
			if !strings.Contains(u.log.String(), want) {
				t.Errorf("the log has no %q; it is (of a host %v):\n%s", want, host, u.log)
			}
		}
	})

	t.Run("the exit status is the error", func(t *testing.T) {
		var exit *ExitError
		if err := begin(Runner{Client: c, Spec: spec("exit", "exit", "3")}).end(t); !errors.As(err, &exit) || exit.Code != 3 {
			t.Errorf("Run = %v; want exit status 3", err)
		}
	})

	t.Run("a stop is a signal, and no error", func(t *testing.T) {
		u := begin(Runner{Client: c, Spec: spec("stop", "serve")})
		u.waitFor(t, "serving")
		u.stop()
		if err := u.end(t); err != nil || !strings.Contains(u.log.String(), "got terminated") {
			t.Errorf("Run = %v; want nil, after SIGTERM. Log:\n%s", err, u.log)
		}
	})

	t.Run("what is deaf is killed", func(t *testing.T) {
		u := begin(Runner{Client: c, Spec: spec("deaf", "deaf")})
		u.waitFor(t, "serving")
		u.stop()
		select {
		case err := <-u.done:
			t.Fatalf("it ended before it was killed: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
		close(u.kill)
		if err := u.end(t); err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})

	t.Run("all output arrives", func(t *testing.T) {
		u := begin(Runner{Client: c, Spec: spec("flood", "flood")})
		if err := u.end(t); err != nil || !strings.HasSuffix(u.log.String(), "line 19998\nline 19999\n") {
			t.Errorf("Run = %v; the log ends with %q", err, u.log.String()[max(0, len(u.log.String())-50):])
		}
	})

	t.Run("what an earlier run left is removed first", func(t *testing.T) {
		first := begin(Runner{Client: c, Spec: spec("again", "deaf")})
		first.waitFor(t, "serving")
		second := begin(Runner{Client: c, Spec: spec("again", "serve")})
		second.waitFor(t, "serving")
		// To the first, whose container was killed by nobody it knows, it is a failure.
		var exit *ExitError
		if err := first.end(t); !errors.As(err, &exit) || exit.Error() != "signal: killed" {
			t.Errorf("the first Run = %v; want signal: killed", err)
		}
		second.stop()
		_ = second.end(t) // the first may have removed its container at its end
	})

	t.Run("lists, statistics, kill", func(t *testing.T) {
		u := begin(Runner{Client: c, Spec: spec("listed", "serve")})
		u.waitFor(t, "serving")
		list, err := c.Containers(ctx, System)
		if err != nil || len(list) != 1 {
			t.Fatalf("Containers = %v, %v; want one", list, err)
		}
		i := list[0]
		if i.ID != "listed" || i.PodID != "listed" || i.Image != testImage || i.Status != "RUNNING" || i.PID == 0 {
			t.Errorf("Containers = %+v", i)
		}
		stats, err := c.Stats(ctx, System)
		if err != nil || len(stats) != 1 || stats[0].Memory == 0 || stats[0].CPU == 0 {
			t.Errorf("Stats = %+v, %v; want memory and CPU time of one", stats, err)
		}
		if err := c.Kill(ctx, System, "listed", syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := u.end(t); err != nil || !strings.Contains(u.log.String(), "got terminated") {
			t.Errorf("Run = %v; want nil, after SIGTERM", err)
		}
		if err := c.Kill(ctx, System, "listed", syscall.SIGTERM); !errors.Is(err, ErrNotFound) {
			t.Errorf("Kill of what is not there = %v; want ErrNotFound", err)
		}
		if list, err := c.Containers(ctx, "nothing"); err != nil || len(list) != 0 {
			t.Errorf("Containers of a namespace that is not there = %v, %v; want none", list, err)
		}
	})

	t.Run("images", func(t *testing.T) {
		var last Progress
		img, err := c.Pull(ctx, Pods, testImage, func(p Progress) { last = p })
		if err != nil {
			t.Fatal(err)
		}
		if img.Name != testImage || img.Size == 0 || !strings.HasPrefix(img.Digest, "sha256:") {
			t.Errorf("Pull = %+v", img)
		}
		if len(last.Layers) != 3 {
			t.Errorf("the last progress is %+v; want manifest, config and layer", last)
		}
		for _, l := range last.Layers {
			if !l.Done || l.Offset != l.Total || l.Total == 0 {
				t.Errorf("the last progress of a layer is %+v; want done", l)
			}
		}
		list, err := c.Images(ctx, Pods)
		if err != nil || len(list) != 1 || list[0].Name != testImage {
			t.Errorf("Images = %+v, %v; want the one", list, err)
		}
		if _, err := c.Pull(ctx, Pods, "registry.example.internal/other:v1", nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("Pull of what is nowhere = %v; want ErrNotFound", err)
		}
		if err := c.Remove(ctx, Pods, testImage); err != nil {
			t.Error(err)
		}
		if err := c.Remove(ctx, Pods, testImage); !errors.Is(err, ErrNotFound) {
			t.Errorf("Remove again = %v; want ErrNotFound", err)
		}
	})

	t.Run("an image of the system is unpacked once, with those of the pods", func(t *testing.T) {
		u := begin(Runner{Client: c, Spec: spec("shares", "serve")})
		u.waitFor(t, "serving")
		snapshots := func(namespace string) (names []string) {
			ctx, conn, err := c.in(ctx, namespace)
			if err == nil {
				err = conn.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
					names = append(names, i.Name)
					return nil
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			return names
		}
		if got := snapshots(System); len(got) != 0 {
			t.Errorf("in %s there are the snapshots %q; want none", System, got)
		}
		if got := snapshots(Pods); len(got) != 2 || !slices.Contains(got, rootKey("shares")) {
			t.Errorf("in %s there are the snapshots %q; want the image's layer and the container's", Pods, got)
		}
		list, err := c.Images(ctx, Pods)
		if err != nil || len(list) != 1 || list[0].Name != testImage || list[0].Labels[pinnedLabel] != "pinned" {
			t.Errorf("Images(%s) = %+v, %v; want the one, pinned", Pods, list, err)
		}
		// What is in use stays when containerd tidies up.
		if err := c.Remove(ctx, Pods, testImage); err != nil {
			t.Error(err)
		}
		if got := snapshots(Pods); len(got) != 2 {
			t.Errorf("with the image gone there are the snapshots %q; want two", got)
		}
		u.stop()
		if err := u.end(t); err != nil {
			t.Error(err)
		}
		if got := snapshots(Pods); slices.Contains(got, rootKey("shares")) {
			t.Errorf("at the end there are the snapshots %q; want not the container's", got)
		}
		// Many at once, in both namespaces, from nothing.
		if err := c.Remove(ctx, System, testImage); err != nil {
			t.Error(err)
		}
		var group errgroup.Group
		for range 4 {
			group.Go(func() error { return c.Ensure(ctx, System, testImage) })
			group.Go(func() error { return c.Ensure(ctx, Pods, testImage) })
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		if err := c.Remove(ctx, System, testImage); err != nil {
			t.Error(err)
		}
		if list, err := c.Images(ctx, Pods); err != nil || len(list) != 0 {
			t.Errorf("after Remove from %s Images(%s) = %+v, %v; want none", System, Pods, list, err)
		}
	})

	t.Run("a run goes on when containerd is restarted", func(t *testing.T) {
		u := begin(Runner{Client: c, Spec: spec("lives", "serve")})
		u.waitFor(t, "serving")
		d.stop(t, syscall.SIGKILL)
		time.Sleep(500 * time.Millisecond)
		d.start(t)
		for c.Healthy(ctx) != nil && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		select {
		case err := <-u.done:
			t.Fatalf("Run = %v; want that it goes on", err)
		case <-time.After(500 * time.Millisecond):
		}
		u.stop()
		if err := u.end(t); err != nil || !strings.Contains(u.log.String(), "got terminated") {
			t.Errorf("Run = %v; want nil, after SIGTERM. Log:\n%s", err, u.log)
		}
	})

	list, err := c.Containers(ctx, System)
	if err != nil || len(list) != 0 {
		t.Errorf("in the end there are containers %v, %v; want none", list, err)
	}
}
