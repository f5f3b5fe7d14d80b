package node

import (
	"maps"
	"os"
	"sync"

	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/supervise/child"
	"talos.internal/internal/sys/proc"
)

// processes launches the processes of services and remembers which process is which service, so that who connects to machined's
// socket is known by the number that PID 1 itself gave out.
type processes struct {
	child.Launcher
	// parent returns the parent of a process; nil if nothing but the services themselves is known.
	parent func(pid int32) (int32, error)

	mu   sync.Mutex
	last map[string]identity // by the name of the service
}

type identity struct {
	pid int32
	uid uint32
}

// Start implements child.Launcher. The service is known by the Name of spec.
func (p *processes) Start(spec child.Spec, out *os.File) (child.Process, error) {
	// Held across the start: the process may connect before Start returns, and has to be known then.
	p.mu.Lock()
	defer p.mu.Unlock()
	proc, err := p.Launcher.Start(spec, out)
	if err != nil {
		return nil, err
	}
	if spec.Name != "" {
		id := identity{pid: int32(proc.PID())}
		if spec.User != nil {
			id.uid = spec.User.UID
		}
		if p.last == nil {
			p.last = map[string]identity{}
		}
		// A service that had this number has ended: apid and the dashboard are one user, and have different rights.
		maps.DeleteFunc(p.last, func(_ string, old identity) bool { return old.pid == id.pid })
		p.last[spec.Name] = id
	}
	return proc, nil
}

// serviceOf returns the service whose process was last started with this number and user. A number that another process got
// since does not count: the user has to be the service's as well, and of those that share one only the last counts. What containerd
// itself has started as root counts as containerd.
func (p *processes) serviceOf(pid int32, uid uint32) (string, bool) {
	if name, ok := p.started(identity{pid, uid}); ok {
		return name, true
	}
	// containerd asks a program about images, which asks here.
	if p.parent == nil || uid != 0 {
		return "", false
	}
	if above, err := p.parent(pid); err == nil {
		if name, ok := p.started(identity{pid: above}); ok && name == crictrl.ContainerdID {
			return name, true
		}
	}
	return "", false
}

func (p *processes) started(who identity) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, id := range p.last {
		if id == who {
			return name, true
		}
	}
	return "", false
}

// parentOf reads who started a process, or took it over.
func parentOf(pid int32) (int32, error) {
	stat, err := proc.Reader{}.Process(int(pid))
	return int32(stat.PPID), err
}
