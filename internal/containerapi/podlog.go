package containerapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// podLog reads the log of a pod's container, which the CRI plugin writes: a line is a time, the stream, a tag (F, or P for a
// part whose line goes on) and the text (Kubernetes' design of the CRI's logs).
type podLog struct {
	// find returns the file that is written now. After a restart of the container, or a rotation, it is another one.
	find func(context.Context) (string, error)
}

// lookEvery is how often a log that is followed is looked at. The files are of a file system that may be shared with pods: a
// watch would tell no more than that.
const lookEvery = 250 * time.Millisecond

// copy writes the last tail lines (all if tail is negative) to w, and with follow what comes until ctx ends, which is no error.
func (p podLog) copy(ctx context.Context, w io.Writer, tail int, follow bool) error {
	name, err := p.find(ctx)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if tail >= 0 {
		if err := seekTail(f, tail); err != nil {
			return fmt.Errorf("find the last %d lines of %s: %w", tail, name, err)
		}
	}
	r := bufio.NewReaderSize(f, 64<<10)
	var rest []byte // a line that is not complete yet
	for {
		line, err := r.ReadBytes('\n')
		rest = append(rest, line...)
		if err == nil {
			if _, err := w.Write(logText(rest)); err != nil {
				return err
			}
			rest = rest[:0]
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if !follow {
			_, err := w.Write(logText(rest))
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookEvery):
		}
		next, err := p.next(ctx, f)
		if err != nil {
			return err
		}
		if next != nil {
			f.Close()
			f, rest = next, rest[:0]
			r.Reset(f)
		}
	}
}

// next returns the file that is written now if it is not f, nil otherwise. That it is gone for a moment is no error.
func (p podLog) next(ctx context.Context, f *os.File) (*os.File, error) {
	name, err := p.find(ctx)
	if err != nil {
		return nil, nil // between two containers there is none
	}
	have, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if now, err := os.Stat(name); err != nil || os.SameFile(have, now) {
		return nil, nil
	}
	return os.Open(name)
}

// logText returns the text of a line, with its end if it is a whole one. What is no line of the format is returned as it is.
func logText(line []byte) []byte {
	rest := line
	var tag []byte
	for range 3 {
		field, after, ok := bytes.Cut(rest, []byte{' '})
		if !ok {
			return line
		}
		tag, rest = field, after
	}
	if string(tag) == "P" {
		return bytes.TrimSuffix(rest, []byte{'\n'})
	}
	return rest
}

// seekTail puts f before its last n lines.
func seekTail(f *os.File, n int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return err
	}
	const chunk = 32 << 10
	buf := make([]byte, chunk)
	lines := 0
	for at := end; at > 0; {
		size := min(chunk, at)
		at -= size
		if _, err := f.ReadAt(buf[:size], at); err != nil {
			return err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == end-1 {
				continue
			}
			if lines++; lines == n {
				_, err := f.Seek(at+i+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
