//go:build linux

package pcap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxSnapLength is the longest part of a packet that is recorded, in bytes. It is what readers of capture files accept.
const MaxSnapLength = 256 << 10

// maxFilter is BPF_MAXINSNS of linux/bpf_common.h.
const maxFilter = 4096

// Instruction is one of a classic BPF program.
type Instruction struct {
	Op     uint16
	JT, JF uint8
	K      uint32
}

// Options say what to record.
type Options struct {
	Interface   string
	Promiscuous bool // take packets for other machines, too
	// SnapLength is how many bytes of a packet are recorded; 0 or more than MaxSnapLength is MaxSnapLength.
	SnapLength uint32
	Filter     []Instruction // takes all if it is empty
}

// linkTypeOf translates ARPHRD_… of linux/if_arp.h.
func linkTypeOf(hardware uint16) LinkType {
	switch hardware {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return Ethernet
	}
	return RawIP
}

// Source records the packets of one device. Close it at the end. It is for one goroutine.
type Source struct {
	f        *os.File
	linkType LinkType
	buf, oob []byte
}

// Open begins to record. The error wraps [syscall.ENODEV] if there is no such device, fs.ErrPermission without the right to
// record, and [syscall.EINVAL] for a filter that the kernel refuses.
func Open(o Options) (*Source, error) {
	// The name goes to the kernel in 16 bytes; one that is longer names no device.
	dev, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return nil, fmt.Errorf("capture on %q: %w", o.Interface, unix.ENODEV)
	}
	if len(o.Filter) > maxFilter {
		return nil, fmt.Errorf("capture on %s: a filter of %d instructions, at most %d are allowed: %w", o.Interface, len(o.Filter), maxFilter, unix.EINVAL)
	}
	snap := o.SnapLength
	if snap == 0 || snap > MaxSnapLength {
		snap = MaxSnapLength
	}
	// Protocol 0 receives nothing: there are no packets of other devices, and none past the filter, in the queue before bind.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: open a packet socket: %w", o.Interface, err)
	}
	s := &Source{f: os.NewFile(uintptr(fd), "packets of "+o.Interface), buf: make([]byte, snap), oob: make([]byte, 128)}
	if err := s.setUp(fd, dev.Index, o); err != nil {
		_ = s.f.Close()
		return nil, fmt.Errorf("capture on %s: %w", o.Interface, err)
	}
	return s, nil
}

func (s *Source) setUp(fd, index int, o Options) error {
	if len(o.Filter) > 0 {
		program := make([]unix.SockFilter, len(o.Filter))
		for i, in := range o.Filter {
			program[i] = unix.SockFilter{Code: in.Op, Jt: in.JT, Jf: in.JF, K: in.K}
		}
		f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &f); err != nil {
			return fmt.Errorf("attach the filter: %w", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for times: %w", err)
	}
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("ask for the type of the link: %w", err)
	}
	if ll, ok := name.(*unix.SockaddrLinklayer); ok {
		s.linkType = linkTypeOf(ll.Hatype)
	}
	if o.Promiscuous {
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("make it promiscuous: %w", err)
		}
	}
	return nil
}

// LinkType returns what the packets begin with.
func (s *Source) LinkType() LinkType { return s.linkType }

// SnapLength returns how many bytes of a packet are recorded at most.
func (s *Source) SnapLength() uint32 { return uint32(len(s.buf)) }

// Close ends the recording.
func (s *Source) Close() error { return s.f.Close() }

// Next waits for a packet until ctx is done; then it returns the cause of that. Before it waits, it calls idle, if that is not
// nil, and returns its error. A device that is taken down and up again goes on; one that is removed is [syscall.ENETDOWN] or
// [syscall.ENXIO].
func (s *Source) Next(ctx context.Context, idle func() error) (Packet, error) {
	raw, err := s.f.SyscallConn()
	if err != nil {
		return Packet{}, err
	}
	// The end of the context interrupts a wait.
	stop := context.AfterFunc(ctx, func() { _ = s.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if ctx.Err() != nil {
			return Packet{}, context.Cause(ctx)
		}
		var p Packet
		var rerr, ierr error
		waiting := false
		err := raw.Read(func(fd uintptr) bool {
			p, rerr = s.receive(int(fd))
			if !errors.Is(rerr, unix.EAGAIN) {
				return true
			}
			if !waiting && idle != nil {
				waiting = true
				if ierr = idle(); ierr != nil {
					return true
				}
			}
			return false
		})
		switch {
		case ierr != nil:
			return Packet{}, ierr
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(rerr, unix.EINTR):
			continue
		case err != nil:
			return Packet{}, fmt.Errorf("read %s: %w", s.f.Name(), err)
		case rerr != nil:
			return Packet{}, fmt.Errorf("read %s: %w", s.f.Name(), rerr)
		}
		return p, nil
	}
}

func (s *Source) receive(fd int) (Packet, error) {
	// MSG_TRUNC makes the result the length of the packet, not of what fits.
	n, oobn, _, _, err := unix.Recvmsg(fd, s.buf, s.oob, unix.MSG_TRUNC)
	if err != nil {
		return Packet{}, err
	}
	p := Packet{Time: time.Now(), Length: n, Data: s.buf[:min(n, len(s.buf))]}
	messages, err := unix.ParseSocketControlMessage(s.oob[:oobn])
	if err != nil {
		return p, nil // the time of now is near enough
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			p.Time = time.Unix((*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Unix())
		}
	}
	return p, nil
}
