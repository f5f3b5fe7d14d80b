package node

import (
	"log/slog"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/proc"
)

// littleMemory is up to how many bytes of memory are little: less than the programs of a control plane and a few pods fill.
const littleMemory = 4 << 30

// garbageOf returns the GOGC of programs that are not ours on a machine with so much memory. Where there is little, memory is worth more
// than the collector's time, as it is for our own programs everywhere; where there is much, the programs decide.
func garbageOf(memory int64) string {
	if memory > 0 && memory <= littleMemory {
		return "50"
	}
	return ""
}

// memory returns how many bytes of memory the node may use; 0 if that is not known.
func memory(groups *cgroup.Tree, log *slog.Logger) int64 {
	info, err := proc.Reader{}.MemInfo()
	if err != nil {
		log.Warn("how much memory there is is not known", "error", err)
		return 0
	}
	all := int64(info.MemTotal) << 10
	if groups == nil {
		return all
	}
	limit, err := groups.MemoryLimit()
	if err != nil {
		log.Warn("what limits the memory is not known", "error", err)
	}
	if limit >= 0 {
		all = min(all, limit)
	}
	return all
}
