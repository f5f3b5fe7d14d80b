package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended, and what it used.
type Exit struct {
	PID          int
	Code         int            // what it gave to exit; -1 if a signal ended it
	Signal       syscall.Signal // the signal that ended it, or 0
	Core         bool           // whether it left a core
	User, System time.Duration  // CPU time, with that of its children that it waited for
	MaxResident  int64          // bytes
}

// Success reports whether the process ended by itself with 0.
func (e Exit) Success() bool { return e.Code == 0 && e.Signal == 0 }

// String returns the end in words: "exit status 3", "signal: killed".
func (e Exit) String() string {
	if e.Signal == 0 {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	s := "signal: " + e.Signal.String()
	if e.Core {
		s += " (core dumped)"
	}
	return s
}

// Reaper collects the children of this process that have ended, and tells those who wait for them. A process has at most
// one. Use [NewReaper]. It is safe for concurrent use.
type Reaper struct {
	orphan func(Exit)

	// starts is held for reading from before a fork until the child is in known, and for writing to let all such
	// starts end. A child that is not in known then was not started here.
	starts sync.RWMutex

	mu      sync.Mutex
	known   map[int]*Child
	watches map[int][]chan Exit
}

// NewReaper returns a Reaper. If orphan is not nil, Run calls it for each process that ended and was neither started here
// nor watched; the loop waits for it to return.
func NewReaper(orphan func(Exit)) *Reaper {
	// At its first use of processes the os package forks a child of its own to try out pidfds. It shall do so before
	// somebody else collects children.
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Release()
	}
	return &Reaper{orphan: orphan, known: map[int]*Child{}, watches: map[int][]chan Exit{}}
}

// Run collects children until ctx is done, and returns the cause of that. Without it no child is collected, and no wait
// for one ends before its context does.
func (r *Reaper) Run(ctx context.Context) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		// Signals of several children may come as one: collect all that have ended, also before the first signal.
		if err := r.collectAll(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
		}
	}
}

func (r *Reaper) collectAll() error {
	for {
		pid, err := ended(unix.P_ALL, 0)
		if err != nil {
			return fmt.Errorf("wait for children: %w", err)
		}
		if pid == 0 {
			return nil
		}
		if err := r.collect(pid); err != nil {
			return err
		}
	}
}

// siginfo is siginfo_t as waitid fills it: after three numbers, aligned to the size of a pointer, a union that starts
// with the pid.
type siginfo struct {
	_   [3]int32
	_   [0]uintptr
	pid int32
	_   [128]byte
}

// ended returns a child that has ended and leaves it uncollected; 0 if there is none.
func ended(kind, id int) (int, error) {
	for {
		var info siginfo
		err := unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return 0, nil
		default:
			return int(info.pid), err
		}
	}
}

func (r *Reaper) child(pid int) *Child {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[pid]
}

// collect takes the status of a child that was seen to have ended.
func (r *Reaper) collect(pid int) error {
	c := r.child(pid)
	if c == nil {
		r.starts.Lock()
		defer r.starts.Unlock()
		c = r.child(pid)
	}
	// Look again: if it was a fork whose exec failed, it may have been collected, and its number may be that of a child
	// that runs. From here on nobody else collects it.
	if still, err := ended(unix.P_PID, pid); still != pid {
		return err
	}
	if c == nil {
		return r.collectOrphan(pid)
	}
	state, err := c.cmd.Process.Wait()
	r.mu.Lock()
	delete(r.known, pid)
	r.mu.Unlock()
	if err != nil {
		c.err = fmt.Errorf("wait for %s (%d): %w", c.cmd.Path, pid, err)
	} else {
		ru, _ := state.SysUsage().(*syscall.Rusage)
		ws, _ := state.Sys().(syscall.WaitStatus)
		c.exit = exitOf(pid, ws, ru)
	}
	close(c.collected)
	return nil
}

func (r *Reaper) collectOrphan(pid int) error {
	var ws syscall.WaitStatus
	var ru syscall.Rusage
	for {
		got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, &ru)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if got == 0 {
			return nil
		}
		break
	}
	e := exitOf(pid, ws, &ru)
	r.mu.Lock()
	watches := r.watches[pid]
	delete(r.watches, pid)
	r.mu.Unlock()
	for _, w := range watches {
		w <- e
	}
	if len(watches) == 0 && r.orphan != nil {
		r.orphan(e)
	}
	return nil
}

