package child

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// Exec is a Launcher that uses package os alone. It cannot set capabilities, rlimits, oom_score_adj, nice or a cgroup: a
// Spec that asks for one of them is refused with errors.ErrUnsupported.
//
// It does not ask for a signal at the death of the parent (PR_SET_PDEATHSIG): the kernel sends that when the thread ends
// that forked, which in a Go program is not the end of the program; and nothing outlives PID 1.
type Exec struct {
	// Reaper collects the statuses of all children of this process; nil if nobody does, and each can be waited for.
	Reaper Reaper
}

func (s *Spec) unsupported() error {
	var what []string
	if s.Capabilities != nil {
		what = append(what, "capabilities")
	}
	if s.Rlimits != nil {
		what = append(what, "rlimits")
	}
	if s.OOMScoreAdj != nil {
		what = append(what, "oom_score_adj")
	}
	if s.Nice != 0 {
		what = append(what, "nice")
	}
	if s.Cgroup != "" {
		what = append(what, "a cgroup")
	}
	if what == nil {
		return nil
	}
	return fmt.Errorf("start %s: this launcher cannot set %s: %w", s.Path, strings.Join(what, ", "), errors.ErrUnsupported)
}

// Start implements [Launcher].
func (l Exec) Start(spec Spec, out *os.File) (Process, error) {
	if err := spec.unsupported(); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	defer null.Close()
	attr := &os.ProcAttr{
		Dir: spec.Dir, Env: spec.Env, Files: []*os.File{null, out, out},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	}
	if attr.Env == nil {
		attr.Env = []string{} // nil would be our own
	}
	if u := spec.User; u != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	name := spec.Name
	if name == "" {
		name = spec.Path
	}
	p := &execProcess{keep: spec.Leftovers == KeepLeftovers, exited: make(chan Exit, 1)}
	start := func() (int, error) {
		p.os, err = os.StartProcess(spec.Path, append([]string{name}, spec.Args...), attr)
		if err != nil {
			return 0, err // names the operation and the file
		}
		return p.os.Pid, nil
	}
	if l.Reaper == nil {
		if p.pid, err = start(); err != nil {
			return nil, err
		}
		go p.wait()
		return p, nil
	}
	pid, status, err := l.Reaper.Start(start)
	if err != nil {
		return nil, err
	}
	p.pid = pid
	go func() {
		ws, ok := <-status
		p.end()
		if !ok {
			p.exited <- Exit{Lost: errLost}
			return
		}
		p.exited <- ExitOf(ws)
	}()
	return p, nil
}

type execProcess struct {
	os     *os.Process
	pid    int
	keep   bool
	exited chan Exit

	mu   sync.Mutex
	gone bool // reaped: the number may belong to someone else
}

// end kills what the process has left, and lets no later signal go to its number.
//
// The number of a process is not given to another while its group has members, so the group can be killed after its
// leader was reaped. If the group is empty the number is free: between the wait and this call the kernel would have to
// run through all the others to hand it out again. A launcher with a cgroup, or with waitid(WNOWAIT), has no such gap.
func (p *execProcess) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	p.gone = true
	if !p.keep {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // ESRCH: nothing was left
	}
	_ = p.os.Release() // of no effect after Wait
}

func (p *execProcess) wait() {
	state, err := p.os.Wait()
	p.end()
	if err != nil {
		p.exited <- Exit{Lost: err}
		return
	}
	ws, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		p.exited <- Exit{Lost: errLost}
		return
	}
	p.exited <- ExitOf(ws)
}

// PID implements [Process].
func (p *execProcess) PID() int { return p.pid }

// Exited implements [Process].
func (p *execProcess) Exited() <-chan Exit { return p.exited }

// Kill implements [Process]. What is left of the group was killed when the process ended; the call after that does nothing.
func (p *execProcess) Kill() error { return p.Signal(syscall.SIGKILL) }

// Signal implements [Process].
func (p *execProcess) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	to := -p.pid
	if p.keep {
		to = p.pid
	}
	if err := syscall.Kill(to, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", sig, to, err)
	}
	return nil
}
