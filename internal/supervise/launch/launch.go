// Package launch starts the processes of services with the limits that their descriptions name: it is the child.Launcher of
// PID 1.
//
// Processes are started and collected by a process.Reaper, and put into groups of a cgroup.Tree, of v1 or v2. User,
// capabilities, no_new_privs, priority and cgroup hold from the first instruction on. The resource limits and
// oom_score_adj are set right after the start: for that moment the process has those of PID 1.
//
// Two things are done as far as the machine lets us, since a container often lacks CAP_SYS_RESOURCE and a service without
// them is better than none: oom_score_adj is left as it is where lowering it is refused, and a resource limit is cut to
// the hard limit that PID 1 has itself. Each is logged once. Everything else is done or the start fails.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"talos.internal/internal/supervise/child"
	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/process"
)

// killTime is how long the kill of a cgroup may take. A process needs longer only in uninterruptible sleep.
const killTime = 5 * time.Second

// Launcher is a child.Launcher. Use [New]. It is safe for concurrent use.
type Launcher struct {
	reaper *process.Reaper
	groups *cgroup.Tree
	log    *slog.Logger

	mu   sync.Mutex
	said map[string]bool
}

var _ child.Launcher = (*Launcher)(nil)

// New returns a Launcher. The reaper has to run. groups may be nil where there are none: a Spec that names a cgroup is
// refused then. log gets what could not be done as asked.
func New(reaper *process.Reaper, groups *cgroup.Tree, log *slog.Logger) *Launcher {
	return &Launcher{reaper: reaper, groups: groups, log: log, said: map[string]bool{}}
}

// plan is a Spec in the terms of package process.
type plan struct {
	options process.Options
	limits  []limit
}

type limit struct {
	name     string
	resource int
	want     process.Limit
}

// decide translates a Spec.
//
// A root user has the capabilities of its bounding set after an execve, another user those of the ambient set
// (capabilities(7)). Who shall have none gets no_new_privs, too: a program with the set-user-ID bit would make it root.
func decide(s child.Spec) (plan, error) {
	var p plan
	o := &p.options
	o.Nice = s.Nice
	if s.Nice < -20 || s.Nice > 19 {
		return p, fmt.Errorf("nice %d is not from -20 to 19: %w", s.Nice, syscall.EINVAL)
	}
	if n := s.OOMScoreAdj; n != nil && (*n < -1000 || *n > 1000) {
		return p, fmt.Errorf("oom_score_adj %d is not from -1000 to 1000: %w", *n, syscall.EINVAL)
	}
	if s.User != nil {
		o.User = &process.User{UID: s.User.UID, GID: s.User.GID, Groups: s.User.Groups}
	}
	if s.Capabilities != nil {
		caps, err := process.ParseCaps(s.Capabilities...)
		if err != nil {
			return p, err
		}
		o.Bound, o.NoNewPrivs = &caps, caps == 0
		if s.User != nil && s.User.UID != 0 {
			o.Ambient = caps
		}
	}
	for _, r := range s.Rlimits {
		n, err := process.ParseLimit(r.Resource)
		if err != nil {
			return p, err
		}
		if r.Soft > r.Hard {
			return p, fmt.Errorf("limit %s: soft %d is above hard %d: %w", r.Resource, r.Soft, r.Hard, syscall.EINVAL)
		}
		p.limits = append(p.limits, limit{r.Resource, n, process.Limit{Soft: r.Soft, Hard: r.Hard}})
	}
	return p, nil
}

// Start implements child.Launcher. A cgroup that is not there is made; it belongs to this one service, and what is in it is
// killed with the service.
func (l *Launcher) Start(spec child.Spec, out *os.File) (child.Process, error) {
	p, err := l.start(spec, out)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	return p, nil
}

