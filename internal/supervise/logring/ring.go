package logring

import (
	"bytes"
	"slices"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

const (
	startSize = 16 << 10
	chunkSize = 64 << 10
	// maxLine is the length, with its end, at which a line is cut.
	maxLine = 32 << 10
	// DefaultLimit is the memory that one ring takes at most, if nothing else is said.
	DefaultLimit = 1 << 20
)

// Ring is the log of one service. Its methods are safe for concurrent use. It is made by [Set.Ring].
type Ring struct {
	codec *codec
	limit int

	mu      sync.Mutex
	history []chunk // oldest first
	packed  int     // memory of history
	open    []byte  // the newest lines
	first   uint64  // number of the first line in open
	next    uint64  // number of the line that comes next
	written uint64  // bytes, ever
	changed chan struct{}
	closed  bool
}

// chunk is lines that are compressed. It never changes.
type chunk struct {
	first  uint64 // number of its first line
	lines  int
	size   int // uncompressed
	packed []byte
}

// memory returns what the chunk takes, itself included: lines that are all alike shrink to less than that.
func (c chunk) memory() int { return len(c.packed) + int(unsafe.Sizeof(c)) }

// Stats says what a ring has and had.
type Stats struct {
	// Lines and Bytes were ever written.
	Lines, Bytes uint64
	// HeldLines are still there, and HeldBytes is their size.
	HeldLines uint64
	HeldBytes int
	// Memory is what they take.
	Memory int
}

// Stats returns what the ring has and had.
func (r *Ring) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Stats{Lines: r.next, Bytes: r.written, HeldLines: r.next - r.oldest(), HeldBytes: len(r.open), Memory: r.packed + cap(r.open)}
	for _, c := range r.history {
		st.HeldBytes += c.size
	}
	return st
}

// oldest returns the number of the oldest line that is there, or of the next one.
func (r *Ring) oldest() uint64 {
	if len(r.history) > 0 {
		return r.history[0].first
	}
	return r.first
}

// add appends whole lines.
func (r *Ring) add(lines []byte) {
	if len(lines) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.written += uint64(len(lines))
	for len(lines) > 0 {
		n := fitting(lines, chunkSize-len(r.open))
		if n == 0 {
			r.pack()
			continue
		}
		r.grow(n)
		r.open = append(r.open, lines[:n]...)
		r.next += uint64(bytes.Count(lines[:n], newline))
		lines = lines[n:]
	}
	r.wake()
}

var newline = []byte{'\n'}

// fitting returns the length of the whole lines at the start of lines that fit in room.
func fitting(lines []byte, room int) int {
	if len(lines) <= room {
		return len(lines)
	}
	return bytes.LastIndexByte(lines[:room], '\n') + 1
}

// grow makes room for n bytes more in open: twice what there is, until it is a chunk.
func (r *Ring) grow(n int) {
	need := len(r.open) + n
	if need <= cap(r.open) {
		return
	}
	size := max(startSize, cap(r.open))
	for size < need {
		size *= 2
	}
	r.open = append(make([]byte, 0, min(size, chunkSize)), r.open...)
}

// pack makes the open chunk history, and drops what is too much. Its memory is used again.
func (r *Ring) pack() {
	c := chunk{first: r.first, lines: int(r.next - r.first), size: len(r.open), packed: r.codec.pack(r.open)}
	r.history = append(r.history, c)
	r.packed += c.memory()
	r.open, r.first = r.open[:0], r.next
	drop := 0
	for r.packed+chunkSize > r.limit && drop < len(r.history) {
		r.packed -= r.history[drop].memory()
		drop++
	}
	r.history = slices.Delete(r.history, 0, drop)
}

func (r *Ring) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// close lets readers that follow come to an end, and throws away what is written from now on.
func (r *Ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wake()
}

// codec compresses and expands chunks for all rings of a set: the tables of one are larger than a whole ring.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(chunkSize), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(2*chunkSize))
	if err != nil {
		return nil, err
	}
	return &codec{enc, dec}, nil
}

// pack returns p compressed, in memory of just that size.
func (c *codec) pack(p []byte) []byte {
	return bytes.Clone(c.enc.EncodeAll(p, make([]byte, 0, len(p)/4)))
}

func (c *codec) unpack(k chunk) ([]byte, error) {
	return c.dec.DecodeAll(k.packed, make([]byte, 0, k.size))
}
