package layer2

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFramesAreReadAsQEMUWritesThem(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want []byte
		err  error
	}{
		{"a frame", []byte{0, 0, 0, 3, 1, 2, 3, 9}, []byte{1, 2, 3}, nil},
		{"one without bytes", []byte{0, 0, 0, 0}, []byte{}, nil},
		{"none", nil, nil, io.EOF},
		{"half a length", []byte{0, 0}, nil, io.ErrUnexpectedEOF},
		{"half a frame", []byte{0, 0, 0, 3, 1}, nil, io.ErrUnexpectedEOF},
		{"a length and nothing", []byte{0, 0, 0, 3}, nil, io.ErrUnexpectedEOF},
		{"a length that is none", []byte{0, 1, 0x10, 1, 1}, nil, ErrFraming},
		{"the longest", append([]byte{0, 1, 0x10, 0}, make([]byte, MaxFrame)...), make([]byte, MaxFrame), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := ReadFrame(bytes.NewReader(tc.in))
			if !errors.Is(err, tc.err) {
				t.Fatalf("ReadFrame = %v; want %v", err, tc.err)
			}
			if err == nil && (!bytes.Equal(f.Data(), tc.want) || !bytes.Equal(f, tc.in[:len(f)])) {
				t.Errorf("ReadFrame = %x; want %x", f, tc.want)
			}
		})
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte(NewFrame(make([]byte, 60))))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		var again []byte
		for {
			frame, err := ReadFrame(r)
			if err != nil {
				break
			}
			if len(frame.Data()) > MaxFrame {
				t.Fatalf("a frame of %d bytes", len(frame.Data()))
			}
			if got := NewFrame(frame.Data()); !bytes.Equal(got, frame) {
				t.Fatalf("NewFrame(%x) = %x; want %x", frame.Data(), got, frame)
			}
			if frame.whole() {
				_, _ = frame.to(), frame.from()
			}
			again = append(again, frame...)
		}
		if !bytes.HasPrefix(data, again) {
			t.Fatalf("frames %x are not the begin of %x", again, data)
		}
	})
}
