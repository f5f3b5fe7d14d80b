package nodes

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"talos.internal/api/commonpb"
)

// A Reader reads the bytes of a stream of a single node. It must be closed, which ends the stream.
type Reader struct {
	next func() (*commonpb.Data, error, bool)
	stop func()
	rest []byte
	err  error
}

// NewReader opens a stream when it is first read.
func NewReader(ctx context.Context, s *Session, node string, idle time.Duration, open Open[commonpb.Data]) *Reader {
	next, stop := iter.Pull2(StreamOne(ctx, s, node, idle, open))
	return &Reader{next: next, stop: stop}
}

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		data, err, more := r.next()
		switch {
		case !more:
			r.err = io.EOF
		case err != nil:
			r.err = err
		default:
			r.rest = data.GetBytes()
		}
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the stream.
func (r *Reader) Close() error {
	r.stop()
	if r.err == nil {
		r.err = errors.New("the stream is closed")
	}
	return nil
}
