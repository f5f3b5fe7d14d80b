package child

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Spec says what is executed, as whom, and within which limits. A Launcher does all of it or fails: a limit that is not kept
// would be worse than a service that does not start.
type Spec struct {
	// Path is the file that is executed, absolute or relative to Dir; PATH is not searched. Args are the arguments after
	// argv[0], which is Path unless Name is set.
	Path string
	Name string
	Args []string
	// Env is the whole environment, as KEY=value.
	Env []string
	// Dir is the working directory; empty is that of this process.
	Dir string
	// User is who it runs as; nil is who this process is.
	User *User
	// Capabilities are what it has of CAP_…, in all of its sets; nil leaves them as they are, empty is none.
	Capabilities []string
	// Rlimits are set before it is executed.
	Rlimits []Rlimit
	// OOMScoreAdj is from -1000 (never killed) to 1000; nil leaves it as it is.
	OOMScoreAdj *int
	// Nice is the priority, from -20 to 19.
	Nice int
	// Cgroup is the cgroup that it is put into before it is executed, from the root of the hierarchy; empty is that of
	// this process. Its limits are the business of whoever made it.
	Cgroup string
	// StopSignal asks it to stop; zero is SIGTERM.
	StopSignal syscall.Signal
	// Leftovers says what happens to processes that it leaves behind.
	Leftovers Leftovers
}

// User is the identity of a process.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Rlimit is one limit of setrlimit(2). Resource is its name: "NOFILE".
type Rlimit struct {
	Resource   string
	Soft, Hard uint64
}

// Leftovers is what happens to processes that are left of a service when its main process has ended, or was told to stop.
type Leftovers uint8

const (
	// KillLeftovers signals and kills the whole process group, and the cgroup if the launcher can.
	KillLeftovers Leftovers = iota
	// KeepLeftovers signals and kills the main process alone. containerd's shims are such leftovers: pods must live on when
	// containerd is restarted.
	KeepLeftovers
)

// Launcher starts processes. It is safe for concurrent use.
type Launcher interface {
	// Start executes spec, with out as its standard output and error and nothing as its input. The process leads a
	// new process group. out stays the caller's to close. An error is about spec or the kernel; then there is no
	// process.
	Start(spec Spec, out *os.File) (Process, error)
}

// Process is a process that was started. Its methods are safe for concurrent use, and do nothing of harm when the process
// has ended.
type Process interface {
	PID() int
	// Signal sends sig to the process group, or with KeepLeftovers to the process.
	Signal(sig syscall.Signal) error
	// Kill ends the process and, unless its leftovers are kept, all that it has started as far as the launcher knows them.
	// It is called once more after the process has ended.
	Kill() error
	// Exited gives how the process ended, once.
	Exited() <-chan Exit
}

// Exit is how a process ended: with Code if Signal is 0.
type Exit struct {
	Code   int
	Signal syscall.Signal
	Core   bool
	// Lost is why that is not known: somebody else took the status. Then Code and Signal mean nothing.
	Lost error
}

// ExitOf translates the status that wait4(2) returns.
func ExitOf(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Signal: ws.Signal(), Core: ws.CoreDump()}
	}
	return Exit{Code: ws.ExitStatus()}
}

// ExitError is the error of a process that did not end with status 0.
type ExitError struct{ Exit Exit }

// Error returns the status as people know it: "exit status 1", "signal: killed".
func (e *ExitError) Error() string {
	switch {
	case e.Exit.Lost != nil:
		return "exit status unknown: " + e.Exit.Lost.Error()
	case e.Exit.Signal == 0:
		return fmt.Sprintf("exit status %d", e.Exit.Code)
	case e.Exit.Core:
		return fmt.Sprintf("signal: %v (core dumped)", e.Exit.Signal)
	}
	return fmt.Sprintf("signal: %v", e.Exit.Signal)
}

// Unwrap returns the reason for which the status is not known.
func (e *ExitError) Unwrap() error { return e.Exit.Lost }

// Err returns nil for status 0 and an *ExitError for all else.
func (e Exit) Err() error {
	if e == (Exit{}) {
		return nil
	}
	return &ExitError{e}
}

// Reaper hands out the exit statuses that a global wait4(-1) collects.
//
// Start calls start, which makes a child, and returns its PID and a channel that gives the child's status once; it is
// buffered. While start runs no status may be thrown away: a child can end, and be reaped, before its PID is known here.
// An error of start is returned as it is.
type Reaper interface {
	Start(start func() (pid int, err error)) (int, <-chan syscall.WaitStatus, error)
}

var errLost = errors.New("the status was collected by someone else")
