package server

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers what codec is on top of
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is gRPC's for protobuf, which also gives a request as it came. gRPC itself calls bytes that are no message an internal
// error, and sends that before a handler could say otherwise; but it is the caller's.
type codec struct{}

// undecoded is a request as it came.
type undecoded struct{ data []byte }

const protobuf = "proto"

// Name implements encoding.CodecV2.
func (codec) Name() string { return protobuf }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) { return encoding.GetCodecV2(protobuf).Marshal(v) }

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if u, ok := v.(*undecoded); ok {
		u.data = data.Materialize()
		return nil
	}
	return encoding.GetCodecV2(protobuf).Unmarshal(data, v)
}

// take receives a request by receive and decodes it into m. What cannot be decoded is InvalidArgument.
func take(receive func(any) error, m any) error {
	var u undecoded
	if err := receive(&u); err != nil {
		return err
	}
	message, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("decode a request: %T is no message", m)
	}
	if err := proto.Unmarshal(u.data, message); err != nil {
		return invalid("the request cannot be decoded: %v", err)
	}
	return nil
}
