package metal

import (
	"encoding/binary"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"talos.internal/internal/provision/layer2"
)

// alone cuts the machine's cable, or joins it again.
func (m *machine) alone(cut bool) {
	m.t.Helper()
	s, err := m.p.Switch(m.cluster.Name)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, r := range []layer2.Rule{{From: m.node().Name, Cut: cut}, {To: m.node().Name, Cut: cut}} {
		if err := s.SetRule(m.t.Context(), r); err != nil {
			m.t.Fatal(err)
		}
	}
}

// timeServer is a time server on the network of a machine, which has the time of this computer. It is a port of the switch: nothing
// else of this computer is reached from there.
type timeServer struct {
	address netip.Addr
	answers atomic.Bool
}

// newTimeServer begins a time server that does not answer yet.
func (m *machine) newTimeServer(address netip.Addr) *timeServer {
	m.t.Helper()
	socket := filepath.Join(m.t.TempDir(), "time.l2")
	l, err := net.Listen("unix", socket)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Close() })
	t := &timeServer{address: address}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.serve(conn)
		}
	}()
	s, err := m.p.Switch(m.cluster.Name)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := s.Add(m.t.Context(), "time", socket); err != nil {
		m.t.Fatal(err)
	}
	return t
}

func (t *timeServer) serve(conn net.Conn) {
	defer conn.Close()
	for {
		f, err := layer2.ReadFrame(conn)
		if err != nil {
			return
		}
		if a := t.answer(f.Data()); a != nil {
			if _, err := conn.Write(layer2.NewFrame(a)); err != nil {
				return
			}
		}
	}
}

// answer returns the frame that follows a frame, if one does.
func (t *timeServer) answer(f []byte) []byte {
	own := [6]byte{2, 0, 0, 0, 0, 0x7b}
	reply := func(kind uint16, payload []byte) []byte {
		out := append(append([]byte{}, f[6:12]...), own[:]...)
		return append(binary.BigEndian.AppendUint16(out, kind), payload...)
	}
	if len(f) < 42 {
		return nil
	}
	ip := t.address.As4()
	switch kind, p := binary.BigEndian.Uint16(f[12:]), f[14:]; {
	case kind == 0x0806 && binary.BigEndian.Uint16(p[6:]) == 1 && [4]byte(p[24:28]) == ip: // who has it? (RFC 826)
		a := append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, own[:]...)
		a = append(append(append(a, ip[:]...), p[8:14]...), p[14:18]...)
		return reply(kind, a)
	case kind == 0x0800 && p[0] == 0x45 && p[9] == 17 && [4]byte(p[16:20]) == ip && binary.BigEndian.Uint16(p[22:]) == 123 && len(p) >= 28+48 && t.answers.Load():
		q := p[28:76]
		const toUnix = 2208988800 // seconds from 1900 to 1970
		now := time.Now()
		stamp := uint64(now.Unix()+toUnix)<<32 | uint64(now.Nanosecond())<<32/1e9
		a := make([]byte, 28+48)
		a[0], a[8], a[9] = 0x45, 64, 17
		binary.BigEndian.PutUint16(a[2:], uint16(len(a)))
		copy(a[12:], ip[:])
		copy(a[16:], p[12:16])
		binary.BigEndian.PutUint16(a[10:], ^sum(a[:20]))
		binary.BigEndian.PutUint16(a[20:], 123)
		copy(a[22:], p[20:22])
		binary.BigEndian.PutUint16(a[24:], 8+48) // without a checksum (RFC 768)
		n := a[28:]
		n[0], n[1], n[3] = 4<<3|4, 1, 0xec // version 4, mode server, stratum 1 (RFC 5905, section 7.3)
		binary.BigEndian.PutUint64(n[16:], stamp)
		copy(n[24:32], q[40:48])
		binary.BigEndian.PutUint64(n[32:], stamp)
		binary.BigEndian.PutUint64(n[40:], stamp)
		return reply(kind, a)
	}
	return nil
}

// sum is the ones' complement sum of words (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
