package proc

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Protocol names a table of sockets: a file below net.
type Protocol string

// The tables of internet sockets.
const (
	TCP      Protocol = "tcp"
	TCP6     Protocol = "tcp6"
	UDP      Protocol = "udp"
	UDP6     Protocol = "udp6"
	UDPLite  Protocol = "udplite"
	UDPLite6 Protocol = "udplite6"
	Raw      Protocol = "raw"
	Raw6     Protocol = "raw6"
)

// SocketState is the state of an internet socket, with the numbers of include/net/tcp_states.h. A socket that is not of
// TCP is Established if it is connected, and else Close.
type SocketState uint8

// The states.
const (
	Established SocketState = iota + 1
	SynSent
	SynReceived
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	NewSynReceived
)

// Socket is one internet socket (networking/proc_net_tcp.rst).
type Socket struct {
	Protocol      Protocol
	Local, Remote netip.AddrPort // the port of a raw socket is its protocol number
	State         SocketState
	TxQueue       uint64 // bytes
	RxQueue       uint64 // bytes; of a listening TCP socket: connections that wait
	Timer         uint8  // 0 none, 1 retransmit, 2 keepalive or another, 3 TIME_WAIT, 4 zero window probe
	TimerWhen     uint64 // jiffies until it fires
	Retransmits   uint64
	UID           uint32
	Timeout       uint64 // unanswered zero window probes
	Inode         uint64 // zero for sockets in TIME_WAIT, which belong to nobody
	References    uint64
	Pointer       uint64 // the kernel's; zero or hashed where it hides them
}

// ParseSockets parses a table of internet sockets of either address family.
func ParseSockets(r io.Reader, protocol Protocol) ([]Socket, error) {
	var out []Socket
	l := newLines(r)
	for l.next() {
		f := strings.Fields(l.text)
		if len(f) == 0 || f[0] == "sl" {
			continue
		}
		s, err := parseSocket(l, f)
		if err != nil {
			return nil, err
		}
		s.Protocol = protocol
		out = append(out, s)
	}
	return out, l.end()
}

func parseSocket(l *lines, f []string) (s Socket, err error) {
	if len(f) < 10 {
		return s, l.errorf("%d columns; want at least 10", len(f))
	}
	if s.Local, err = parseEndpoint(f[1]); err != nil {
		return s, l.errorf("local address: %w", err)
	}
	if s.Remote, err = parseEndpoint(f[2]); err != nil {
		return s, l.errorf("remote address: %w", err)
	}
	var state, timer, uid uint64
	tx, rx, _ := strings.Cut(f[4], ":")
	tr, when, _ := strings.Cut(f[5], ":")
	for _, c := range [...]struct {
		text string
		base int
		bits int
		p    *uint64
	}{
		{f[3], 16, 8, &state}, {tx, 16, 64, &s.TxQueue}, {rx, 16, 64, &s.RxQueue}, {tr, 16, 8, &timer}, {when, 16, 64, &s.TimerWhen},
		{f[6], 16, 64, &s.Retransmits}, {f[7], 10, 32, &uid}, {f[8], 10, 64, &s.Timeout}, {f[9], 10, 64, &s.Inode},
	} {
		if *c.p, err = strconv.ParseUint(c.text, c.base, c.bits); err != nil {
			return s, l.errorf("%q is no number of base %d", c.text, c.base)
		}
	}
	s.State, s.Timer, s.UID = SocketState(state), uint8(timer), uint32(uid)
	if len(f) >= 12 {
		if s.References, err = strconv.ParseUint(f[10], 10, 64); err != nil {
			return s, l.errorf("references %q is no number", f[10])
		}
		if s.Pointer, err = strconv.ParseUint(f[11], 16, 64); err != nil {
			return s, l.errorf("pointer %q is no number", f[11])
		}
	}
	return s, nil
}

// parseEndpoint parses an address and a port in hexadecimal. The kernel prints an address as words of 32 bits in the
// machine's order of bytes, and the port as a number.
func parseEndpoint(text string) (netip.AddrPort, error) {
	addr, port, ok := strings.Cut(text, ":")
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q has no port", text)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", port, err)
	}
	b, err := hex.DecodeString(addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q: %w", addr, err)
	}
	if len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("address %q has %d bytes; want 4 or 16", addr, len(b))
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(p)), nil
}

