package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// The form of a capture: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
const (
	magicMicro = 0xa1b2c3d4 // times in microseconds
	magicNano  = 0xa1b23c4d // times in nanoseconds
	fileHeader = 24
	packetHead = 16
	// largest is how many bytes of a packet are believed to be there.
	largest = 1 << 20
)

// linkType says how the packets of a capture begin.
type linkType uint32

// The link types that are understood (https://www.tcpdump.org/linktypes.html).
const (
	linkEthernet linkType = 1
	linkRaw      linkType = 101 // IPv4 or IPv6
)

// printPackets prints a line for each packet of a capture.
func printPackets(w io.Writer, r io.Reader) error {
	in := bufio.NewReader(r)
	var head [fileHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("there is no capture: the machine sent nothing")
		}
		return err
	}
	order, unit, err := orderOf(head[:4])
	if err != nil {
		return err
	}
	link := linkType(order.Uint32(head[20:]) & 0xffff)
	for {
		var h [packetHead]byte
		if _, err := io.ReadFull(in, h[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		at := time.Unix(int64(order.Uint32(h[0:])), int64(order.Uint32(h[4:]))*int64(unit)).UTC()
		size, whole := order.Uint32(h[8:]), order.Uint32(h[12:])
		if size > largest {
			return fmt.Errorf("the capture is damaged: a packet of %d bytes", size)
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s %s, %d bytes\n", at.Format("15:04:05.000000"), describe(link, data), whole); err != nil {
			return err
		}
	}
}

func orderOf(magic []byte) (binary.ByteOrder, time.Duration, error) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(magic) {
		case magicMicro:
			return order, time.Microsecond, nil
		case magicNano:
			return order, time.Nanosecond, nil
		}
	}
	return nil, 0, fmt.Errorf("this is no capture: it begins with %x", magic)
}

// describe says in a few words what a packet is. What is cut off or not understood is said to be so.
func describe(link linkType, p []byte) string {
	switch link {
	case linkEthernet:
		return ethernet(p)
	case linkRaw:
		if len(p) > 0 && p[0]>>4 == 6 {
			return ipv6(p)
		}
		return ipv4(p)
	}
	return fmt.Sprintf("link type %d", link)
}

const cut = "cut off"

// ethernet reads IEEE 802.3, with tags of IEEE 802.1Q.
func ethernet(p []byte) string {
	if len(p) < 14 {
		return "Ethernet, " + cut
	}
	from, to := net.HardwareAddr(p[6:12]), net.HardwareAddr(p[0:6])
	kind, body := binary.BigEndian.Uint16(p[12:]), p[14:]
	vlan := ""
	for kind == 0x8100 && len(body) >= 4 {
		vlan += fmt.Sprintf("VLAN %d, ", binary.BigEndian.Uint16(body)&0xfff)
		kind, body = binary.BigEndian.Uint16(body[2:]), body[4:]
	}
	switch kind {
	case 0x0800:
		return vlan + ipv4(body)
	case 0x86dd:
		return vlan + ipv6(body)
	case 0x0806:
		return vlan + arp(body)
	}
	return fmt.Sprintf("%sEthernet %s > %s, type %#04x", vlan, from, to, kind)
}

// arp reads RFC 826 for IPv4 over Ethernet.
func arp(p []byte) string {
	if len(p) < 28 {
		return "ARP, " + cut
	}
	sender, target := addr(p[14:18]), addr(p[24:28])
	if binary.BigEndian.Uint16(p[6:]) == 1 {
		return fmt.Sprintf("ARP who has %s, tell %s", target, sender)
	}
	return fmt.Sprintf("ARP %s is at %s", sender, net.HardwareAddr(p[8:14]))
}

func addr(p []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(p) // of four or sixteen bytes, always
	return a
}

// ipv4 reads RFC 791.
func ipv4(p []byte) string {
	if len(p) < 20 || int(p[0]&0xf)*4 < 20 || len(p) < int(p[0]&0xf)*4 {
		return "IPv4, " + cut
	}
	if binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return fmt.Sprintf("IPv4 %s > %s, a later fragment", addr(p[12:16]), addr(p[16:20]))
	}
	return transport("IPv4", p[9], addr(p[12:16]), addr(p[16:20]), p[int(p[0]&0xf)*4:])
}

// ipv6 reads RFC 8200, and the extension headers that may be passed over.
func ipv6(p []byte) string {
	if len(p) < 40 {
		return "IPv6, " + cut
	}
	from, to, next, body := addr(p[8:24]), addr(p[24:40]), p[6], p[40:]
	for next == 0 || next == 43 || next == 60 { // hop-by-hop, routing, destination options
		if len(body) < 8 || len(body) < (int(body[1])+1)*8 {
			return fmt.Sprintf("IPv6 %s > %s, %s", from, to, cut)
		}
		next, body = body[0], body[(int(body[1])+1)*8:]
	}
	return transport("IPv6", next, from, to, body)
}

// transport reads the ports and what else tells packets apart, of TCP (RFC 9293), UDP (RFC 768) and ICMP (RFC 792, 4443).
func transport(family string, protocol byte, from, to netip.Addr, p []byte) string {
	switch protocol {
	case 6:
		if len(p) < 20 {
			break
		}
		return fmt.Sprintf("%s TCP %s > %s [%s] seq %d ack %d", family, ports(from, p), ports(to, p[2:]), tcpFlags(p[13]),
			binary.BigEndian.Uint32(p[4:]), binary.BigEndian.Uint32(p[8:]))
	case 17:
		if len(p) < 8 {
			break
		}
		return fmt.Sprintf("%s UDP %s > %s", family, ports(from, p), ports(to, p[2:]))
	case 1, 58:
		if len(p) < 2 {
			break
		}
		return fmt.Sprintf("%s ICMP %s > %s, type %d code %d", family, from, to, p[0], p[1])
	default:
		return fmt.Sprintf("%s %s > %s, protocol %d", family, from, to, protocol)
	}
	return fmt.Sprintf("%s %s > %s, protocol %d, %s", family, from, to, protocol, cut)
}

func ports(a netip.Addr, p []byte) netip.AddrPort {
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(p))
}

func tcpFlags(b byte) string {
	var on []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if b&(1<<i) != 0 {
			on = append(on, name)
		}
	}
	return strings.Join(on, " ")
}
