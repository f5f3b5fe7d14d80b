package proxy

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// frame is one message as it came from the wire. It holds a reference to its buffers until free is called.
// The zero frame is an empty message.
type frame struct {
	data mem.BufferSlice
}

// free gives the buffers back. It may be called more than once, but not concurrently.
func (f *frame) free() {
	f.data.Free()
	f.data = nil
}

// bytes returns the message in one buffer, which the caller has to free after the last use of its content.
func (f *frame) bytes() mem.Buffer { return f.data.MaterializeToBuffer(mem.DefaultBufferPool()) }

// rawCodec moves frames without decoding them. It calls itself proto since that is what the frames are.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

// Marshal returns the buffers of a *frame, with a reference of their own. One frame may be marshalled by several
// goroutines at once.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("send %T: only frames pass here", v)
	}

	f.data.Ref()

	return f.data, nil
}

// Unmarshal keeps the buffers in a *frame, which must be free.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("receive %T: only frames pass here", v)
	}

	data.Ref()
	f.data = data

	return nil
}

// Name is part of the content type: application/grpc+proto.
func (rawCodec) Name() string { return "proto" }
