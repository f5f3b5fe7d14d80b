package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options are what a child shall be beyond what exec.Cmd says. The zero Options change nothing.
type Options struct {
	// User is who it runs as. Nil means as this process. Another user than root has no capabilities.
	User *User
	// Bound, if not nil, are the capabilities that it and its children can ever have; the empty set means none.
	Bound *Caps
	// Ambient are capabilities that it has although its user is not root, and passes on to what it executes. They have to be
	// in Bound, if that is set, and this process must have them: the error is fs.ErrPermission otherwise.
	Ambient Caps
	// Nice is its priority, from -20 to 19; 0 leaves that of this process. Below that of this process it needs CAP_SYS_NICE.
	Nice int
	// NoNewPrivs keeps it and its children from getting rights by executing a program (no_new_privs.rst).
	NoNewPrivs bool
	// OnThread, if not nil, is called on the thread that forks the child, just before. What the child inherits from
	// a thread, not from the process, can be set there: with cgroup v1 it is how a child starts in its group. The
	// thread is not used for anything else afterwards.
	OnThread func() error
}

// User is a user with groups. All numbers are those of the user namespace of this process.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary; none if empty
}

// start starts cmd, on a thread of its own if something has to be set for it: no_new_privs, the bounding set, the priority
// and a cgroup v1 belong to a thread, and the fork inherits them. A goroutine that ends while it is locked to its thread takes the thread
// with it; the other threads stay as they are.
func (o Options) start(cmd *exec.Cmd) error {
	if o.User != nil || o.Ambient != 0 {
		attr := syscall.SysProcAttr{}
		if cmd.SysProcAttr != nil {
			attr = *cmd.SysProcAttr
		}
		if o.User != nil {
			attr.Credential = &syscall.Credential{Uid: o.User.UID, Gid: o.User.GID, Groups: o.User.Groups}
		}
		for c := range 64 {
			if o.Ambient&(1<<c) != 0 {
				attr.AmbientCaps = append(attr.AmbientCaps, uintptr(c))
			}
		}
		cmd.SysProcAttr = &attr
	}
	if o.Bound == nil && !o.NoNewPrivs && o.Nice == 0 && o.OnThread == nil {
		return cmd.Start()
	}
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Pdeathsig != 0 {
		return errors.New("a signal at the death of the parent would come with the end of the thread that starts the child")
	}
	return thrownAway(func() error {
		if err := o.onThread(); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// thrownAway calls f on a thread that ends afterwards.
func thrownAway(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f()
			return
		}
		// The first thread cannot end, and what proc and cgroup v1 say about the process is what they say about that
		// thread: PID 1 would be seen in the group of its child. While it is locked here, the next try gets another.
		defer runtime.UnlockOSThread()
		result <- thrownAway(f)
	}()
	return <-result
}

func (o Options) onThread() error {
	if o.OnThread != nil {
		if err := o.OnThread(); err != nil {
			return err
		}
	}
	if o.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice); err != nil { // 0 is the calling thread (setpriority(2), notes)
			return fmt.Errorf("set priority %d: %w", o.Nice, err)
		}
	}
	if o.Bound != nil {
		if err := bound(*o.Bound); err != nil {
			return err
		}
	}
	if o.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	return nil
}

// bound takes the capabilities that are not in keep out of the thread's bounding set and out of the inheritable one. What
// the thread has itself stays: the fork still has to change its user.
func bound(keep Caps) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("get capabilities: %w", err)
	}
	data[0].Inheritable &= uint32(keep)
	data[1].Inheritable &= uint32(keep >> 32)
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("set inheritable capabilities: %w", err)
	}
	for c := 0; c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows none from here on
		}
		if err != nil {
			return fmt.Errorf("drop %s: %w", Caps(1)<<c, err)
		}
	}
	return nil
}

// Limit is a soft and a hard limit of a resource; [Unlimited] is none.
type Limit struct {
	Soft, Hard uint64
}

// Unlimited is the value of a limit that does not limit.
const Unlimited = ^uint64(0)

// SetLimit sets a limit (unix.RLIMIT_NOFILE, …) of a process; 0 is this one, and what it starts from then on. A process
// that was just started may have run for a moment without it. Without CAP_SYS_RESOURCE a hard limit cannot be raised: the
// error is fs.ErrPermission.
func SetLimit(pid, resource int, l Limit) error {
	var err error
	if pid == 0 {
		// Not prlimit: the syscall package remembers the limit of open files at the start, and gives it back to children
		// unless it is changed through it.
		err = syscall.Setrlimit(resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard})
	} else {
		err = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil)
	}
	if err != nil {
		return fmt.Errorf("set limit %d of process %d: %w", resource, pid, err)
	}
	return nil
}

// GetLimit returns a limit of a process; 0 is this one.
func GetLimit(pid, resource int) (Limit, error) {
	var l unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &l); err != nil {
		return Limit{}, fmt.Errorf("get limit %d of process %d: %w", resource, pid, err)
	}
	return Limit{l.Cur, l.Max}, nil
}

// SetOOMScoreAdj says how soon a process is killed when memory ends: from -1000, never, to 1000, first. Its children have
// the same. root is where proc is; empty means "/". To go below what a process was ever allowed needs CAP_SYS_RESOURCE:
// without it the error is fs.ErrPermission, which a caller in a container has to live with. If there is no such process
// the error is fs.ErrNotExist.
func SetOOMScoreAdj(root string, pid, score int) error {
	if root == "" {
		root = "/"
	}
	if score < -1000 || score > 1000 {
		return fmt.Errorf("set oom_score_adj of process %d to %d: %w", pid, score, syscall.EINVAL)
	}
	f, err := os.OpenFile(filepath.Join(root, "proc", strconv.Itoa(pid), "oom_score_adj"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(score))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// BecomeSubreaper makes this process the parent of orphans among its descendants, as PID 1 is without it.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}
