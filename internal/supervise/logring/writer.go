package logring

import (
	"bytes"
	"sync"
)

// Writer writes to a ring. It is safe for concurrent use: what one call writes stays together, up to the end of its last
// whole line. An unfinished line is held back, in at most 32 KiB.
type Writer struct {
	ring *Ring
	mu   sync.Mutex
	part []byte // the start of a line whose end has not come
}

// NewWriter returns a writer. Each run of a service has its own, so that what one run has not finished does not begin
// the first line of the next.
func (r *Ring) NewWriter() *Writer { return &Writer{ring: r} }

// Write implements io.Writer. It never fails and never waits for a reader.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	if end := bytes.IndexByte(p, '\n'); end >= 0 && len(w.part) > 0 {
		w.hold(p[:end+1])
		w.ring.add(w.part)
		w.part = w.part[:0]
		p = p[end+1:]
	}
	if end := bytes.LastIndexByte(p, '\n'); end >= 0 {
		w.add(p[:end+1])
		p = p[end+1:]
	}
	w.hold(p)
	return n, nil
}

// add gives whole lines to the ring; longer ones than maxLine are cut.
func (w *Writer) add(lines []byte) {
	for len(lines) > maxLine {
		n := bytes.LastIndexByte(lines[:maxLine], '\n') + 1
		if n > 0 {
			w.ring.add(lines[:n])
		} else {
			n = maxLine - 1
			w.ring.add(append(bytes.Clone(lines[:n]), '\n'))
		}
		lines = lines[n:]
	}
	w.ring.add(lines)
}

// hold keeps p, which may have a newline at its end alone, behind the part that is there. A line that gets too long goes
// to the ring in pieces, so the part is shorter than maxLine.
func (w *Writer) hold(p []byte) {
	for len(w.part)+len(bytes.TrimSuffix(p, newline)) >= maxLine {
		n := maxLine - 1 - len(w.part)
		w.part = append(append(w.part, p[:n]...), '\n')
		w.ring.add(w.part)
		w.part = w.part[:0]
		p = p[n:]
	}
	w.part = append(w.part, p...)
}

// Close ends an unfinished line. It never fails, and may be called more than once.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) > 0 {
		w.ring.add(append(w.part, '\n'))
	}
	w.part = nil
	return nil
}
