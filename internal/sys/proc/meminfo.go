package proc

import (
	"io"
	"strings"
)

// MemInfo is meminfo: the kernel's counters of memory. All are in KiB but for the four HugePages numbers, which count
// pages. A counter that this kernel does not have is zero.
type MemInfo struct {
	MemTotal, MemFree, MemAvailable   uint64
	Buffers, Cached, SwapCached       uint64
	Active, Inactive                  uint64
	ActiveAnon, InactiveAnon          uint64
	ActiveFile, InactiveFile          uint64
	Unevictable, Mlocked              uint64
	SwapTotal, SwapFree               uint64
	Dirty, Writeback                  uint64
	AnonPages, Mapped, Shmem          uint64
	Slab, SReclaimable, SUnreclaim    uint64
	KernelStack, PageTables           uint64
	NFSUnstable, Bounce, WritebackTmp uint64
	CommitLimit, CommittedAS          uint64
	VmallocTotal, VmallocUsed         uint64
	VmallocChunk                      uint64
	HardwareCorrupted                 uint64
	AnonHugePages, ShmemHugePages     uint64
	ShmemPmdMapped                    uint64
	CmaTotal, CmaFree                 uint64
	HugePagesTotal, HugePagesFree     uint64 // pages
	HugePagesRsvd, HugePagesSurp      uint64 // pages
	Hugepagesize                      uint64
	DirectMap4k, DirectMap2M          uint64
	DirectMap1G                       uint64
}

// field returns the place of the counter that the file calls key, or nil.
func (m *MemInfo) field(key string) *uint64 {
	for _, f := range [...]struct {
		key string
		p   *uint64
	}{
		{"MemTotal", &m.MemTotal}, {"MemFree", &m.MemFree}, {"MemAvailable", &m.MemAvailable},
		{"Buffers", &m.Buffers}, {"Cached", &m.Cached}, {"SwapCached", &m.SwapCached},
		{"Active", &m.Active}, {"Inactive", &m.Inactive},
		{"Active(anon)", &m.ActiveAnon}, {"Inactive(anon)", &m.InactiveAnon},
		{"Active(file)", &m.ActiveFile}, {"Inactive(file)", &m.InactiveFile},
		{"Unevictable", &m.Unevictable}, {"Mlocked", &m.Mlocked},
		{"SwapTotal", &m.SwapTotal}, {"SwapFree", &m.SwapFree},
		{"Dirty", &m.Dirty}, {"Writeback", &m.Writeback},
		{"AnonPages", &m.AnonPages}, {"Mapped", &m.Mapped}, {"Shmem", &m.Shmem},
		{"Slab", &m.Slab}, {"SReclaimable", &m.SReclaimable}, {"SUnreclaim", &m.SUnreclaim},
		{"KernelStack", &m.KernelStack}, {"PageTables", &m.PageTables},
		{"NFS_Unstable", &m.NFSUnstable}, {"Bounce", &m.Bounce}, {"WritebackTmp", &m.WritebackTmp},
		{"CommitLimit", &m.CommitLimit}, {"Committed_AS", &m.CommittedAS},
		{"VmallocTotal", &m.VmallocTotal}, {"VmallocUsed", &m.VmallocUsed}, {"VmallocChunk", &m.VmallocChunk},
		{"HardwareCorrupted", &m.HardwareCorrupted},
		{"AnonHugePages", &m.AnonHugePages}, {"ShmemHugePages", &m.ShmemHugePages}, {"ShmemPmdMapped", &m.ShmemPmdMapped},
		{"CmaTotal", &m.CmaTotal}, {"CmaFree", &m.CmaFree},
		{"HugePages_Total", &m.HugePagesTotal}, {"HugePages_Free", &m.HugePagesFree},
		{"HugePages_Rsvd", &m.HugePagesRsvd}, {"HugePages_Surp", &m.HugePagesSurp},
		{"Hugepagesize", &m.Hugepagesize},
		{"DirectMap4k", &m.DirectMap4k}, {"DirectMap2M", &m.DirectMap2M}, {"DirectMap1G", &m.DirectMap1G},
	} {
		if f.key == key {
			return f.p
		}
	}
	return nil
}

// ParseMemInfo parses meminfo (proc.rst, section 1.4).
func ParseMemInfo(r io.Reader) (MemInfo, error) {
	var m MemInfo
	l := newLines(r)
	for l.next() {
		key, value, ok := strings.Cut(l.text, ":")
		if !ok {
			continue
		}
		p := m.field(key)
		if p == nil {
			continue
		}
		fields := strings.Fields(value)
		if len(fields) == 0 {
			return MemInfo{}, l.errorf("%s has no value", key)
		}
		if err := l.numbers(fields, p); err != nil {
			return MemInfo{}, err
		}
	}
	return m, l.end()
}

// MemInfo reads meminfo.
func (r Reader) MemInfo() (MemInfo, error) { return parseFile(r.path("meminfo"), ParseMemInfo) }
