package pcap

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// LinkType says what a packet begins with; the numbers are those of capture files.
type LinkType uint32

// The link types of Linux devices.
const (
	Ethernet LinkType = 1   // of the loopback device, too
	RawIP    LinkType = 101 // no header of a link: tunnels, WireGuard
)

// linkTypeOf translates ARPHRD_… of linux/if_arp.h.
func linkTypeOf(hardware uint16) LinkType {
	switch hardware {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return Ethernet
	}
	return RawIP
}

// Writer writes a capture file: little endian, with times in microseconds.
type Writer struct {
	w io.Writer
}

// NewWriter writes the header of a capture file to w and returns a Writer for the packets.
func NewWriter(w io.Writer, link LinkType, snapLength uint32) (*Writer, error) {
	b := make([]byte, 0, 24)
	b = binary.LittleEndian.AppendUint32(b, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // reserved
	b = binary.LittleEndian.AppendUint32(b, snapLength)
	b = binary.LittleEndian.AppendUint32(b, uint32(link))
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("write the header of a capture: %w", err)
	}
	return &Writer{w}, nil
}

// Write writes one packet.
func (w *Writer) Write(p Packet) error {
	b := make([]byte, 0, 16+len(p.Data))
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Time.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Time.Nanosecond()/1000))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Length))
	if _, err := w.w.Write(append(b, p.Data...)); err != nil {
		return fmt.Errorf("write a packet: %w", err)
	}
	return nil
}
