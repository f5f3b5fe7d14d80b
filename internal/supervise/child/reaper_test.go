package child

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
)

// reaper collects every child of the test process, and every orphan below it, as PID 1 does.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
	orphans chan int // those that nobody waited for
}

const prSetChildSubreaper = 36 // prctl(2)

// reap reaps until the test ends. Tests that run beside it would lose their children: there are none.
func reap(t *testing.T) *reaper {
	t.Helper()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		t.Fatal(errno)
	}
	r := &reaper{waiting: map[int]chan syscall.WaitStatus{}, orphans: make(chan int, 100)}
	signals, stop, done := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				r.collect()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		signal.Stop(signals)
		close(stop)
		<-done
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 0, 0)
	})
	return r
}

func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- ws
			continue
		}
		select {
		case r.orphans <- pid:
		default:
		}
	}
}

// Start implements [Reaper]: collect cannot run between the fork and the entry in waiting.
func (r *reaper) Start(start func() (int, error)) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := start()
	if err != nil {
		return 0, nil, err
	}
	c := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = c
	return pid, c, nil
}
