package hostinfo

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/proc"
)

// hostNamespace is what the network namespace of this process is called in answers.
const hostNamespace = "host"

// Netstat implements machinepb.MachineServiceServer. Without any protocol it is all of them, without any namespace the host's.
func (h *Host) Netstat(ctx context.Context, in *machinepb.NetstatRequest) (*machinepb.NetstatResponse, error) {
	if in.GetFilter() < machinepb.NetstatRequest_ALL || in.GetFilter() > machinepb.NetstatRequest_LISTENING {
		return nil, fmt.Errorf("list sockets with filter %d: no such filter: %w", in.GetFilter(), syscall.EINVAL)
	}
	spaces, err := h.namespaces(in.GetNetns())
	if err != nil {
		return nil, err
	}
	var owners map[uint64]proc.Owner
	if in.GetFeature().GetPid() {
		if owners, err = h.proc.SocketOwners(); err != nil {
			return nil, err
		}
	}
	out := &machinepb.Netstat{}
	for _, space := range spaces {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		sockets, err := h.proc.Sockets(space.pid, protocols(in.GetL4Proto())...)
		if space.pid != 0 && os.IsNotExist(err) {
			continue // its last process has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if selects(in.GetFilter(), s) {
				out.Connectrecord = append(out.Connectrecord, record(s, space.name, owners))
			}
		}
	}
	return &machinepb.NetstatResponse{Messages: []*machinepb.Netstat{out}}, nil
}

func protocols(in *machinepb.NetstatRequest_L4Proto) []proc.Protocol {
	var some, all []proc.Protocol
	for _, p := range []struct {
		wanted bool
		name   proc.Protocol
	}{
		{in.GetTcp(), proc.TCP}, {in.GetTcp6(), proc.TCP6}, {in.GetUdp(), proc.UDP}, {in.GetUdp6(), proc.UDP6},
		{in.GetUdplite(), proc.UDPLite}, {in.GetUdplite6(), proc.UDPLite6}, {in.GetRaw(), proc.Raw}, {in.GetRaw6(), proc.Raw6},
	} {
		all = append(all, p.name)
		if p.wanted {
			some = append(some, p.name)
		}
	}
	if len(some) == 0 {
		return all
	}
	return some
}

// listens reports whether a socket waits for peers; one without connections that is not connected does.
func listens(s proc.Socket) bool {
	return s.State == proc.Listen || s.State == proc.Close && s.Protocol != proc.TCP && s.Protocol != proc.TCP6
}

func selects(filter machinepb.NetstatRequest_Filter, s proc.Socket) bool {
	switch filter {
	case machinepb.NetstatRequest_CONNECTED:
		return !listens(s)
	case machinepb.NetstatRequest_LISTENING:
		return listens(s)
	}
	return true
}

func record(s proc.Socket, space string, owners map[uint64]proc.Owner) *machinepb.ConnectRecord {
	state := s.State
	if state == proc.NewSynReceived {
		state = proc.SynReceived // the API has no name for the kernel's first half of it
	}
	r := &machinepb.ConnectRecord{
		L4Proto: string(s.Protocol), Localip: s.Local.Addr().String(), Localport: uint32(s.Local.Port()),
		Remoteip: s.Remote.Addr().String(), Remoteport: uint32(s.Remote.Port()),
		State: machinepb.ConnectRecord_State(state), Txqueue: s.TxQueue, Rxqueue: s.RxQueue,
		Tr: machinepb.ConnectRecord_TimerActive(s.Timer), Timerwhen: s.TimerWhen, Retrnsmt: s.Retransmits, Uid: s.UID, Timeout: s.Timeout,
		Inode: s.Inode, Ref: s.References, Pointer: s.Pointer, Netns: space,
	}
	if o, ok := owners[s.Inode]; ok && s.Inode != 0 {
		r.Process = &machinepb.ConnectRecord_Process{Pid: uint32(o.PID), Name: text(o.Name)}
	}
	return r
}

// namespace is a network namespace, with a process in it; 0 is this one.
type namespace struct {
	name string
	pid  int
}

// namespaces finds those that a request asks for. Those of pods have the name under which the container runtime mounted them.
func (h *Host) namespaces(in *machinepb.NetstatRequest_NetNS) ([]namespace, error) {
	if !in.GetAllnetns() && len(in.GetNetns()) == 0 {
		return []namespace{{name: hostNamespace}}, nil
	}
	own, err := h.proc.NetNS(0)
	if err != nil {
		return nil, err
	}
	names := h.mountedNamespaces()
	pids, err := h.proc.PIDs()
	if err != nil {
		return nil, err
	}
	seen := map[uint64]bool{own: true}
	var others []namespace
	for _, pid := range pids {
		id, err := h.proc.NetNS(pid)
		if err != nil || seen[id] {
			continue // it has ended, or may not be looked at
		}
		seen[id] = true
		name := names[id]
		if name == "" {
			name = fmt.Sprintf("pid-%d", pid)
		}
		others = append(others, namespace{text(name), pid})
	}
	var out []namespace
	if in.GetAllnetns() || in.GetHostnetwork() || slices.Contains(in.GetNetns(), hostNamespace) {
		out = append(out, namespace{name: hostNamespace})
	}
	if in.GetAllnetns() {
		return append(out, others...), nil
	}
	for _, name := range in.GetNetns() {
		i := slices.IndexFunc(others, func(n namespace) bool { return n.name == name })
		if i < 0 && name != hostNamespace {
			return nil, fmt.Errorf("list sockets of network namespace %q: %w", name, fs.ErrNotExist)
		}
		if i >= 0 && !slices.Contains(out, others[i]) {
			out = append(out, others[i])
		}
	}
	return out, nil
}

// mountedNamespaces returns the names of those in /run/netns by their inode numbers.
func (h *Host) mountedNamespaces() map[uint64]string {
	dir := filepath.Join("/", h.root, "run", "netns")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	out := map[uint64]string{}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			out[st.Ino] = e.Name()
		}
	}
	return out
}
