package proc

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// CPUInfo is one CPU as cpuinfo describes it. Texts are the kernel's own; what it does not say is empty or zero.
//
// The names are those of x86. On arm64 VendorID is the implementer, Family the architecture, Model the part, Stepping
// the revision, Flags the features.
type CPUInfo struct {
	Processor       uint32
	VendorID        string
	Family          string
	Model           string
	ModelName       string
	Stepping        string
	Microcode       string
	MHz             float64
	CacheSize       string
	PhysicalID      string
	Siblings        uint32
	CoreID          string
	Cores           uint32
	APICID          string
	InitialAPICID   string
	FPU             string
	FPUException    string
	IDLevel         uint32
	WP              string
	Flags           []string
	Bugs            []string
	BogoMIPS        float64
	CLFlushSize     uint32 // bytes
	CacheAlignment  uint32 // bytes
	AddressSizes    string
	PowerManagement string
}

// text returns the place of a value that is kept as it is, or nil.
func (c *CPUInfo) text(key string) *string {
	switch key {
	case "vendor_id", "CPU implementer":
		return &c.VendorID
	case "cpu family", "CPU architecture":
		return &c.Family
	case "model", "CPU part":
		return &c.Model
	case "model name":
		return &c.ModelName
	case "stepping", "CPU revision":
		return &c.Stepping
	case "microcode":
		return &c.Microcode
	case "cache size":
		return &c.CacheSize
	case "physical id":
		return &c.PhysicalID
	case "core id":
		return &c.CoreID
	case "apicid":
		return &c.APICID
	case "initial apicid":
		return &c.InitialAPICID
	case "fpu":
		return &c.FPU
	case "fpu_exception":
		return &c.FPUException
	case "wp":
		return &c.WP
	case "address sizes":
		return &c.AddressSizes
	case "power management":
		return &c.PowerManagement
	}
	return nil
}

// number returns the place of a whole number, or nil.
func (c *CPUInfo) number(key string) *uint32 {
	switch key {
	case "siblings":
		return &c.Siblings
	case "cpu cores":
		return &c.Cores
	case "cpuid level":
		return &c.IDLevel
	case "clflush size":
		return &c.CLFlushSize
	case "cache_alignment":
		return &c.CacheAlignment
	}
	return nil
}

// set takes one line. Unknown keys are skipped.
func (c *CPUInfo) set(l *lines, key, value string) error {
	if p := c.text(key); p != nil {
		*p = value
		return nil
	}
	if p := c.number(key); p != nil {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return l.errorf("%s: %q is no number", key, value)
		}
		// Some hypervisors give a cpuid level of -1.
		*p = uint32(max(n, 0))
		return nil
	}
	var err error
	switch key {
	case "flags", "Features":
		c.Flags = strings.Fields(value)
	case "bugs":
		c.Bugs = strings.Fields(value)
	case "cpu MHz":
		c.MHz, err = l.float(value)
	case "bogomips", "BogoMIPS":
		c.BogoMIPS, err = l.float(value)
	}
	return err
}

// ParseCPUInfo parses cpuinfo as x86 and arm64 write it: an entry starts with its processor line.
func ParseCPUInfo(r io.Reader) ([]CPUInfo, error) {
	var cpus []CPUInfo
	l := newLines(r)
	for l.next() {
		key, value, ok := strings.Cut(l.text, ":")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if key == "processor" {
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, l.errorf("processor: %q is no number", value)
			}
			cpus = append(cpus, CPUInfo{Processor: uint32(n)})
			continue
		}
		if len(cpus) == 0 {
			continue
		}
		if err := cpus[len(cpus)-1].set(l, key, value); err != nil {
			return nil, err
		}
	}
	return cpus, l.end()
}

// CPUInfo reads cpuinfo.
func (r Reader) CPUInfo() ([]CPUInfo, error) { return parseFile(r.path("cpuinfo"), ParseCPUInfo) }

// CPUFreq is how fast a CPU runs and may run, in kHz, and who decides it. All is zero for a CPU without scaling.
type CPUFreq struct {
	CPU               int
	Current, Min, Max uint64
	Governor          string
}

// CPUFreq reads the frequencies of all CPUs in the order of their numbers (admin-guide/pm/cpufreq.rst). Virtual machines
// have mostly none: their CPUs come with zeroes.
func (r Reader) CPUFreq() ([]CPUFreq, error) {
	dirs, err := filepath.Glob(r.sysPath("devices", "system", "cpu", "cpu[0-9]*"))
	if err != nil {
		return nil, err
	}
	var out []CPUFreq
	for _, dir := range dirs {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "cpu"))
		if err != nil {
			continue
		}
		f := CPUFreq{CPU: n}
		for name, p := range map[string]*uint64{"scaling_cur_freq": &f.Current, "scaling_min_freq": &f.Min, "scaling_max_freq": &f.Max} {
			if *p, err = frequency(filepath.Join(dir, "cpufreq", name)); err != nil {
				return nil, err
			}
		}
		f.Governor, err = line(filepath.Join(dir, "cpufreq", "scaling_governor"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b CPUFreq) int { return a.CPU - b.CPU })
	return out, nil
}

// frequency reads a file of one number. A file that is missing, or that says "<unknown>", gives zero.
func frequency(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	if text == "<unknown>" || text == "<unsupported>" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &ParseError{File: path, Line: 1, Err: err}
	}
	return n, nil
}
