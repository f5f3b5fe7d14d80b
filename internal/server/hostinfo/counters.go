package hostinfo

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/proc"
)

// CPUInfo implements machinepb.MachineServiceServer.
func (h *Host) CPUInfo(context.Context, *emptypb.Empty) (*machinepb.CPUInfoResponse, error) {
	list, err := h.proc.CPUInfo()
	if err != nil {
		return nil, err
	}
	out := &machinepb.CPUsInfo{}
	for _, c := range list {
		out.CpuInfo = append(out.CpuInfo, &machinepb.CPUInfo{
			Processor: c.Processor, VendorId: text(c.VendorID), CpuFamily: text(c.Family), Model: text(c.Model), ModelName: text(c.ModelName),
			Stepping: text(c.Stepping), Microcode: text(c.Microcode), CpuMhz: c.MHz, CacheSize: text(c.CacheSize),
			PhysicalId: text(c.PhysicalID), Siblings: c.Siblings, CoreId: text(c.CoreID), CpuCores: c.Cores,
			ApicId: text(c.APICID), InitialApicId: text(c.InitialAPICID), Fpu: text(c.FPU), FpuException: text(c.FPUException),
			CpuIdLevel: c.IDLevel, Wp: text(c.WP), Flags: texts(c.Flags), Bugs: texts(c.Bugs), BogoMips: c.BogoMIPS,
			ClFlushSize: c.CLFlushSize, CacheAlignment: c.CacheAlignment, AddressSizes: text(c.AddressSizes),
			PowerManagement: text(c.PowerManagement),
		})
	}
	return &machinepb.CPUInfoResponse{Messages: []*machinepb.CPUsInfo{out}}, nil
}

// CPUFreqStats implements machinepb.MachineServiceServer. Frequencies are in kHz.
func (h *Host) CPUFreqStats(context.Context, *emptypb.Empty) (*machinepb.CPUFreqStatsResponse, error) {
	list, err := h.proc.CPUFreq()
	if err != nil {
		return nil, err
	}
	out := &machinepb.CPUsFreqStats{}
	for _, c := range list {
		out.CpuFreqStats = append(out.CpuFreqStats, &machinepb.CPUFreqStats{
			CurrentFrequency: c.Current, MinimumFrequency: c.Min, MaximumFrequency: c.Max, Governor: text(c.Governor),
		})
	}
	return &machinepb.CPUFreqStatsResponse{Messages: []*machinepb.CPUsFreqStats{out}}, nil
}

func cpuStat(s proc.CPUStat) *machinepb.CPUStat {
	return &machinepb.CPUStat{
		User: s.User, Nice: s.Nice, System: s.System, Idle: s.Idle, Iowait: s.IOWait, Irq: s.IRQ, SoftIrq: s.SoftIRQ,
		Steal: s.Steal, Guest: s.Guest, GuestNice: s.GuestNice,
	}
}

// SystemStat implements machinepb.MachineServiceServer. CPU times are in seconds.
func (h *Host) SystemStat(context.Context, *emptypb.Empty) (*machinepb.SystemStatResponse, error) {
	s, err := h.proc.SystemStat()
	if err != nil {
		return nil, err
	}
	out := &machinepb.SystemStat{
		BootTime: s.BootTime, CpuTotal: cpuStat(s.CPUTotal), IrqTotal: s.IRQTotal, Irq: s.IRQ,
		ContextSwitches: s.ContextSwitches, ProcessCreated: s.ProcessesCreated, ProcessRunning: s.ProcessesRunning,
		ProcessBlocked: s.ProcessesBlocked, SoftIrqTotal: s.SoftIRQTotal,
		SoftIrq: &machinepb.SoftIRQStat{
			Hi: s.SoftIRQ.Hi, Timer: s.SoftIRQ.Timer, NetTx: s.SoftIRQ.NetTx, NetRx: s.SoftIRQ.NetRx, Block: s.SoftIRQ.Block,
			BlockIoPoll: s.SoftIRQ.BlockIOPoll, Tasklet: s.SoftIRQ.Tasklet, Sched: s.SoftIRQ.Sched, Hrtimer: s.SoftIRQ.Hrtimer, Rcu: s.SoftIRQ.RCU,
		},
	}
	for _, c := range s.CPUs {
		out.Cpu = append(out.Cpu, cpuStat(c))
	}
	return &machinepb.SystemStatResponse{Messages: []*machinepb.SystemStat{out}}, nil
}

