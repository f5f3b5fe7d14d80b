package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Stat is stat of one process: the columns that somebody needs.
type Stat struct {
	PID, PPID  int
	Comm       string // name of the program, at most 15 bytes; newlines and backslashes escaped by the kernel
	State      string // one letter: R S D Z T t I X
	Group      int    // process group
	Session    int
	UserTime   float64 // seconds
	SystemTime float64 // seconds
	Nice       int
	Threads    int
	StartTime  float64 // seconds after boot
	Virtual    uint64  // bytes of address space
	Resident   uint64  // bytes in memory
}

// ParseStat parses stat of a process (proc_pid_stat(5)).
func ParseStat(r io.Reader) (Stat, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<16))
	if err != nil {
		return Stat{}, &ParseError{Line: 1, Err: err}
	}
	return parseStat(b)
}

func parseStat(b []byte) (Stat, error) {
	bad := func(format string, args ...any) (Stat, error) {
		return Stat{}, &ParseError{Line: 1, Err: fmt.Errorf(format, args...)}
	}
	// A name may hold spaces and parentheses; it ends at the last one.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return bad("no (name) in %q", b)
	}
	var f [23][]byte // of proc_pid_stat(5) from column 3 on
	n := 0
	for rest := b[end+1:]; n < len(f); n++ {
		rest = bytes.TrimLeft(rest, " \n")
		if len(rest) == 0 {
			break
		}
		i := bytes.IndexAny(rest, " \n")
		if i < 0 {
			i = len(rest)
		}
		f[n], rest = rest[:i], rest[i:]
	}
	if n < 22 {
		return bad("%d columns; want at least 24", n+2)
	}
	s := Stat{Comm: string(b[open+1 : end]), State: string(f[0])}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil {
		return bad("pid %q is no number", b[:open])
	}
	s.PID = pid
	for _, c := range [...]struct {
		col int
		p   *int
	}{{4, &s.PPID}, {5, &s.Group}, {6, &s.Session}, {19, &s.Nice}, {20, &s.Threads}} {
		if *c.p, err = strconv.Atoi(string(f[c.col-3])); err != nil {
			return bad("column %d: %q is no number", c.col, f[c.col-3])
		}
	}
	var ticks [3]uint64
	var pages int64
	for i, col := range [...]int{14, 15, 22} {
		if ticks[i], err = strconv.ParseUint(string(f[col-3]), 10, 64); err != nil {
			return bad("column %d: %q is no number", col, f[col-3])
		}
	}
	if s.Virtual, err = strconv.ParseUint(string(f[20]), 10, 64); err != nil {
		return bad("column 23: %q is no number", f[20])
	}
	if pages, err = strconv.ParseInt(string(f[21]), 10, 64); err != nil {
		return bad("column 24: %q is no number", f[21])
	}
	s.UserTime, s.SystemTime, s.StartTime = float64(ticks[0])/userHZ, float64(ticks[1])/userHZ, float64(ticks[2])/userHZ
	// The kernel's counter may be below zero for a moment.
	s.Resident = uint64(max(pages, 0)) * uint64(os.Getpagesize())
	return s, nil
}

// Process is a process as a person wants to see it.
type Process struct {
	Stat
	Executable string   // path of the program; empty for a kernel thread, or when it may not be read. May end in " (deleted)"
	Args       []string // command line as the process shows it; empty for kernel threads and zombies
	Label      string   // security label (SELinux, AppArmor); empty without one
}

// CPUTime is the time that the process has run, in seconds.
func (p Process) CPUTime() float64 { return p.UserTime + p.SystemTime }

