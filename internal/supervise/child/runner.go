package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"talos.internal/internal/supervise"
)

// drainTime is how long output is read on after the process has ended. What it wrote is in the pipe by then, and the pipe
// ends with the last who holds it: the time passes only if something outside its group, or a leftover that is kept, still
// does. That one gets SIGPIPE or EPIPE then, and needs a log of its own.
const drainTime = 500 * time.Millisecond

// Runner runs a process; it implements [supervise.Runner].
//
// Standard output and error are one pipe, so the log has the lines of both in the order in which they were written. A run
// ends when the process has ended and its output was taken; nothing of it is left then, no goroutine and no file, unless
// Spec keeps leftovers. A process that cannot be killed, in uninterruptible sleep, holds its run until it is gone.
type Runner struct {
	Spec     Spec
	Launcher Launcher
}

var _ supervise.Runner = Runner{}

// Run implements [supervise.Runner]. Its error is that of the launcher, or an *[ExitError].
func (r Runner) Run(ctx context.Context, env supervise.Env) error {
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", r.Spec.Path, err)
	}
	defer out.Close()
	p, err := r.Launcher.Start(r.Spec, in)
	in.Close() // ours; the process has its own
	if err != nil {
		return err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		drain(env.Log, out)
	}()
	env.Started(fmt.Sprintf("Process %s started with PID %d", r.Spec.Path, p.PID()))
	exit, killErr := r.await(ctx, env, p)
	if err := p.Kill(); err != nil {
		killErr = errors.Join(killErr, err)
	}
	_ = out.SetReadDeadline(time.Now().Add(drainTime)) // a pipe of os.Pipe has deadlines
	<-copied
	return errors.Join(exit.Err(), killErr)
}

// await returns when p has ended. It asks p to stop when ctx ends, and kills it when that takes too long.
func (r Runner) await(ctx context.Context, env supervise.Env, p Process) (Exit, error) {
	select {
	case exit := <-p.Exited():
		return exit, nil
	case <-ctx.Done():
	}
	sig := r.Spec.StopSignal
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	stopErr := p.Signal(sig)
	select {
	case exit := <-p.Exited():
		return exit, stopErr
	case <-env.Kill:
	}
	stopErr = errors.Join(stopErr, p.Kill())
	return <-p.Exited(), stopErr
}

// drain copies what is written to out until all writers are gone or its deadline has passed.
func drain(log io.Writer, out *os.File) {
	buf := make([]byte, 32<<10)
	for {
		n, err := out.Read(buf)
		if n > 0 {
			_, _ = log.Write(buf[:n]) // a log that fails must not block the process
		}
		if err != nil {
			return
		}
	}
}