// DiskStats implements machinepb.MachineServiceServer. The total is over disks and partitions alike, as published.
func (h *Host) DiskStats(context.Context, *emptypb.Empty) (*machinepb.DiskStatsResponse, error) {
	list, err := h.proc.DiskStats()
	if err != nil {
		return nil, err
	}
	total := &machinepb.DiskStat{}
	out := &machinepb.DiskStats{Total: total}
	for _, d := range list {
		out.Devices = append(out.Devices, &machinepb.DiskStat{
			Name:          text(d.Name),
			ReadCompleted: d.ReadCompleted, ReadMerged: d.ReadMerged, ReadSectors: d.ReadSectors, ReadTimeMs: d.ReadTimeMs,
			WriteCompleted: d.WriteCompleted, WriteMerged: d.WriteMerged, WriteSectors: d.WriteSectors, WriteTimeMs: d.WriteTimeMs,
			IoInProgress: d.IOInProgress, IoTimeMs: d.IOTimeMs, IoTimeWeightedMs: d.IOTimeWeightedMs,
			DiscardCompleted: d.DiscardCompleted, DiscardMerged: d.DiscardMerged, DiscardSectors: d.DiscardSectors, DiscardTimeMs: d.DiscardTimeMs,
		})
		total.ReadCompleted += d.ReadCompleted
		total.ReadMerged += d.ReadMerged
		total.ReadSectors += d.ReadSectors
		total.ReadTimeMs += d.ReadTimeMs
		total.WriteCompleted += d.WriteCompleted
		total.WriteMerged += d.WriteMerged
		total.WriteSectors += d.WriteSectors
		total.WriteTimeMs += d.WriteTimeMs
		total.IoInProgress += d.IOInProgress
		total.IoTimeMs += d.IOTimeMs
		total.IoTimeWeightedMs += d.IOTimeWeightedMs
		total.DiscardCompleted += d.DiscardCompleted
		total.DiscardMerged += d.DiscardMerged
		total.DiscardSectors += d.DiscardSectors
		total.DiscardTimeMs += d.DiscardTimeMs
	}
	return &machinepb.DiskStatsResponse{Messages: []*machinepb.DiskStats{out}}, nil
}

// NetworkDeviceStats implements machinepb.MachineServiceServer.
func (h *Host) NetworkDeviceStats(context.Context, *emptypb.Empty) (*machinepb.NetworkDeviceStatsResponse, error) {
	list, err := h.proc.NetDev()
	if err != nil {
		return nil, err
	}
	total := &machinepb.NetDev{}
	out := &machinepb.NetworkDeviceStats{Total: total}
	for _, d := range list {
		out.Devices = append(out.Devices, &machinepb.NetDev{
			Name:    text(d.Name),
			RxBytes: d.RxBytes, RxPackets: d.RxPackets, RxErrors: d.RxErrors, RxDropped: d.RxDropped,
			RxFifo: d.RxFifo, RxFrame: d.RxFrame, RxCompressed: d.RxCompressed, RxMulticast: d.RxMulticast,
			TxBytes: d.TxBytes, TxPackets: d.TxPackets, TxErrors: d.TxErrors, TxDropped: d.TxDropped,
			TxFifo: d.TxFifo, TxCollisions: d.TxCollisions, TxCarrier: d.TxCarrier, TxCompressed: d.TxCompressed,
		})
		total.RxBytes += d.RxBytes
		total.RxPackets += d.RxPackets
		total.RxErrors += d.RxErrors
		total.RxDropped += d.RxDropped
		total.RxFifo += d.RxFifo
		total.RxFrame += d.RxFrame
		total.RxCompressed += d.RxCompressed
		total.RxMulticast += d.RxMulticast
		total.TxBytes += d.TxBytes
		total.TxPackets += d.TxPackets
		total.TxErrors += d.TxErrors
		total.TxDropped += d.TxDropped
		total.TxFifo += d.TxFifo
		total.TxCollisions += d.TxCollisions
		total.TxCarrier += d.TxCarrier
		total.TxCompressed += d.TxCompressed
	}
	return &machinepb.NetworkDeviceStatsResponse{Messages: []*machinepb.NetworkDeviceStats{out}}, nil
}