func (l *Launcher) start(spec child.Spec, out *os.File) (*launched, error) {
	plan, err := decide(spec)
	if err != nil {
		return nil, err
	}
	name := spec.Name
	if name == "" {
		name = spec.Path
	}
	cmd := &exec.Cmd{
		Path: spec.Path, Args: append([]string{name}, spec.Args...), Env: spec.Env, Dir: spec.Dir, Stdout: out, Stderr: out,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would be our own
	}
	p := &launched{keep: spec.Leftovers == child.KeepLeftovers, exited: make(chan child.Exit, 1)}
	if spec.Cgroup != "" {
		done, err := l.join(cmd, &plan.options, p, spec.Cgroup)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	if p.child, err = l.reaper.Start(cmd, plan.options); err != nil {
		return nil, err
	}
	go p.wait()
	if err := l.adjust(spec, plan, p.PID()); err != nil {
		// There must be no process after an error.
		err = errors.Join(err, p.Kill())
		<-p.exited
		return nil, err
	}
	return p, nil
}

// join makes a command start in a group.
func (l *Launcher) join(cmd *exec.Cmd, o *process.Options, p *launched, path string) (done func(), err error) {
	if l.groups == nil {
		return nil, fmt.Errorf("cgroup %s: this machine has no cgroups: %w", path, errors.ErrUnsupported)
	}
	g := l.groups.Group(path)
	if g.Path() == "/" {
		return nil, fmt.Errorf("cgroup %s is that of all services: %w", path, syscall.EINVAL)
	}
	if !g.Exists() {
		if err := g.Create(); err != nil {
			return nil, err
		}
	}
	p.group = &g
	o.OnThread, done, err = g.Prepare(cmd)
	return done, err
}

// adjust sets what can be set of a process that runs. One that has ended by then needs nothing any more.
func (l *Launcher) adjust(spec child.Spec, plan plan, pid int) error {
	for _, lim := range plan.limits {
		got, err := process.SetLimitWithin(pid, plan.options.User, lim.resource, lim.want)
		switch {
		case errors.Is(err, syscall.ESRCH):
			return nil
		case err != nil:
			return fmt.Errorf("limit %s: %w", lim.name, err)
		case got != lim.want:
			l.once("limit "+lim.name, "a service gets a lower limit than it should have, since this machine may not raise it",
				"service", spec.Path, "limit", lim.name, "wanted", lim.want.Hard, "got", got.Hard)
		}
	}
	if spec.OOMScoreAdj == nil {
		return nil
	}
	err := process.SetOOMScoreAdj("", pid, *spec.OOMScoreAdj)
	switch {
	case errors.Is(err, fs.ErrPermission):
		l.once("oom", "services are not protected when memory ends: to lower oom_score_adj needs CAP_SYS_RESOURCE",
			"service", spec.Path, "wanted", *spec.OOMScoreAdj)
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return nil
	}
	return err
}

func (l *Launcher) once(key, message string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.said[key] {
		l.said[key] = true
		l.log.Warn(message, args...)
	}
}

// launched is a process.
type launched struct {
	child  *process.Child
	group  *cgroup.Group // nil without one
	keep   bool
	exited chan child.Exit

	mu   sync.Mutex
	gone bool // collected: the number may belong to someone else
}

// wait tells of the end. The group of the process is killed right after it was collected: its number is not given to
// another while it has members, and if it has none, the kernel would have to run through all the others in between.
func (p *launched) wait() {
	e, err := p.child.Wait(context.Background()) // a process may run for as long as the machine; Kill ends it
	p.mu.Lock()
	p.gone = true
	if !p.keep {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // ESRCH: nothing was left
	}
	p.mu.Unlock()
	if err != nil {
		p.exited <- child.Exit{Lost: err}
		return
	}
	exit := child.Exit{Signal: e.Signal, Core: e.Core}
	if e.Signal == 0 {
		exit.Code = e.Code
	}
	p.exited <- exit
}

// PID implements child.Process.
func (p *launched) PID() int { return p.child.PID() }

// Exited implements child.Process.
func (p *launched) Exited() <-chan child.Exit { return p.exited }

// Signal implements child.Process.
func (p *launched) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil
	}
	if p.keep {
		if err := p.child.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("send %v to process %d: %w", sig, p.PID(), err)
		}
		return nil
	}
	if err := syscall.Kill(-p.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process group %d: %w", sig, p.PID(), err)
	}
	return nil
}

// Kill implements child.Process. With a cgroup it ends what has left the process group, too.
func (p *launched) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	if p.keep || p.group == nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), killTime, errKillTime)
	defer cancel()
	return errors.Join(err, p.group.Kill(ctx))
}

var errKillTime = fmt.Errorf("they did not end within %v after SIGKILL", killTime)
