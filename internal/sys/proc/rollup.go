package proc

import (
	"io"
	"strconv"
	"strings"
)

// Rollup is the memory of a process as its mappings account for it, in bytes.
type Rollup struct {
	Resident     uint64 // pages in memory, each of them whole
	Proportional uint64 // the same, a page that several processes have shared among them: a sum over processes counts it once
	Anonymous    uint64 // what of Resident is not a page of a file
}

// ParseRollup parses smaps_rollup of a process (proc_pid_smaps(5)).
func ParseRollup(r io.Reader) (Rollup, error) {
	var out Rollup
	l := newLines(r)
	for l.next() {
		key, value, _ := strings.Cut(l.text, ":")
		var p *uint64
		switch key {
		case "Rss":
			p = &out.Resident
		case "Pss":
			p = &out.Proportional
		case "Anonymous":
			p = &out.Anonymous
		default:
			continue
		}
		fields := strings.Fields(value)
		if len(fields) != 2 || fields[1] != "kB" {
			return Rollup{}, l.errorf("%s is %q; want a number of kB", key, strings.TrimSpace(value))
		}
		if err := l.numbers(fields[:1], p); err != nil {
			return Rollup{}, err
		}
		if *p > 1<<54 {
			return Rollup{}, l.errorf("%s is %s; want less", key, strings.TrimSpace(value))
		}
		*p <<= 10
	}
	return out, l.end()
}

// Rollup reads the memory of a process. A kernel thread has none.
func (r Reader) Rollup(pid int) (Rollup, error) {
	return parseFile(r.path(strconv.Itoa(pid), "smaps_rollup"), ParseRollup)
}
