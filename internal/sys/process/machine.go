package process

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Machine are the verbs on the machine as a whole. In a container it is the container that they act on.
type Machine interface {
	// SetHostname names the machine, with at most 64 bytes. It is the name of the UTS namespace.
	SetHostname(name string) error

	// SignalAll sends a signal to every process but this one, and to none of other pid namespaces above. That there is
	// no other is no error.
	SignalAll(sig syscall.Signal) error

	// Sync writes what file systems hold back to the disks, and waits for it.
	Sync()

	// Reboot ends the system in the way given, without asking anybody and without a Sync. In the first pid namespace it
	// does not return. In another the kernel ends PID 1 of that, with SIGHUP for a Restart and SIGINT for a PowerOff or
	// a Halt, which its parent sees (reboot(2)); the machine goes on.
	Reboot(End) error

	// CtrlAltDel says whether the three keys restart the machine at once (true) or send SIGINT to PID 1.
	CtrlAltDel(restart bool) error
}

// End is a way to end.
type End string

// The ways.
const (
	Restart  End = "restart"
	PowerOff End = "power off"
	Halt     End = "halt"
	Kexec    End = "kexec" // start the kernel that was loaded
)

// Kernel is the [Machine] that runs this process.
type Kernel struct{}

var _ Machine = Kernel{}

// SetHostname implements [Machine].
func (Kernel) SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name %s: %w", name, err)
	}
	return nil
}

// SignalAll implements [Machine].
func (Kernel) SignalAll(sig syscall.Signal) error {
	err := unix.Kill(-1, sig)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %v to all: %w", sig, err)
	}
	return nil
}

// Sync implements [Machine].
func (Kernel) Sync() { unix.Sync() }

// Reboot implements [Machine].
func (Kernel) Reboot(e End) error {
	cmd, ok := map[End]int{
		Restart: unix.LINUX_REBOOT_CMD_RESTART, PowerOff: unix.LINUX_REBOOT_CMD_POWER_OFF,
		Halt: unix.LINUX_REBOOT_CMD_HALT, Kexec: unix.LINUX_REBOOT_CMD_KEXEC,
	}[e]
	if !ok {
		return fmt.Errorf("reboot: %q is no way to end: %w", e, syscall.EINVAL)
	}
	if err := unix.Reboot(cmd); err != nil {
		return fmt.Errorf("reboot (%s): %w", e, err)
	}
	return nil
}

// CtrlAltDel implements [Machine].
func (Kernel) CtrlAltDel(restart bool) error {
	cmd := unix.LINUX_REBOOT_CMD_CAD_OFF
	if restart {
		cmd = unix.LINUX_REBOOT_CMD_CAD_ON
	}
	if err := unix.Reboot(cmd); err != nil {
		return fmt.Errorf("set ctrl-alt-del: %w", err)
	}
	return nil
}

// Recorder is a [Machine] that records what it is told, for tests. The zero Recorder is ready. It is safe for concurrent
// use, but for the fields, which are set before.
type Recorder struct {
	FailAt  int   // the verb, from 1, that fails and does nothing; 0 for none. Sync cannot fail, but counts
	FailErr error // what it fails with; nil means EPERM

	mu       sync.Mutex
	log      []string
	hostname string
}

var _ Machine = (*Recorder)(nil)

func (r *Recorder) record(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	what := fmt.Sprintf(format, args...)
	r.log = append(r.log, what)
	if len(r.log) != r.FailAt {
		return nil
	}
	if r.FailErr != nil {
		return fmt.Errorf("%s: %w", what, r.FailErr)
	}
	return fmt.Errorf("%s: %w", what, syscall.EPERM)
}

// Log returns the verbs so far, one line each, those that failed included.
func (r *Recorder) Log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

// Hostname returns the name that was set last.
func (r *Recorder) Hostname() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hostname
}

// SetHostname implements [Machine].
func (r *Recorder) SetHostname(name string) error {
	if err := r.record("set host name %s", name); err != nil {
		return err
	}
	if len(name) > 64 {
		return fmt.Errorf("set host name %s: %w", name, syscall.EINVAL)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hostname = name
	return nil
}

// SignalAll implements [Machine].
func (r *Recorder) SignalAll(sig syscall.Signal) error { return r.record("send %v to all", sig) }

// Sync implements [Machine].
func (r *Recorder) Sync() { _ = r.record("sync") }

// Reboot implements [Machine]. It returns.
func (r *Recorder) Reboot(e End) error { return r.record("reboot (%s)", e) }

// CtrlAltDel implements [Machine].
func (r *Recorder) CtrlAltDel(restart bool) error {
	return r.record("set ctrl-alt-del to restart: %t", restart)
}
