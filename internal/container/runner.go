package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/containerd/v2/pkg/seccomp"
	containerdsys "github.com/containerd/containerd/v2/pkg/sys"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/process"
)

const (
	runtimeName = "io.containerd.runc.v2"
	// cleanupTime is for removing a container that has ended, or what an earlier run left.
	cleanupTime = 20 * time.Second
	// drainTime is for output that is still in the pipe when the container has ended. Something that the container left
	// elsewhere may hold the pipe for ever.
	drainTime = 500 * time.Millisecond
	// lostTime is how long containerd may be away, because it is restarted, before the run counts as ended.
	lostTime = 30 * time.Second
)

// ExitError is the error of a container whose program did not end with status 0.
type ExitError struct {
	// Code is what the program gave to exit, or 128 and the number of the signal that ended it.
	Code uint32
}

// Error returns the status as people know it: "exit status 1", "signal: killed".
func (e *ExitError) Error() string {
	if e.Code > 128 && e.Code < 128+65 {
		return fmt.Sprintf("signal: %s", syscall.Signal(e.Code-128))
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Runner runs a container in the namespace [System]; it implements supervise.Runner.
//
// Each run makes the container anew and removes it at the end; nothing of an earlier run is taken over, and what is left of
// one, after this program or containerd was killed, is killed and removed first. When containerd is restarted while the container
// runs, the run goes on. Standard output and error go to the log; each keeps its order, and the two together almost.
type Runner struct {
	Client *Client
	// Spec is what is run.
	Spec Spec
	// Prepare, if not nil, is called for each run when the image is there and nothing of an earlier run is left. It returns
	// what is run, mostly the Spec it is given with other arguments.
	Prepare func(ctx context.Context, s Spec) (Spec, error)
	// StopSignal asks it to stop; zero is SIGTERM.
	StopSignal syscall.Signal
}

// Run implements supervise.Runner. Its error is an *ExitError, or says what could not be done.
func (r Runner) Run(ctx context.Context, env supervise.Env) error {
	img, imgConfig, err := r.image(ctx, env.Log)
	if err != nil {
		return err
	}
	nsctx, conn, err := r.Client.in(context.WithoutCancel(ctx), System)
	if err != nil {
		return err
	}
	if err := r.Client.removeContainer(nsctx, conn, r.Spec.ID); err != nil {
		return fmt.Errorf("remove what an earlier run left of container %s: %w", r.Spec.ID, err)
	}
	spec := r.Spec
	if r.Prepare != nil {
		if spec, err = r.Prepare(ctx, spec); err != nil {
			return err
		}
	}
	host, err := ReadHost()
	if err != nil {
		return err
	}
	rendered, err := Render(System, spec, imgConfig, host)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.run(ctx, nsctx, conn, img, spec, rendered, env)
}

func (r Runner) run(ctx, nsctx context.Context, conn *client.Client, img client.Image, spec Spec, rendered *specs.Spec,
	env supervise.Env) (err error) {
	defer func() {
		if e := r.Client.removeContainer(nsctx, conn, spec.ID); e != nil {
			err = errors.Join(err, fmt.Errorf("remove container %s: %w", spec.ID, e))
		}
	}()
	start, cancel := context.WithTimeout(nsctx, time.Minute)
	defer cancel()
	specOpts := make([]oci.SpecOpts, 0, len(spec.Devices))
	for _, d := range spec.Devices {
		specOpts = append(specOpts, oci.WithDevices(d, d, "rwm"))
	}
	root, err := r.rootfs(start, img, spec)
	if err != nil {
		return err
	}
	made := []client.NewContainerOpts{
		client.WithContainerLabels(spec.Labels),
		client.WithRuntime(runtimeName, &options.Options{Root: r.Client.opts.RuncRoot}), client.WithSpec(rendered, specOpts...),
	}
	if img != nil {
		made = append(made, client.WithImage(img))
	}
	c, err := conn.NewContainer(start, spec.ID, made...)
	if err != nil {
		return fmt.Errorf("make container %s: %w", spec.ID, err)
	}
	task, err := c.NewTask(start, cio.NewCreator(cio.WithStreams(nil, env.Log, env.Log), cio.WithFIFODir(r.Client.opts.FIFOs)),
		client.WithRootFS(root))
	if err != nil {
		return fmt.Errorf("make the process of container %s: %w", spec.ID, err)
	}
	waiting, stopWaiting := context.WithCancel(nsctx)
	defer stopWaiting()
	exited := wait(waiting, task)
	if err := task.Start(start); err != nil {
		return fmt.Errorf("start container %s: %w", spec.ID, err)
	}
	env.Started(fmt.Sprintf("Container %s started with PID %d", spec.ID, task.Pid()))

	end := r.follow(ctx, nsctx, task, exited, env)
	drain(task.IO())
	if ctx.Err() != nil {
		return nil // it was told to stop, and it has
	}
	return end
}

// follow waits until the container has ended. It returns what its end was.
func (r Runner) follow(ctx, nsctx context.Context, task client.Task, exited <-chan end, env supervise.Env) error {
	signal := r.StopSignal
	if signal == 0 {
		signal = syscall.SIGTERM
	}
	stop, kill := ctx.Done(), env.Kill
	for {
		select {
		case e := <-exited:
			return e.err()
		case <-stop:
			stop = nil
			sendSignal(nsctx, task, signal, env)
		case <-kill:
			kill = nil
			sendSignal(nsctx, task, syscall.SIGKILL, env)
		}
	}
}

// sendSignal signals the program in the container; SIGKILL is for all in it.
func sendSignal(ctx context.Context, task client.Task, signal syscall.Signal, env supervise.Env) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var opts []client.KillOpts
	if signal == syscall.SIGKILL {
		opts = append(opts, client.WithKillAll)
	}
	if err := task.Kill(ctx, signal, opts...); err != nil && !errdefs.IsNotFound(err) {
		_, _ = fmt.Fprintf(env.Log, "send %s to container %s: %v\n", signal, task.ID(), err)
	}
}

// end is how a container ended: with code, or it is not known because of lost.
type end struct {
	code uint32
	lost error
}

func (e end) err() error {
	switch {
	case e.lost != nil:
		return fmt.Errorf("wait for the container: %w", e.lost)
	case e.code != 0:
		return &ExitError{Code: e.code}
	}
	return nil
}

// wait gives how the task ended, once. While containerd is away, because it is restarted, it tries again.
func wait(ctx context.Context, task client.Task) <-chan end {
	out := make(chan end, 1)
	go func() {
		var lost time.Time
		for {
			began := time.Now()
			code, err := waitOnce(ctx, task)
			if err == nil {
				out <- end{code: code}
				return
			}
			if lost.IsZero() || time.Since(began) > 5*time.Second {
				lost = time.Now() // it was there until now
			}
			if ctx.Err() != nil || errdefs.IsNotFound(errgrpc.ToNative(err)) || time.Since(lost) > lostTime {
				out <- end{lost: err}
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return out
}

func waitOnce(ctx context.Context, task client.Task) (uint32, error) {
	exits, err := task.Wait(ctx)
	if err != nil {
		return 0, err
	}
	s := <-exits
	code, _, err := s.Result()
	return code, err
}

// drain waits for output that is still on its way.
func drain(streams cio.IO) {
	done := make(chan struct{})
	go func() {
		streams.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(drainTime):
		// What holds the pipe loses it: closing ends the copying, and the goroutine above.
		streams.Cancel()
		_ = streams.Close()
	}
}

// removeContainer kills and removes the container id, its process and its file system. That there is none is no error.
func (c *Client) removeContainer(ctx context.Context, conn *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	if err := removeTask(ctx, conn, id); err != nil {
		return err
	}
	return c.removeRoot(ctx, id) // made before the container, and there without it if a run was cut off
}

func removeTask(ctx context.Context, conn *client.Client, id string) error {
	c, err := conn.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	task, err := c.Task(ctx, nil)
	if err == nil {
		_, err = task.Delete(ctx, client.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

var hostCgroups = sync.OnceValues(func() (bool, error) {
	tree, err := cgroup.Detect("")
	if err != nil {
		return false, err
	}
	return tree.Version() == cgroup.V2, nil
})

// ReadHost finds out what this process may give to a container.
func ReadHost() (Host, error) {
	var h Host
	var err error
	if h.Capabilities, err = cap.Current(); err != nil {
		return Host{}, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	if h.OOMScoreAdj, err = containerdsys.GetOOMScoreAdj(os.Getpid()); err != nil {
		return Host{}, fmt.Errorf("read the oom_score_adj of this process: %w", err)
	}
	files, err := process.GetLimit(0, syscall.RLIMIT_NOFILE)
	if err != nil {
		return Host{}, fmt.Errorf("read the limit of open files: %w", err)
	}
	h.NoFile = files.Hard
	if h.UnifiedCgroups, err = hostCgroups(); err != nil {
		return Host{}, fmt.Errorf("find the cgroups: %w", err)
	}
	h.Seccomp = seccomp.IsEnabled()
	return h, nil
}
