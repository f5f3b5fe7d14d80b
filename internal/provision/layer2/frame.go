package layer2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxFrame is the longest frame in bytes: QEMU's NET_BUFSIZE (include/net/net.h), which holds a packet of 64 KiB.
	MaxFrame = 4096 + 65536
	// minFrame is an Ethernet header: two addresses and a type.
	minFrame = 14

	prefix = 4 // bytes of a length
)

// ErrFraming says that what comes from a machine cannot be cut into frames any more.
var ErrFraming = errors.New("no frame")

// ReadFrame reads a frame with the four bytes of its length before it, as [Frame] has it. The error is io.EOF if there is none,
// io.ErrUnexpectedEOF if it is cut, ErrFraming if it is longer than MaxFrame. The memory is new, and is not asked for before the
// length is known to be one.
func ReadFrame(r io.Reader) (Frame, error) {
	var head [prefix]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return nil, fmt.Errorf("%w: its length is %d; at most %d", ErrFraming, n, MaxFrame)
	}
	f := make(Frame, prefix+int(n))
	copy(f, head[:])
	if _, err := io.ReadFull(r, f[prefix:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return f, nil
}

// Frame is an Ethernet frame with its length before it, as it is on the socket. Nobody changes one.
type Frame []byte

// NewFrame puts the length before the bytes of a frame.
func NewFrame(data []byte) Frame {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, prefix+len(data)), uint32(len(data))), data...)
}

// Data is the frame itself.
func (f Frame) Data() []byte { return f[prefix:] }

// whole reports whether there is an Ethernet header.
func (f Frame) whole() bool { return len(f) >= prefix+minFrame }

// mac is an Ethernet address.
type mac [6]byte

// group reports whether it is one of several stations (IEEE 802, section 8.2): multicast or broadcast.
func (m mac) group() bool { return m[0]&1 == 1 }

func (f Frame) to() mac   { return mac(f[prefix : prefix+6]) }
func (f Frame) from() mac { return mac(f[prefix+6 : prefix+12]) }
