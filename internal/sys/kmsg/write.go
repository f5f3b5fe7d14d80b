package kmsg

import (
	"bytes"
	"fmt"
	"os"
	"unicode/utf8"
)

// maxLine is the most that the kernel takes in one write, the prefix and the newline included; more is EINVAL
// (PRINTKRB_RECORD_MAX in kernel/printk/printk.c).
const maxLine = 1024

// Writer puts lines into the log. Close it at the end. It is safe for concurrent use: lines of two writes may alternate,
// but do not mix.
//
// Unless the sysctl kernel.printk_devkmsg is "on", the kernel drops all but ten lines in five seconds of one Writer, and
// says nothing about it to whoever writes.
type Writer struct {
	f      *os.File
	prefix string
}

// NewWriter opens the log. The kernel does not let anybody write as [Kernel]: that becomes [User]. root is put before the
// path of the device; empty means "/". The error is fs.ErrNotExist where there is no log.
func NewWriter(root string, facility Facility, priority Priority) (*Writer, error) {
	f, err := os.OpenFile(device(root), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &Writer{f: f, prefix: fmt.Sprintf("<%d>", uint(facility)<<3|uint(priority&7))}, nil
}

// Write writes each line of p as a record; the last needs no newline. Empty lines are left out. A line that is too long
// for a record becomes several. The result is len(p), or the number of bytes of the lines before the one that failed.
func (w *Writer) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		line := p[done:]
		next := len(p)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, next = line[:i], done+i+1
		}
		for len(line) > 0 {
			part := line[:cut(line, maxLine-len(w.prefix)-1)]
			// One write is one record.
			if _, err := w.f.Write([]byte(w.prefix + string(part) + "\n")); err != nil {
				return done, err
			}
			line = line[len(part):]
		}
		done = next
	}
	return done, nil
}

// cut returns how much of a line fits into n bytes without breaking a character.
func cut(line []byte, n int) int {
	if len(line) <= n {
		return len(line)
	}
	for i := n; i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(line[i]) {
			return i
		}
	}
	return n
}

// Close closes the log.
func (w *Writer) Close() error { return w.f.Close() }
