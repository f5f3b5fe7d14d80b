package logring

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// All is the tail that begins with the oldest line that is there.
const All = -1

// Reader reads lines of a ring, from where it starts to the newest. It is for one goroutine. It needs no closing
// and costs the ring nothing.
type Reader struct {
	ring   *Ring
	next   uint64 // number of the line that comes next
	end    uint64 // where it stops, unless it follows
	follow bool
}

// NewReader returns a reader that starts tail lines before the end, or at the oldest line if there are fewer or tail is
// negative ([All]). With follow it then waits for what is written; otherwise it ends with the line that is the newest now.
func (r *Ring) NewReader(tail int, follow bool) *Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.oldest()
	if tail >= 0 && r.next-next > uint64(tail) {
		next = r.next - uint64(tail)
	}
	return &Reader{ring: r, next: next, end: r.next, follow: follow}
}

// Next returns the lines that come next, at least one and up to 64 KiB of them, each with its end. They belong to the caller.
//
// The error is io.EOF at the end, which a reader that follows meets only when the ring is removed from its set, or that of
// ctx. Lines that were dropped before this reader took them are replaced by the line of [Skipped].
func (r *Reader) Next(ctx context.Context) ([]byte, error) {
	for {
		lines, packed, changed := r.take()
		if packed != nil {
			all, err := r.ring.codec.unpack(*packed)
			if err != nil {
				return nil, fmt.Errorf("expand lines %d to %d: %w", packed.first, packed.first+uint64(packed.lines), err)
			}
			lines = r.use(all, packed.first, packed.first+uint64(packed.lines))
		}
		if lines != nil {
			return lines, nil
		}
		if changed == nil {
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns lines, or the chunk that they are in, or what is closed when there are more; nothing of all that at the end.
func (r *Reader) take() (lines []byte, packed *chunk, changed <-chan struct{}) {
	g := r.ring
	g.mu.Lock()
	defer g.mu.Unlock()
	if !r.follow && r.next >= r.end {
		return nil, nil, nil
	}
	if oldest := g.oldest(); r.next < oldest {
		lost := oldest - r.next
		r.next = oldest
		return []byte(Skipped(lost) + "\n"), nil, nil
	}
	if r.next < g.first {
		return nil, g.chunkOf(r.next), nil
	}
	if r.next < g.next {
		return bytes.Clone(r.use(g.open, g.first, g.next)), nil, nil
	}
	if g.closed {
		return nil, nil, nil
	}
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return nil, nil, g.changed
}

// use returns those of lines that r wants, where lines are those with the numbers from first to before end.
func (r *Reader) use(lines []byte, first, end uint64) []byte {
	lines = lines[offset(lines, int(r.next-first)):]
	if !r.follow && r.end < end {
		end = r.end
		lines = lines[:offset(lines, int(end-r.next))]
	}
	r.next = end
	return lines
}

// chunkOf returns the chunk of history that line is in, or nil if it is in none.
func (r *Ring) chunkOf(line uint64) *chunk {
	for i := len(r.history) - 1; i >= 0; i-- {
		if c := r.history[i]; c.first <= line && line < c.first+uint64(c.lines) {
			return &c
		}
	}
	return nil
}

// offset returns where line n of lines begins, counted from 0.
func offset(lines []byte, n int) int {
	at := 0
	for ; n > 0; n-- {
		at += bytes.IndexByte(lines[at:], '\n') + 1
	}
	return at
}

// Skipped is the line that a reader gets in place of n lines that were dropped before it took them.
func Skipped(n uint64) string {
	return fmt.Sprintf("--- %d lines were dropped: they came faster than they were read ---", n)
}