// Sockets reads tables of the network namespace of a process, one after the other; pid 0 is the calling thread. A
// protocol that the kernel does not have has no sockets. The error is fs.ErrNotExist if there is no such process.
func (r Reader) Sockets(pid int, protocols ...Protocol) ([]Socket, error) {
	dir := r.path(task(pid), "net")
	if _, err := os.Stat(dir); err != nil {
		return nil, notExist(err)
	}
	var out []Socket
	for _, p := range protocols {
		s, err := optional(dir+"/"+string(p), func(f io.Reader) ([]Socket, error) { return ParseSockets(f, p) })
		if err != nil {
			return nil, notExist(err)
		}
		out = append(out, s...)
	}
	return out, nil
}

// UnixSocket is one socket of the local family.
type UnixSocket struct {
	References uint64
	Listening  bool
	Type       uint16 // 1 stream, 2 datagram, 5 sequenced packets
	State      uint8  // 1 unconnected, 2 connecting, 3 connected, 4 disconnecting
	Inode      uint64
	Path       string // empty if it has no name; starts with @ if it is abstract
}

// ParseUnixSockets parses net/unix (proc_net_unix(5)).
func ParseUnixSockets(r io.Reader) ([]UnixSocket, error) {
	var out []UnixSocket
	l := newLines(r)
	for l.next() {
		f := strings.Fields(l.text)
		if len(f) == 0 || f[0] == "Num" {
			continue
		}
		if len(f) < 7 {
			return nil, l.errorf("%d columns; want at least 7", len(f))
		}
		var ref, flags, kind, state, ino uint64
		for _, c := range [...]struct {
			text string
			base int
			bits int
			p    *uint64
		}{{f[1], 16, 64, &ref}, {f[3], 16, 64, &flags}, {f[4], 16, 16, &kind}, {f[5], 16, 8, &state}, {f[6], 10, 64, &ino}} {
			var err error
			if *c.p, err = strconv.ParseUint(c.text, c.base, c.bits); err != nil {
				return nil, l.errorf("%q is no number of base %d", c.text, c.base)
			}
		}
		const acceptCon = 1 << 16 // __SO_ACCEPTCON
		s := UnixSocket{References: ref, Listening: flags&acceptCon != 0, Type: uint16(kind), State: uint8(state), Inode: ino}
		if len(f) > 7 {
			// A path may hold spaces: it is the rest of the line after the inode.
			if i := strings.Index(l.text, " "+f[6]+" "); i >= 0 {
				s.Path = l.text[i+len(f[6])+2:]
			}
		}
		out = append(out, s)
	}
	return out, l.end()
}

// UnixSockets reads the local sockets of the network namespace of a process; pid 0 is the calling thread.
func (r Reader) UnixSockets(pid int) ([]UnixSocket, error) {
	s, err := parseFile(r.path(task(pid), "net", "unix"), ParseUnixSockets)
	return s, notExist(err)
}

// Owner is a process that has a socket open.
type Owner struct {
	PID  int
	Name string
}

// SocketOwners finds who has which socket open: by inode number, the process with the lowest number. It reads all
// descriptors of all processes; those that it may not read, or that end meanwhile, are left out.
func (r Reader) SocketOwners() (map[uint64]Owner, error) {
	pids, err := r.PIDs()
	if err != nil {
		return nil, err
	}
	owners := map[uint64]Owner{}
	for _, pid := range pids {
		dir := r.path(strconv.Itoa(pid))
		fds, err := os.Open(dir + "/fd")
		if err != nil {
			continue
		}
		names, _ := fds.Readdirnames(-1)
		_ = fds.Close()
		comm := ""
		for _, name := range names {
			target, err := os.Readlink(dir + "/fd/" + name)
			if err != nil {
				continue
			}
			ino, ok := inode(target, "socket")
			if !ok {
				continue
			}
			if _, taken := owners[ino]; taken {
				continue
			}
			if comm == "" {
				comm, _ = line(dir + "/comm")
			}
			owners[ino] = Owner{PID: pid, Name: comm}
		}
	}
	return owners, nil
}
