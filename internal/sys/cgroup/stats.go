package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Stats is what a group, with those below, uses and has used. What the tree does not measure is zero.
type Stats struct {
	Memory             uint64        // bytes in use now, file cache included
	MemoryPeak         uint64        // the most ever
	MemoryAnonymous    uint64        // of Memory: what belongs to no file
	MemoryFile         uint64        // of Memory: file cache
	MemoryInactiveFile uint64        // of MemoryFile: what can be given up at once. Memory without it is the working set
	OOMKills           uint64        // processes that were killed for want of memory
	CPU                time.Duration // since the group was made
	CPUUser, CPUSystem time.Duration // of CPU
	Throttled          time.Duration // waited for because of the CPU quota
	Processes          uint64        // and threads
}

// ParseStat parses a file of lines with a name and a number, such as memory.stat. Lines of another number of words are
// left out.
func ParseStat(r io.Reader) (map[string]uint64, error) {
	out := map[string]uint64{}
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		f := strings.Fields(s.Text())
		if len(f) != 2 {
			continue
		}
		v, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: %q is no number", n, f[1])
		}
		out[f[0]] = v
	}
	return out, s.Err()
}

// values are the numbers of a group's files, with the first error. Files that are not there have no values: not every
// kernel has each, and the root of v2 has few.
type values struct {
	g   Group
	err error
}

func (v *values) open(controller, file string) (f *os.File) {
	dir, ok := v.g.dir(controller)
	if !ok || v.err != nil {
		return nil
	}
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			v.err = err
		}
		return nil
	}
	return f
}

func (v *values) number(controller, file string) uint64 {
	f := v.open(controller, file)
	if f == nil {
		return 0
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		v.err = err
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		v.err = fmt.Errorf("parse %s: %w", f.Name(), err)
	}
	return n
}

func (v *values) stat(controller, file string) map[string]uint64 {
	f := v.open(controller, file)
	if f == nil {
		return nil
	}
	defer f.Close()
	m, err := ParseStat(f)
	if err != nil {
		v.err = fmt.Errorf("parse %s: %w", f.Name(), err)
	}
	return m
}

// Stats measures the group. The numbers are not all of one moment. The error is fs.ErrNotExist if there is no such group.
func (g Group) Stats() (Stats, error) {
	if !g.Exists() {
		return Stats{}, fmt.Errorf("measure group %s: %w", g.path, fs.ErrNotExist)
	}
	v := &values{g: g}
	var s Stats
	if g.t.version == V1 {
		s = v.stats1()
	} else {
		s = v.stats2()
	}
	if v.err != nil {
		return Stats{}, fmt.Errorf("measure group %s: %w", g.path, v.err)
	}
	return s, nil
}

func (v *values) stats1() Stats {
	const tick = time.Second / 100 // USER_HZ
	memory, acct := v.stat("memory", "memory.stat"), v.stat("cpuacct", "cpuacct.stat")
	return Stats{
		Memory: v.number("memory", "memory.usage_in_bytes"), MemoryPeak: v.number("memory", "memory.max_usage_in_bytes"),
		MemoryAnonymous: memory["total_rss"], MemoryFile: memory["total_cache"], MemoryInactiveFile: memory["total_inactive_file"],
		OOMKills:  v.stat("memory", "memory.oom_control")["oom_kill"],
		CPU:       time.Duration(v.number("cpuacct", "cpuacct.usage")),
		CPUUser:   time.Duration(acct["user"]) * tick,
		CPUSystem: time.Duration(acct["system"]) * tick,
		Throttled: time.Duration(v.stat("cpu", "cpu.stat")["throttled_time"]),
		Processes: v.number("pids", "pids.current"),
	}
}

func (v *values) stats2() Stats {
	memory, cpu := v.stat("", "memory.stat"), v.stat("", "cpu.stat")
	return Stats{
		Memory: v.number("", "memory.current"), MemoryPeak: v.number("", "memory.peak"),
		MemoryAnonymous: memory["anon"], MemoryFile: memory["file"], MemoryInactiveFile: memory["inactive_file"],
		OOMKills:  v.stat("", "memory.events")["oom_kill"],
		CPU:       time.Duration(cpu["usage_usec"]) * time.Microsecond,
		CPUUser:   time.Duration(cpu["user_usec"]) * time.Microsecond,
		CPUSystem: time.Duration(cpu["system_usec"]) * time.Microsecond,
		Throttled: time.Duration(cpu["throttled_usec"]) * time.Microsecond,
		Processes: v.number("", "pids.current"),
	}
}

// MemoryLimit returns how much memory all that is in the tree may have, in bytes: what limits the container whose root the tree is, with
// v1 also the groups above it. [Unlimited] means that only the machine does.
func (t *Tree) MemoryLimit() (int64, error) {
	v := &values{g: t.Group("/")}
	limit := Unlimited
	if t.version == V1 {
		if n, ok := v.stat("memory", "memory.stat")["hierarchical_memory_limit"]; ok && n < noLimit1 {
			limit = int64(n)
		}
	} else if f := v.open("", "memory.max"); f != nil { // the root of a machine has none
		text, err := io.ReadAll(f)
		_ = f.Close() // it was read
		if word := strings.TrimSpace(string(text)); err == nil && word != "max" {
			limit, err = strconv.ParseInt(word, 10, 64)
		}
		if err != nil {
			v.err = err
		}
	}
	if v.err != nil {
		return Unlimited, fmt.Errorf("read the limit of memory: %w", v.err)
	}
	return limit, nil
}

// noLimit1 is what v1 begins to take for no limit: it counts in pages, and the most is a little below 2^63.
const noLimit1 = 1 << 62
