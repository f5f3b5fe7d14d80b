package proc

import (
	"io"
	"strings"
)

// DiskStat is one line of diskstats: the I/O of a block device or a partition since boot.
type DiskStat struct {
	Major, Minor     uint64
	Name             string
	ReadCompleted    uint64
	ReadMerged       uint64
	ReadSectors      uint64 // of 512 bytes, whatever the device's own are
	ReadTimeMs       uint64
	WriteCompleted   uint64
	WriteMerged      uint64
	WriteSectors     uint64
	WriteTimeMs      uint64
	IOInProgress     uint64
	IOTimeMs         uint64
	IOTimeWeightedMs uint64
	DiscardCompleted uint64 // discards are zero before Linux 4.18
	DiscardMerged    uint64
	DiscardSectors   uint64
	DiscardTimeMs    uint64
	FlushCompleted   uint64 // flushes are zero before Linux 5.5
	FlushTimeMs      uint64
}

// ParseDiskStats parses diskstats (admin-guide/iostats.rst).
func ParseDiskStats(r io.Reader) ([]DiskStat, error) {
	var out []DiskStat
	l := newLines(r)
	for l.next() {
		f := strings.Fields(l.text)
		if len(f) == 0 {
			continue
		}
		if len(f) < 14 {
			return nil, l.errorf("%d columns; want at least 14", len(f))
		}
		d := DiskStat{Name: f[2]}
		if err := l.numbers(f[:2], &d.Major, &d.Minor); err != nil {
			return nil, err
		}
		if err := l.numbers(f[3:],
			&d.ReadCompleted, &d.ReadMerged, &d.ReadSectors, &d.ReadTimeMs,
			&d.WriteCompleted, &d.WriteMerged, &d.WriteSectors, &d.WriteTimeMs,
			&d.IOInProgress, &d.IOTimeMs, &d.IOTimeWeightedMs,
			&d.DiscardCompleted, &d.DiscardMerged, &d.DiscardSectors, &d.DiscardTimeMs,
			&d.FlushCompleted, &d.FlushTimeMs); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, l.end()
}

// DiskStats reads diskstats.
func (r Reader) DiskStats() ([]DiskStat, error) {
	return parseFile(r.path("diskstats"), ParseDiskStats)
}

// NetDev is one line of net/dev: what passed a network device since it was made.
type NetDev struct {
	Name                                          string
	RxBytes, RxPackets, RxErrors, RxDropped       uint64
	RxFifo, RxFrame, RxCompressed, RxMulticast    uint64
	TxBytes, TxPackets, TxErrors, TxDropped       uint64
	TxFifo, TxCollisions, TxCarrier, TxCompressed uint64
}

// ParseNetDev parses net/dev (proc.rst, section 1.2).
func ParseNetDev(r io.Reader) ([]NetDev, error) {
	var out []NetDev
	l := newLines(r)
	for l.next() {
		// The two lines of the header have bars; a device's name has none. A name may hold colons (eth0:1).
		if strings.Contains(l.text, "|") {
			continue
		}
		colon := strings.LastIndexByte(l.text, ':')
		if colon < 0 {
			if strings.TrimSpace(l.text) == "" {
				continue
			}
			return nil, l.errorf("no device before %q", l.text)
		}
		d := NetDev{Name: strings.TrimSpace(l.text[:colon])}
		f := strings.Fields(l.text[colon+1:])
		if len(f) < 16 {
			return nil, l.errorf("%d columns for %s; want 16", len(f), d.Name)
		}
		if err := l.numbers(f,
			&d.RxBytes, &d.RxPackets, &d.RxErrors, &d.RxDropped, &d.RxFifo, &d.RxFrame, &d.RxCompressed, &d.RxMulticast,
			&d.TxBytes, &d.TxPackets, &d.TxErrors, &d.TxDropped, &d.TxFifo, &d.TxCollisions, &d.TxCarrier, &d.TxCompressed); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, l.end()
}

// NetDev reads net/dev of the network namespace of the calling thread.
func (r Reader) NetDev() ([]NetDev, error) {
	return parseFile(r.path("thread-self", "net", "dev"), ParseNetDev)
}
