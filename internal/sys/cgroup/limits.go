package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Unlimited is the value of a limit that does not limit.
const Unlimited int64 = -1

// Limits are what a group may use, with the meanings of cgroup v2. A nil limit is left as it is. Sizes are in bytes.
type Limits struct {
	MemoryMin     *int64         // is kept even when the machine has no memory left
	MemoryLow     *int64         // is taken away only if there is nothing else; v1: the soft limit
	MemoryHigh    *int64         // is slowed down above; not with v1
	MemoryMax     *int64         // is killed above
	MemorySwapMax *int64         // of swap, beside the memory; not with v1
	OOMGroup      *bool          // all of the group is killed, not one process; not with v1
	CPUWeight     *int64         // share beside the other groups, from 1 to 10000; 100 is normal
	CPUQuota      *time.Duration // CPU time in each period of 100 ms: twice that is two CPUs; negative for no limit
	ProcessesMax  *int64         // processes and threads
}

const cpuPeriod = 100 * time.Millisecond

// setting is one limit for the kernel.
type setting struct {
	name       string // of the field
	controller string
	file       string // empty if this version has nothing of the kind
	text       string
}

// SetLimits sets the limits of the group. It returns the names of those that the tree cannot hold: because it is v1, or
// lacks the controller. They are tried in the order of the struct; after an error those before are set. A weight out of
// range is syscall.EINVAL, and nothing is set then. The error is fs.ErrNotExist if there is no such group.
func (g Group) SetLimits(l Limits) (ignored []string, err error) {
	if w := l.CPUWeight; w != nil && (*w < 1 || *w > 10000) {
		return nil, fmt.Errorf("limit group %s: CPU weight %d: %w", g.path, *w, syscall.EINVAL)
	}
	if !g.Exists() {
		return nil, fmt.Errorf("limit group %s: %w", g.path, fs.ErrNotExist)
	}
	for _, s := range l.settings(g.t.version) {
		dir, ok := g.dir(s.controller)
		if !ok || s.file == "" {
			ignored = append(ignored, s.name)
			continue
		}
		file := filepath.Join(dir, s.file)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			ignored = append(ignored, s.name)
			continue
		}
		if err := write(file, s.text); err != nil {
			return ignored, fmt.Errorf("limit group %s: %s: %w", g.path, s.name, err)
		}
	}
	return ignored, nil
}

// settings translates the limits for a version, in their order.
func (l Limits) settings(v Version) []setting {
	var out []setting
	add := func(name, controller, v1, v2, text1, text2 string) {
		if v == V1 {
			out = append(out, setting{name, controller, v1, text1})
		} else {
			out = append(out, setting{name, controller, v2, text2})
		}
	}
	memory := func(name string, n *int64, v1, v2 string) {
		if n != nil {
			add(name, "memory", v1, v2, strconv.FormatInt(*n, 10), amount(*n))
		}
	}
	memory("MemoryMin", l.MemoryMin, "", "memory.min")
	memory("MemoryLow", l.MemoryLow, "memory.soft_limit_in_bytes", "memory.low")
	memory("MemoryHigh", l.MemoryHigh, "", "memory.high")
	memory("MemoryMax", l.MemoryMax, "memory.limit_in_bytes", "memory.max")
	memory("MemorySwapMax", l.MemorySwapMax, "", "memory.swap.max")
	if l.OOMGroup != nil {
		text := "0"
		if *l.OOMGroup {
			text = "1"
		}
		add("OOMGroup", "memory", "", "memory.oom.group", "", text)
	}
	if l.CPUWeight != nil {
		// The shares of v1 go from 2, and 1024 of them are normal.
		add("CPUWeight", "cpu", "cpu.shares", "cpu.weight", strconv.FormatInt(max(*l.CPUWeight*1024/100, 2), 10), strconv.FormatInt(*l.CPUWeight, 10))
	}
	if l.CPUQuota != nil {
		quota := l.CPUQuota.Microseconds()
		text := "max"
		if quota < 0 {
			quota = -1
		} else {
			text = strconv.FormatInt(quota, 10)
		}
		add("CPUQuota", "cpu", "cpu.cfs_quota_us", "cpu.max", strconv.FormatInt(quota, 10), fmt.Sprintf("%s %d", text, cpuPeriod.Microseconds()))
	}
	if l.ProcessesMax != nil {
		add("ProcessesMax", "pids", "pids.max", "pids.max", amount(*l.ProcessesMax), amount(*l.ProcessesMax))
	}
	return out
}

func amount(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}
