package provision

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// CopyLog copies the file of a log to w: all of it, or the part that is wanted. Following it ends without an error when the
// context does.
func CopyLog(ctx context.Context, name string, o LogOptions, w io.Writer) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if o.Tail > 0 {
		if err := seekTail(f, o.Tail); err != nil {
			return err
		}
	}
	for {
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		if !o.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// seekTail goes to the start of the last n lines. A last line without an end counts.
func seekTail(f io.ReadSeeker, n int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for at := end; at > 0; {
		size := min(at, int64(len(buf)))
		at -= size
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.ReadFull(f, buf[:size]); err != nil {
			return fmt.Errorf("%w: %w", fs.ErrInvalid, err) // it was cut meanwhile
		}
		for part := buf[:size]; ; {
			i := bytes.LastIndexByte(part, '\n')
			if i < 0 {
				break
			}
			if at+int64(i) != end-1 { // not that of the last line
				if n--; n == 0 {
					_, err := f.Seek(at+int64(i)+1, io.SeekStart)
					return err
				}
			}
			part = part[:i]
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
