// Command initramfs is PID 1 of the initramfs: it finds the root file system, has it checked by dm-verity, and executes what is
// PID 1 there. By the name modprobe it answers the kernel's requests for modules meanwhile.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"talos.internal/internal/boot"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// next is PID 1 of the root file system.
const next = "/sbin/init"

// probeLimit is how long the kernel waits for a module that it asked for.
const probeLimit = 30 * time.Second

func main() { os.Exit(run(filepath.Base(os.Args[0]), os.Args[1:])) }

func run(name string, args []string) int {
	if name == "modprobe" {
		ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
		defer cancel()
		if err := boot.Probe(ctx, args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if os.Getpid() != 1 {
		fmt.Fprintf(os.Stderr, "%s: it is PID 1 of an initramfs and nothing else; here it is process %d\n", name, os.Getpid())
		return 2
	}
	emergency := &boot.Emergency{Mode: boot.Metal, Machine: process.Kernel{}, Out: []io.Writer{os.Stderr}, Exit: os.Exit}
	emergency.Guard(func() {
		if err := start(emergency); err != nil {
			emergency.Enter(err)
		}
	})
	return 1
}

// start ends in the next PID 1. It returns what keeps it from that.
func start(emergency *boot.Emergency) error {
	for _, c := range boot.FirstMounts() {
		err := errors.Join(os.MkdirAll(c.Target, 0o755), mount.Kernel{}.Mount(c))
		if err != nil && !errors.Is(err, mount.ErrBusy) { // a kernel may mount devtmpfs itself
			return err
		}
	}
	console, err := boot.KernelConsole("", slog.LevelInfo)
	if err != nil {
		return err
	}
	emergency.Out = append(emergency.Out, console.Errors())
	log := slog.New(console)
	cmdline, err := proc.Reader{}.Cmdline()
	if err != nil {
		return err
	}
	steps, err := boot.InitramfsPlan(cmdline)
	if err != nil {
		return err
	}
	if _, err := boot.Run(context.Background(), steps, boot.NewHost("", nil), log); err != nil {
		return err
	}
	if err := syscall.Exec(next, []string{next}, boot.Environment()); err != nil {
		return fmt.Errorf("execute %s of the root: %w", next, err)
	}
	return nil
}
