package hardwarectrl

import (
	"context"
	"log/slog"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource/perf"
	"talos.internal/state"
)

// statsEvery is how old the counters may be. Who wants them as they are now asks the API for them; these are for watching, and each
// time wakes everyone who does.
const statsEvery = 30 * time.Second

// StatsController shows the kernel's counters of CPUs and memory.
type StatsController struct{ Proc proc.Reader }

// Name implements [controller.Controller].
func (StatsController) Name() string { return "perf.StatsController" }

// Inputs implements [controller.Controller].
func (StatsController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (StatsController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[perf.CPU](), controller.Exclusive[perf.Memory]()}
}

// Run implements [controller.Controller].
func (c StatsController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	ticker := time.NewTicker(statsEvery)
	defer ticker.Stop()
	for {
		stat, err := c.Proc.SystemStat()
		if err != nil {
			return err
		}
		memory, err := c.Proc.MemInfo()
		if err != nil {
			return err
		}
		if err := state.Put(ctx, rt, perf.CPUID, cpuOf(stat)); err != nil {
			return err
		}
		if err := state.Put(ctx, rt, perf.MemoryID, memoryOf(memory)); err != nil {
			return err
		}
		rt.ResetBackoff()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func cpuOf(s proc.SystemStat) perf.CPU {
	out := perf.CPU{
		Total: timeOf(s.CPUTotal), IRQTotal: s.IRQTotal, ContextSwitches: s.ContextSwitches, ProcessCreated: s.ProcessesCreated,
		ProcessRunning: s.ProcessesRunning, ProcessBlocked: s.ProcessesBlocked, SoftIRQTotal: s.SoftIRQTotal,
	}
	for _, c := range s.CPUs {
		out.CPUs = append(out.CPUs, timeOf(c))
	}
	return out
}

func timeOf(c proc.CPUStat) perf.CPUTime {
	return perf.CPUTime{
		User: c.User, Nice: c.Nice, System: c.System, Idle: c.Idle, Iowait: c.IOWait, IRQ: c.IRQ, SoftIRQ: c.SoftIRQ,
		Steal: c.Steal, Guest: c.Guest, GuestNice: c.GuestNice,
	}
}

func memoryOf(m proc.MemInfo) perf.Memory {
	return perf.Memory{
		Total: m.MemTotal, Used: used(m), Available: m.MemAvailable, Buffers: m.Buffers, Cached: m.Cached, SwapCached: m.SwapCached,
		Active: m.Active, Inactive: m.Inactive, ActiveAnon: m.ActiveAnon, InactiveAnon: m.InactiveAnon,
		ActiveFile: m.ActiveFile, InactiveFile: m.InactiveFile, Unevictable: m.Unevictable, Mlocked: m.Mlocked,
		SwapTotal: m.SwapTotal, SwapFree: m.SwapFree, Dirty: m.Dirty, Writeback: m.Writeback, AnonPages: m.AnonPages,
		Mapped: m.Mapped, Shmem: m.Shmem, Slab: m.Slab, SReclaimable: m.SReclaimable, SUnreclaim: m.SUnreclaim,
		KernelStack: m.KernelStack, PageTables: m.PageTables, NFSUnstable: m.NFSUnstable, Bounce: m.Bounce,
		WritebackTmp: m.WritebackTmp, CommitLimit: m.CommitLimit, CommittedAS: m.CommittedAS, VmallocTotal: m.VmallocTotal,
		VmallocUsed: m.VmallocUsed, VmallocChunk: m.VmallocChunk, HardwareCorrupted: m.HardwareCorrupted,
		AnonHugePages: m.AnonHugePages, ShmemHugePages: m.ShmemHugePages, ShmemPmdMapped: m.ShmemPmdMapped,
		CmaTotal: m.CmaTotal, CmaFree: m.CmaFree, HugePagesTotal: m.HugePagesTotal, HugePagesFree: m.HugePagesFree,
		HugePagesRsvd: m.HugePagesRsvd, HugePagesSurp: m.HugePagesSurp, HugePageSize: m.Hugepagesize,
		DirectMap4K: m.DirectMap4k, DirectMap2M: m.DirectMap2M, DirectMap1G: m.DirectMap1G,
	}
}

// used returns the memory that holds something which cannot be read again from a disk. The counters are not taken at one moment, so
// their sum may be more than there is.
func used(m proc.MemInfo) uint64 {
	rest := m.MemFree + m.Buffers + m.Cached
	if rest > m.MemTotal {
		return 0
	}
	return m.MemTotal - rest
}
