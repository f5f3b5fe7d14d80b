//go:build linux

package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"talos.internal/internal/provision"
	"talos.internal/internal/sys/proc"
)

// command runs a program to its end. The error has what it said. It is killed with this process, so that nothing is made after an
// interrupted create when a destroy is under way; a daemon that it leaves behind is not.
//
// A signal at the death of the parent comes with the end of the thread that started the child, so that thread waits here.
func command(ctx context.Context, name string, args ...string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- wait(ctx, name, args)
	}()
	return <-done
}

func wait(ctx context.Context, name string, args []string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second // a daemon that got the output may keep it open
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	text := strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", "; ")
	if missing := new(exec.Error); errors.As(err, &missing) {
		return fmt.Errorf("%s: %w; install Debian's qemu-system-x86, qemu-utils, and for a TPM swtpm and swtpm-tools", name, err)
	}
	return fmt.Errorf("%s: %w: %s", name, err, text)
}

// found are processes of a cluster.
type found []proc.Process

// processes returns those that a command line tells to be wanted. One that has ended and was not waited for has none.
func processes(want func(args []string) bool) (found, error) {
	all, err := proc.Reader{}.Processes()
	if err != nil {
		return nil, fmt.Errorf("look for processes: %w", err)
	}
	var out found
	for _, p := range all {
		if want(p.Args) {
			out = append(out, p)
		}
	}
	return out, nil
}

// kill ends all processes that are wanted at once, and waits until there are none. A process that was just about to start
// another one does not escape: it is looked for again until nothing is found.
func kill(ctx context.Context, what string, want func(args []string) bool) error {
	return provision.Poll(ctx, "the end of "+what, func() (bool, error) {
		all, err := processes(want)
		for _, p := range all {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("kill process %d of %s: %w", p.PID, what, err)
			}
		}
		return err == nil && len(all) == 0, err
	})
}

// accelerator reports whether KVM is real here, and why not. /dev/kvm alone says little: where the processor's own virtualization
// is hidden, what stands behind it hangs with a stock kernel.
func accelerator() (kvm bool, why string) {
	cpus, err := proc.Reader{}.CPUInfo()
	if err != nil || len(cpus) == 0 {
		return false, "the processor is not known"
	}
	virtualizes := false
	for _, f := range cpus[0].Flags {
		virtualizes = virtualizes || f == "vmx" || f == "svm"
	}
	if !virtualizes {
		return false, "the processor has neither vmx nor svm"
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return false, "this user may not open /dev/kvm; the group kvm may"
		}
		return false, err.Error()
	}
	_ = f.Close()
	return true, ""
}

// Slow says why machines are slow on this computer; "" if they are not.
func Slow() string {
	kvm, why := accelerator()
	if kvm {
		return ""
	}
	return "no KVM: " + why + ". QEMU translates every instruction: machines are about ten times slower than this computer"
}