func exitOf(pid int, ws syscall.WaitStatus, ru *syscall.Rusage) Exit {
	e := Exit{PID: pid, Code: ws.ExitStatus()}
	if ws.Signaled() {
		e.Code, e.Signal, e.Core = -1, ws.Signal(), ws.CoreDump()
	}
	if ru != nil {
		e.User, e.System = time.Duration(ru.Utime.Nano()), time.Duration(ru.Stime.Nano())
		e.MaxResident = int64(ru.Maxrss) * 1024
	}
	return e
}

// Watch returns a channel that gets the end of a process which was not started here but is, or becomes, a child of this
// one: an orphan. It gets nothing if somebody else collects the process. The error is fs.ErrNotExist if there is no such
// process; then, and after stop, the channel gets nothing more.
func (r *Reaper) Watch(pid int) (exit <-chan Exit, stop func(), err error) {
	w := make(chan Exit, 1)
	r.mu.Lock()
	r.watches[pid] = append(r.watches[pid], w)
	r.mu.Unlock()
	stop = func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		var rest []chan Exit
		for _, o := range r.watches[pid] {
			if o != w {
				rest = append(rest, o)
			}
		}
		if len(rest) == 0 {
			delete(r.watches, pid)
		} else {
			r.watches[pid] = rest
		}
	}
	// It is asked after the watch was set: a process that ends in between is collected with the watch.
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		select {
		case e := <-w:
			w <- e
		default:
			stop()
			return nil, nil, fmt.Errorf("watch process %d: %w", pid, fs.ErrNotExist)
		}
	}
	return w, stop, nil
}

// Child is a process that was started by [Reaper.Start]. It is safe for concurrent use.
type Child struct {
	cmd       *exec.Cmd
	collected chan struct{} // closed when exit or err is there
	finished  chan struct{} // closed when its output is read, too
	exit      Exit
	err       error
}

// Start starts a command, which must be fresh, and becomes the one that waits for it: of cmd nothing may be called any
// more. Its fields have their meaning, but that ProcessState stays nil; Cancel and WaitDelay of a command with a context
// work. SysProcAttr.Pdeathsig must not be set if o needs a thread of its own, since it tells of the end of that thread.
//
// An error is that of the start; there is no child then.
func (r *Reaper) Start(cmd *exec.Cmd, o Options) (*Child, error) {
	r.starts.RLock()
	defer r.starts.RUnlock()
	if err := o.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	c := &Child{cmd: cmd, collected: make(chan struct{}), finished: make(chan struct{})}
	r.mu.Lock()
	r.known[cmd.Process.Pid] = c
	r.mu.Unlock()
	go func() {
		defer close(c.finished)
		<-c.collected
		// The rest of Wait is wanted: it lets the copying of output end, stops the watch over the command's context, and
		// closes the pipes. Its wait for the process is not: where the os package works without pidfds, it would wait
		// for whoever has the number by now. So it gets a process that is none, about which the kernel says EINVAL.
		rest := *cmd
		rest.Process = &os.Process{Pid: -1}
		_ = rest.Wait()
	}()
	return c, nil
}

// PID returns the number of the process. It may be another's after the process has ended.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended and its output is read.
func (c *Child) Done() <-chan struct{} { return c.finished }

// Wait waits until the process has ended and its output is read, and tells how it ended. That it did not end well is no
// error. If ctx is done before, the error wraps its cause, and the process goes on.
func (c *Child) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-c.finished:
		return c.exit, c.err
	case <-ctx.Done():
		return Exit{}, fmt.Errorf("wait for the end of %s (%d): %w", c.cmd.Path, c.PID(), context.Cause(ctx))
	}
}

// Signal sends a signal to the process, and to no other that has its number now. The error is os.ErrProcessDone if it has
// ended.
func (c *Child) Signal(sig syscall.Signal) error { return c.cmd.Process.Signal(sig) }
