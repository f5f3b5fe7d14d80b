//go:build linux

package pcap

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// open records loopback packets to a UDP port of its own.
func open(t *testing.T, o Options) (*Source, *net.UDPConn) {
	t.Helper()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close() })
	o.Interface = "lo"
	if o.Filter == nil {
		// ldh [36] of Ethernet and IPv4 without options is the destination port of UDP.
		o.Filter = []Instruction{
			{Op: 0x28, K: 12}, {Op: 0x15, JF: 3, K: 0x0800},
			{Op: 0x28, K: 36}, {Op: 0x15, JF: 1, K: uint32(to.LocalAddr().(*net.UDPAddr).Port)},
			{Op: 0x6, K: 0x40000}, {Op: 0x6},
		}
	}
	s, err := Open(o)
	if errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 {
		t.Skip("needs CAP_NET_RAW; CI runs as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, to
}

func send(t *testing.T, to *net.UDPConn, text string) {
	t.Helper()
	c, err := net.Dial("udp4", to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestPacketsThatTheFilterTakesAreRecorded(t *testing.T) {
	s, to := open(t, Options{Promiscuous: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	before := time.Now().Add(-time.Second)
	send(t, to, "hello, capture")
	idle := 0
	p, err := s.Next(ctx, func() error { idle++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(p.Data, []byte("hello, capture")) || p.Length != len(p.Data) || p.Length != 14+20+8+14 {
		t.Errorf("packet of %d bytes: %q", p.Length, p.Data)
	}
	if p.Time.Before(before) || p.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("time %v", p.Time)
	}
	if s.LinkType() != Ethernet {
		t.Errorf("link type %d; want %d", s.LinkType(), Ethernet)
	}
}

func TestLongPacketsAreCut(t *testing.T) {
	s, to := open(t, Options{SnapLength: 50})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	send(t, to, "0123456789abcdef")
	p, err := s.Next(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Data) != 50 || p.Length != 58 || !bytes.HasSuffix(p.Data, []byte("01234567")) {
		t.Errorf("packet of %d bytes, %d recorded: %q", p.Length, len(p.Data), p.Data)
	}
}

func TestTheEndOfTheContextEndsTheWait(t *testing.T) {
	s, _ := open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Next(ctx, func() error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v; want %v", err, context.Canceled)
	}
	broken := errors.New("broken")
	s, _ = open(t, Options{})
	if _, err := s.Next(t.Context(), func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("Next: %v; want %v", err, broken)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    Options
		want error
	}{
		{"a device that is not there", Options{Interface: "nosuchdevice"}, syscall.ENODEV},
		{"a name that is none", Options{Interface: "a/b\x00" + string(make([]byte, 40))}, syscall.ENODEV},
		{"a filter that is too long", Options{Interface: "lo", Filter: make([]Instruction, maxFilter+1)}, syscall.EINVAL},
		{"a filter that does not end", Options{Interface: "lo", Filter: []Instruction{{Op: 0x28, K: 12}}}, syscall.EINVAL},
	} {
		s, err := Open(tc.o)
		if err == nil {
			_ = s.Close()
		}
		if errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 {
			t.Skip("needs CAP_NET_RAW; CI runs as root")
		}
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v; want %v", tc.name, err, tc.want)
		}
	}
}

func TestWriterWritesACaptureFile(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, RawIP, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(Packet{Time: time.Unix(0x01020304, 5_000_000), Data: []byte{0xaa, 0xbb}, Length: 0x77}); err != nil {
		t.Fatal(err)
	}
	const want = "d4c3b2a1" + "02000400" + "0000000000000000" + "00100000" + "65000000" +
		"04030201" + "88130000" + "02000000" + "77000000" + "aabb"
	if got := hex.EncodeToString(b.Bytes()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := linkTypeOf(65534); got != RawIP {
		t.Errorf("linkTypeOf(ARPHRD_NONE) = %d; want %d", got, RawIP)
	}
}
