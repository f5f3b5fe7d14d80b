package proc

import (
	"io"
	"strconv"
	"strings"
)

// userHZ is the kernel's clock tick as user space sees it. It is 100 on every architecture that Go runs on
// (include/asm-generic/param.h), whatever CONFIG_HZ is.
const userHZ = 100

// SystemStat is stat: what the CPUs have done since boot.
type SystemStat struct {
	BootTime         uint64    // seconds since 1970, by the wall clock as it is set now
	CPUTotal         CPUStat   // of all CPUs
	CPUs             []CPUStat // of each CPU that is on line
	IRQTotal         uint64    // interrupts served
	IRQ              []uint64  // of each interrupt number, from 0
	ContextSwitches  uint64
	ProcessesCreated uint64 // forks and clones
	ProcessesRunning uint64 // runnable now
	ProcessesBlocked uint64 // waiting for I/O now
	SoftIRQTotal     uint64
	SoftIRQ          SoftIRQ
}

// CPUStat is the time that a CPU spent in each mode, in seconds. Guest is part of User, GuestNice part of Nice.
type CPUStat struct {
	ID                       int // number of the CPU; 0 in a total
	User, Nice, System, Idle float64
	IOWait, IRQ, SoftIRQ     float64
	Steal, Guest, GuestNice  float64
}

// SoftIRQ counts soft interrupts by kind.
type SoftIRQ struct {
	Hi, Timer, NetTx, NetRx, Block, BlockIOPoll, Tasklet, Sched, Hrtimer, RCU uint64
}

// ParseSystemStat parses stat (proc.rst, section 1.7).
func ParseSystemStat(r io.Reader) (SystemStat, error) {
	var s SystemStat
	l := newLines(r)
	for l.next() {
		key, rest, _ := strings.Cut(l.text, " ")
		var err error
		switch key {
		case "btime":
			err = l.numbers(strings.Fields(rest), &s.BootTime)
		case "ctxt":
			err = l.numbers(strings.Fields(rest), &s.ContextSwitches)
		case "processes":
			err = l.numbers(strings.Fields(rest), &s.ProcessesCreated)
		case "procs_running":
			err = l.numbers(strings.Fields(rest), &s.ProcessesRunning)
		case "procs_blocked":
			err = l.numbers(strings.Fields(rest), &s.ProcessesBlocked)
		case "intr":
			err = s.parseIRQ(l, rest)
		case "softirq":
			q := &s.SoftIRQ
			err = l.numbers(strings.Fields(rest), &s.SoftIRQTotal, &q.Hi, &q.Timer, &q.NetTx, &q.NetRx, &q.Block,
				&q.BlockIOPoll, &q.Tasklet, &q.Sched, &q.Hrtimer, &q.RCU)
		default:
			if id, ok := strings.CutPrefix(key, "cpu"); ok {
				err = s.parseCPU(l, id, rest)
			}
		}
		if err != nil {
			return SystemStat{}, err
		}
	}
	return s, l.end()
}

func (s *SystemStat) parseIRQ(l *lines, rest string) error {
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return l.errorf("intr has no value")
	}
	s.IRQ = make([]uint64, len(fields)-1)
	if err := l.numbers(fields[:1], &s.IRQTotal); err != nil {
		return err
	}
	for i := range s.IRQ {
		if err := l.numbers(fields[i+1:i+2], &s.IRQ[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *SystemStat) parseCPU(l *lines, id, rest string) error {
	var t [10]uint64
	if err := l.numbers(strings.Fields(rest), &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7], &t[8], &t[9]); err != nil {
		return err
	}
	sec := func(i int) float64 { return float64(t[i]) / userHZ }
	c := CPUStat{
		User: sec(0), Nice: sec(1), System: sec(2), Idle: sec(3), IOWait: sec(4),
		IRQ: sec(5), SoftIRQ: sec(6), Steal: sec(7), Guest: sec(8), GuestNice: sec(9),
	}
	if id == "" {
		s.CPUTotal = c
		return nil
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return l.errorf("%q is no number of a CPU", id)
	}
	c.ID = n
	s.CPUs = append(s.CPUs, c)
	return nil
}

// SystemStat reads stat.
func (r Reader) SystemStat() (SystemStat, error) { return parseFile(r.path("stat"), ParseSystemStat) }

// LoadAvg is loadavg: how many tasks were runnable or in uninterruptible sleep, averaged over 1, 5 and 15 minutes.
type LoadAvg struct {
	Load1, Load5, Load15 float64
	Runnable, Tasks      uint64 // scheduling entities: runnable now, and all
	LastPID              uint64 // of the process made last
}

// ParseLoadAvg parses loadavg (proc.rst, table 1-5).
func ParseLoadAvg(r io.Reader) (LoadAvg, error) {
	l := newLines(r)
	if !l.next() {
		return LoadAvg{}, emptyOr(l)
	}
	f := strings.Fields(l.text)
	if len(f) < 3 {
		return LoadAvg{}, l.errorf("%d columns; want at least 3", len(f))
	}
	var a LoadAvg
	for i, p := range []*float64{&a.Load1, &a.Load5, &a.Load15} {
		v, err := l.float(f[i])
		if err != nil {
			return LoadAvg{}, err
		}
		*p = v
	}
	if len(f) < 5 {
		return a, nil
	}
	running, all, _ := strings.Cut(f[3], "/")
	if err := l.numbers([]string{running, all, f[4]}, &a.Runnable, &a.Tasks, &a.LastPID); err != nil {
		return LoadAvg{}, err
	}
	return a, nil
}

// emptyOr is the error for a file that has no first line.
func emptyOr(l *lines) error {
	if err := l.end(); err != nil {
		return err
	}
	return &ParseError{Err: io.ErrUnexpectedEOF}
}

// LoadAvg reads loadavg.
func (r Reader) LoadAvg() (LoadAvg, error) { return parseFile(r.path("loadavg"), ParseLoadAvg) }