// Processes lists the processes that the root shows, in the order of their numbers. One that ends meanwhile is left out.
func (r Reader) Processes() ([]Process, error) {
	pids, err := r.PIDs()
	if err != nil {
		return nil, err
	}
	var buf [4096]byte
	out := make([]Process, 0, len(pids))
	labels := true
	base := r.path() + "/"
	for _, pid := range pids {
		dir := base + strconv.Itoa(pid)
		b, err := readInto(buf[:], dir+"/stat")
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st, err := parseStat(b)
		if err != nil {
			return nil, inFile(dir+"/stat", err)
		}
		p := Process{Stat: st}
		if b, err = readInto(buf[:], dir+"/cmdline"); err == nil {
			p.Args = splitArgs(b)
		}
		if exe, err := os.Readlink(dir + "/exe"); err == nil {
			p.Executable = exe
		}
		if labels {
			b, err = readInto(buf[:], dir+"/attr/current")
			// Without a security module the file is there and says EINVAL, for every process alike.
			labels = !errors.Is(err, syscall.EINVAL)
			if err == nil {
				p.Label = string(bytes.TrimRight(b, "\x00\n"))
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// Process reads one process. The error is fs.ErrNotExist if there is none.
func (r Reader) Process(pid int) (Process, error) {
	dir := r.path(strconv.Itoa(pid))
	st, err := parseFile(dir+"/stat", ParseStat)
	if err != nil {
		return Process{}, notExist(err)
	}
	p := Process{Stat: st}
	if b, err := os.ReadFile(dir + "/cmdline"); err == nil {
		p.Args = splitArgs(b)
	}
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		p.Executable = exe
	}
	if b, err := os.ReadFile(dir + "/attr/current"); err == nil {
		p.Label = string(bytes.TrimRight(b, "\x00\n"))
	}
	return p, nil
}

// notExist turns ESRCH, which the kernel gives when a process ends between open and read, into fs.ErrNotExist.
func notExist(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// gone reports whether an error means that the process has ended.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// PIDs lists the numbers of the processes that the root shows, in their order.
func (r Reader) PIDs() ([]int, error) {
	d, err := os.Open(r.path())
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// readInto reads a small file with the least system calls: os.ReadFile would ask its size, and offer it to the poller,
// for each of four files of each process. What does not fit into buf is read too, into memory of its own.
func readInto(buf []byte, path string) ([]byte, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd)
	n := 0
	for {
		if n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		var m int
		err := retry(func() (err error) {
			m, err = syscall.Read(fd, buf[n:])
			return err
		})
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if m == 0 {
			return buf[:n], nil
		}
		n += m
	}
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// splitArgs splits cmdline. A process that has written a title of its own over it has one argument, without the NUL.
func splitArgs(b []byte) []string {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}

// Status is status of one process: what stat does not have.
type Status struct {
	Name           string
	TGID           int       // number of the process
	UIDs, GIDs     [4]uint32 // real, effective, saved, file system
	Groups         []uint32
	NSPIDs         []int  // its numbers in the pid namespaces, from the reader's to its own
	CapInheritable uint64 // bit n is capability n
	CapPermitted   uint64
	CapEffective   uint64
	CapBounding    uint64
	CapAmbient     uint64
	NoNewPrivs     bool
	Seccomp        int // 0 off, 1 strict, 2 filter
}

// ParseStatus parses status of a process (proc_pid_status(5)).
func ParseStatus(r io.Reader) (Status, error) {
	var s Status
	l := newLines(r)
	for l.next() {
		key, value, ok := strings.Cut(l.text, ":")
		if !ok {
			continue
		}
		if err := s.set(key, strings.TrimSpace(value)); err != nil {
			return Status{}, l.errorf("%s: %w", key, err)
		}
	}
	return s, l.end()
}

func (s *Status) set(key, value string) (err error) {
	switch key {
	case "Name":
		s.Name = value
	case "Tgid":
		s.TGID, err = strconv.Atoi(value)
	case "Uid":
		err = ids(s.UIDs[:], value)
	case "Gid":
		err = ids(s.GIDs[:], value)
	case "Groups":
		s.Groups = make([]uint32, len(strings.Fields(value)))
		err = ids(s.Groups, value)
	case "NSpid":
		s.NSPIDs = nil
		for _, f := range strings.Fields(value) {
			n, err := strconv.Atoi(f)
			if err != nil {
				return err
			}
			s.NSPIDs = append(s.NSPIDs, n)
		}
	case "CapInh":
		s.CapInheritable, err = strconv.ParseUint(value, 16, 64)
	case "CapPrm":
		s.CapPermitted, err = strconv.ParseUint(value, 16, 64)
	case "CapEff":
		s.CapEffective, err = strconv.ParseUint(value, 16, 64)
	case "CapBnd":
		s.CapBounding, err = strconv.ParseUint(value, 16, 64)
	case "CapAmb":
		s.CapAmbient, err = strconv.ParseUint(value, 16, 64)
	case "NoNewPrivs":
		s.NoNewPrivs = value == "1"
	case "Seccomp":
		s.Seccomp, err = strconv.Atoi(value)
	}
	return err
}

func ids(into []uint32, text string) error {
	f := strings.Fields(text)
	if len(f) < len(into) {
		return fmt.Errorf("%d numbers; want %d", len(f), len(into))
	}
	for i := range into {
		n, err := strconv.ParseUint(f[i], 10, 32)
		if err != nil {
			return err
		}
		into[i] = uint32(n)
	}
	return nil
}

// Status reads status of a process; 0 is the calling thread. The error is fs.ErrNotExist if there is none.
func (r Reader) Status(pid int) (Status, error) {
	s, err := parseFile(r.path(task(pid), "status"), ParseStatus)
	return s, notExist(err)
}

// task names the folder of a process; 0 is the calling thread, so that a caller that locked its goroutine to a thread and
// moved that into another namespace sees what belongs there. "self" would be the process's first thread.
func task(pid int) string {
	if pid == 0 {
		return "thread-self"
	}
	return strconv.Itoa(pid)
}

// IO is io of one process, in bytes but for the numbers of calls.
type IO struct {
	ReadChars, WriteChars uint64 // by read and write calls, from wherever
	ReadCalls, WriteCalls uint64
	ReadBytes, WriteBytes uint64 // from and to block devices
	CancelledWriteBytes   uint64 // of WriteBytes: deleted before they were written
}

// ParseIO parses io of a process (proc.rst, section 3.3).
func ParseIO(r io.Reader) (IO, error) {
	var v IO
	l := newLines(r)
	for l.next() {
		key, value, _ := strings.Cut(l.text, ":")
		p := map[string]*uint64{
			"rchar": &v.ReadChars, "wchar": &v.WriteChars, "syscr": &v.ReadCalls, "syscw": &v.WriteCalls,
			"read_bytes": &v.ReadBytes, "write_bytes": &v.WriteBytes, "cancelled_write_bytes": &v.CancelledWriteBytes,
		}[key]
		if p == nil {
			continue
		}
		if err := l.numbers(strings.Fields(value), p); err != nil {
			return IO{}, err
		}
	}
	return v, l.end()
}

// IO reads io of a process. Not every kernel has it: then, and if there is no such process, the error is fs.ErrNotExist.
func (r Reader) IO(pid int) (IO, error) {
	v, err := parseFile(r.path(task(pid), "io"), ParseIO)
	return v, notExist(err)
}

// NetNS returns the inode number that identifies the network namespace of a process; 0 is the calling thread.
func (r Reader) NetNS(pid int) (uint64, error) {
	path := r.path(task(pid), "ns", "net")
	target, err := os.Readlink(path)
	if err != nil {
		return 0, notExist(err)
	}
	n, ok := inode(filepath.Base(target), "net")
	if !ok {
		return 0, fmt.Errorf("read %s: %q is no namespace", path, target)
	}
	return n, nil
}

// inode takes the number from a text such as "net:[4026531840]".
func inode(text, kind string) (uint64, bool) {
	text, ok := strings.CutPrefix(text, kind+":[")
	if !ok {
		return 0, false
	}
	text, ok = strings.CutSuffix(text, "]")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}
