// Package hostinfo answers the calls of the machine API that only look at the host: processes, memory, disks, mounts, sockets,
// files, the log of the kernel, packets.
//
// [Host] has a method for each of them, with the signature of the service, so that package server embeds it. All is read below one
// root, "/" on a machine and a directory in a test, by the packages of internal/sys; Host translates and keeps nothing.
//
// Text of the kernel and names of files may be any bytes; what is no UTF-8 is replaced, since a protobuf string must be.
//
// Errors are those of the packages below, such as fs.ErrNotExist and syscall.EINVAL, or a gRPC status; package server gives the
// others their codes. Who may call what is no matter of this package. Nothing here follows a pipe, a device or a link out of the
// root, and whatever can wait ends with the context of the call.
package hostinfo

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
)

// maxUnanswered is how many questions to file systems may wait for an answer that does not come.
const maxUnanswered = 16

// Host answers for the machine below one root. It is safe for concurrent use. Use [New].
type Host struct {
	root   string
	proc   proc.Reader
	usage  func(path string) (mount.Usage, error)
	asking chan struct{}
}

// New returns a Host that reads below root; empty means "/".
func New(root string) *Host {
	return &Host{root: root, proc: proc.Reader{Root: root}, usage: mount.Kernel{Root: root}.Usage, asking: make(chan struct{}, maxUnanswered)}
}

// text makes s fit for a protobuf string.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func texts(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = text(s)
	}
	return out
}

// answer returns what f returns, or an error when ctx ends first: a file system on a network may never answer. f goes on then,
// and counts against maxUnanswered until it returns.
func answer[T any](ctx context.Context, h *Host, what string, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	select {
	case h.asking <- struct{}{}:
	default:
		return none, status.Errorf(codes.ResourceExhausted, "%s: %d file systems have not answered yet", what, maxUnanswered)
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-h.asking }()
		defer func() {
			if v := recover(); v != nil {
				done <- result{err: fmt.Errorf("%s: panic: %v\n%s", what, v, debug.Stack())}
			}
		}()
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("%s: the file system has not answered: %w", what, context.Cause(ctx))
	}
}

// Hostname implements machinepb.MachineServiceServer.
func (h *Host) Hostname(context.Context, *emptypb.Empty) (*machinepb.HostnameResponse, error) {
	name, err := h.proc.Hostname()
	if err != nil {
		return nil, err
	}
	return &machinepb.HostnameResponse{Messages: []*machinepb.Hostname{{Hostname: text(name)}}}, nil
}

// LoadAvg implements machinepb.MachineServiceServer.
func (h *Host) LoadAvg(context.Context, *emptypb.Empty) (*machinepb.LoadAvgResponse, error) {
	l, err := h.proc.LoadAvg()
	if err != nil {
		return nil, err
	}
	return &machinepb.LoadAvgResponse{Messages: []*machinepb.LoadAvg{{Load1: l.Load1, Load5: l.Load5, Load15: l.Load15}}}, nil
}

// Memory implements machinepb.MachineServiceServer. Numbers are in KiB, as the kernel has them.
func (h *Host) Memory(context.Context, *emptypb.Empty) (*machinepb.MemoryResponse, error) {
	m, err := h.proc.MemInfo()
	if err != nil {
		return nil, err
	}
	return &machinepb.MemoryResponse{Messages: []*machinepb.Memory{{Meminfo: &machinepb.MemInfo{
		Memtotal: m.MemTotal, Memfree: m.MemFree, Memavailable: m.MemAvailable,
		Buffers: m.Buffers, Cached: m.Cached, Swapcached: m.SwapCached,
		Active: m.Active, Inactive: m.Inactive, Activeanon: m.ActiveAnon, Inactiveanon: m.InactiveAnon,
		Activefile: m.ActiveFile, Inactivefile: m.InactiveFile, Unevictable: m.Unevictable, Mlocked: m.Mlocked,
		Swaptotal: m.SwapTotal, Swapfree: m.SwapFree, Dirty: m.Dirty, Writeback: m.Writeback,
		Anonpages: m.AnonPages, Mapped: m.Mapped, Shmem: m.Shmem,
		Slab: m.Slab, Sreclaimable: m.SReclaimable, Sunreclaim: m.SUnreclaim,
		Kernelstack: m.KernelStack, Pagetables: m.PageTables, Nfsunstable: m.NFSUnstable, Bounce: m.Bounce, Writebacktmp: m.WritebackTmp,
		Commitlimit: m.CommitLimit, Committedas: m.CommittedAS,
		Vmalloctotal: m.VmallocTotal, Vmallocused: m.VmallocUsed, Vmallocchunk: m.VmallocChunk,
		Hardwarecorrupted: m.HardwareCorrupted,
		Anonhugepages:     m.AnonHugePages, Shmemhugepages: m.ShmemHugePages, Shmempmdmapped: m.ShmemPmdMapped,
		Cmatotal: m.CmaTotal, Cmafree: m.CmaFree,
		Hugepagestotal: m.HugePagesTotal, Hugepagesfree: m.HugePagesFree, Hugepagesrsvd: m.HugePagesRsvd, Hugepagessurp: m.HugePagesSurp,
		Hugepagesize: m.Hugepagesize, Directmap4K: m.DirectMap4k, Directmap2M: m.DirectMap2M, Directmap1G: m.DirectMap1G,
	}}}}, nil
}

// Processes implements machinepb.MachineServiceServer.
func (h *Host) Processes(context.Context, *emptypb.Empty) (*machinepb.ProcessesResponse, error) {
	list, err := h.proc.Processes()
	if err != nil {
		return nil, err
	}
	out := &machinepb.Process{Processes: make([]*machinepb.ProcessInfo, 0, len(list))}
	for _, p := range list {
		out.Processes = append(out.Processes, &machinepb.ProcessInfo{
			Pid: int32(p.PID), Ppid: int32(p.PPID), State: text(p.State), Threads: int32(p.Threads), CpuTime: p.CPUTime(),
			VirtualMemory: p.Virtual, ResidentMemory: p.Resident,
			Command: text(p.Comm), Executable: text(p.Executable), Args: text(strings.Join(p.Args, " ")), Label: text(p.Label),
		})
	}
	return &machinepb.ProcessesResponse{Messages: []*machinepb.Process{out}}, nil
}
