package boot

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"talos.internal/internal/sys/process"
)

// Emergency is the one way on which PID 1 ends unasked: after a panic in one of its own goroutines, and after an error
// without which there is no node. It says what happened and where, gives the services a short time, syncs and ends.
//
// Whatever fails on the way is said, and the way goes on. Fill in the fields before the first use; the services come later,
// with SetServices. It is safe for concurrent use, and so have to be the writers. What the Go runtime ends a program for
// without a panic, such as a concurrent write to a map, cannot be caught.
type Emergency struct {
	Mode    Mode
	Machine process.Machine
	// Out are where it is said: standard error, and the log of the kernel where there is one.
	Out []io.Writer
	// Exit ends the process: os.Exit. It is called at last, in every mode.
	Exit func(code int)

	mu       sync.Mutex
	services Services
	once     sync.Once
	done     chan struct{}
}

// The times of the emergency path.
const (
	emergencyStop  = 5 * time.Second  // for the services
	emergencySync  = 5 * time.Second  // for the disks
	emergencyPause = 10 * time.Second // for a person to read the console, before a machine starts again
)

// SetServices says which services there are to be stopped.
func (e *Emergency) SetServices(s Services) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.services = s
}

// Enter takes the emergency path with any value: that of a panic, or an error, which says by itself where it comes from. It
// returns only if Exit does. Others that enter meanwhile are told of, and wait for that one end.
func (e *Emergency) Enter(cause any) {
	if _, ok := cause.(error); ok {
		e.enter(cause, nil)
		return
	}
	e.enter(cause, debug.Stack())
}

// Guard calls f, and takes the emergency path if it panics. Each goroutine of PID 1 that nothing else guards begins with it.
func (e *Emergency) Guard(f func()) {
	defer func() {
		if v := recover(); v != nil {
			e.enter(v, debug.Stack())
		}
	}()
	f()
}

func (e *Emergency) enter(cause any, stack []byte) {
	e.say("emergency: %s", strings.TrimSpace(describe(cause)+"\n"+string(stack)))
	e.mu.Lock()
	if e.done == nil {
		e.done = make(chan struct{})
	}
	done := e.done
	e.mu.Unlock()
	first := false
	e.once.Do(func() { first = true })
	if !first {
		<-done
		return
	}
	defer close(done)
	e.within("stop the services", emergencyStop, func(ctx context.Context) error {
		e.mu.Lock()
		s := e.services
		e.mu.Unlock()
		if s == nil {
			return nil
		}
		s.DenyStarts()
		return s.StopAll(ctx)
	})
	e.within("sync", emergencySync, func(context.Context) error {
		e.Machine.Sync()
		return nil
	})
	// PID 1 of a machine that exits is a panic of the kernel; a container that exits is what its runtime reports.
	if e.Mode != Container {
		e.say("emergency: this machine starts again in %v", emergencyPause)
		time.Sleep(emergencyPause)
		e.within("restart", emergencySync, func(context.Context) error { return e.Machine.Reboot(process.Restart) })
	}
	e.say("emergency: PID 1 exits")
	e.Exit(1)
}

// describe is the text of a value, whose own method may panic, too; fmt says so then.
func describe(v any) string {
	if err, ok := v.(error); ok {
		return fmt.Sprintf("%v", err)
	}
	return fmt.Sprintf("panic: %v", v)
}

// within does something that may hang or panic.
func (e *Emergency) within(what string, limit time.Duration, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- fmt.Errorf("panic: %v", v)
			}
		}()
		done <- f(ctx)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(unwind):
			err = fmt.Errorf("it is not done after %v", limit)
		}
	}
	if err != nil {
		e.say("emergency: %s: %v", what, err)
	}
}

// say writes to all that is there to write to. That nobody reads it is no reason not to go on.
func (e *Emergency) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	for _, w := range e.Out {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.WriteString(w, text)
		}()
		select {
		case <-done:
		case <-time.After(time.Second):
		}
	}
}
