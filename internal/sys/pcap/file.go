package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// LinkType says what a packet begins with; the numbers are those of capture files.
type LinkType uint32

// The link types of Linux devices.
const (
	Ethernet LinkType = 1   // of the loopback device, too
	RawIP    LinkType = 101 // no header of a link: tunnels, WireGuard
)

// Packet is one packet. Data is valid until the next call of Next.
type Packet struct {
	Time   time.Time
	Data   []byte // from the header of the link on, where the device has one
	Length int    // of the whole packet; more than that of Data if it was cut
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
