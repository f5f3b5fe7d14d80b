package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Settle gives back the memory that this process needed to start and does not need to run: what is free on the heap, and the
// pages of its program file.
//
// A start touches most of a large program: every package's init, and around each page that is touched the kernel maps fifteen
// more. Those pages are clean and shared by all processes of the program, and stay in the kernel's cache; this process has what
// it uses mapped again as it uses it, without reading the disk as long as the cache has it. So the process's own resident
// memory falls, the machine's hardly.
//
// It stops the program for some milliseconds, to collect garbage. It is safe to call at any time, from any goroutine. After an error the program
// is as it was, or some of its pages are given back.
func Settle() error {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	defer f.Close()
	spans, err := programSpans(f, program)
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	var errs []error
	for _, s := range spans {
		// Only what cannot be written is in spans: all of it comes back from the file. madvise(2) of Go's own heap is the runtime's
		// matter, and unix.Madvise wants a slice, which these addresses are not.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("settle: give back %x-%x: %w", s.from, s.to, errno))
		}
	}
	return errors.Join(errs...)
}

// span is a range of addresses; to is the first behind it.
type span struct{ from, to uintptr }

// programSpans returns the mappings of a file that cannot be written, from the maps of a process (proc_pid_maps(5)).
func programSpans(r io.Reader, file string) ([]span, error) {
	var spans []span
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// 00400000-0120d000 r-xp 00000000 08:02 173521      /usr/sbin/init
		// The file is the rest of the line, with blanks of its own.
		head, path, _ := strings.Cut(lines.Text(), "/")
		fields := strings.Fields(head)
		if "/"+path != file || len(fields) < 2 {
			continue
		}
		if mode := fields[1]; len(mode) != 4 || mode[1] != '-' || mode[3] != 'p' {
			continue
		}
		low, high, _ := strings.Cut(fields[0], "-")
		from, err := strconv.ParseUint(low, 16, strconv.IntSize)
		if err != nil {
			return nil, fmt.Errorf("mapping %q: %w", fields[0], err)
		}
		to, err := strconv.ParseUint(high, 16, strconv.IntSize)
		if err != nil {
			return nil, fmt.Errorf("mapping %q: %w", fields[0], err)
		}
		if to <= from {
			return nil, fmt.Errorf("mapping %q ends before it begins", fields[0])
		}
		spans = append(spans, span{uintptr(from), uintptr(to)})
	}
	return spans, lines.Err()
}
