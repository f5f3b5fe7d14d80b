package kmsg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to read. The zero Options read what the ring holds now.
type Options struct {
	Follow bool // go on with what comes, until the context is done
	Tail   bool // leave out what the ring holds now
}

// maxRecord is more than the kernel ever gives in one read (PRINTK_MESSAGE_MAX in kernel/printk/internal.h).
const maxRecord = 8192

// device returns the path of the log.
func device(root string) string { return filepath.Join("/", root, "dev", "kmsg") }

// Read calls fn with each record, in their order. root is put before the path of the device; empty means "/".
//
// It returns nil at the end of the ring, or with Follow the cause of the context's end, and at once an error of fn. A
// record that is not in the format is given with all its text as the message. The error is fs.ErrNotExist where there is
// no log, as in many containers, and fs.ErrPermission where it may not be read.
func Read(ctx context.Context, root string, o Options, fn func(Record) error) error {
	f, err := os.OpenFile(device(root), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if o.Tail {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
	}
	return follow(ctx, f, unix.Read, o.Follow, fn)
}

// follow reads records from f by read, which is read(2) or, in a test, one that fails as the kernel's can.
func follow(ctx context.Context, f *os.File, read func(int, []byte) (int, error), wait bool, fn func(Record) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	// The end of the context interrupts a wait.
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxRecord)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var n int
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, rerr = read(int(fd), buf)
			return !wait || !errors.Is(rerr, unix.EAGAIN)
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue // the context is done
		case err != nil:
			return fmt.Errorf("read %s: %w", f.Name(), err)
		case errors.Is(rerr, unix.EAGAIN):
			return nil
		case errors.Is(rerr, unix.EPIPE), errors.Is(rerr, unix.EINTR):
			continue // the record was overwritten before it was read; the next read goes on with the oldest there is
		case rerr != nil:
			return fmt.Errorf("read %s: %w", f.Name(), rerr)
		case n == 0:
			return nil
		}
		r, perr := Parse(buf[:n])
		if perr != nil {
			r = Record{Message: string(buf[:n])}
		}
		if err := fn(r); err != nil {
			return err
		}
	}
}
