package proc

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// captured returns a Reader over the files that were captured from a machine, in a directory that a test may change.
func captured(t testing.TB) Reader {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("testdata/root")); err != nil {
		t.Fatal(err)
	}
	link(t, root, "proc/4242/exe", "/usr/bin/sleep")
	link(t, root, "proc/4242/fd/0", "/dev/null")
	link(t, root, "proc/4242/fd/3", "socket:[500095]")
	link(t, root, "proc/4300/fd/3", "socket:[500095]")
	link(t, root, "proc/4300/fd/4", "socket:[500113]")
	link(t, root, "proc/4300/fd/5", "anon_inode:[eventpoll]")
	link(t, root, "proc/thread-self/ns/net", "net:[4026531840]")
	return Reader{Root: root}
}

func link(t testing.TB, root, name, target string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, r Reader, name, text string) {
	t.Helper()
	path := filepath.Join(r.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// each names what a Reader reads, to be called one by one.
func each(r Reader) []struct {
	name string
	read func() (any, error)
} {
	type entry = struct {
		name string
		read func() (any, error)
	}
	e := func(name string, read func() (any, error)) entry { return entry{name, read} }
	return []entry{
		e("meminfo", func() (any, error) { return r.MemInfo() }),
		e("stat", func() (any, error) { return r.SystemStat() }),
		e("loadavg", func() (any, error) { return r.LoadAvg() }),
		e("cpuinfo", func() (any, error) { return r.CPUInfo() }),
		e("diskstats", func() (any, error) { return r.DiskStats() }),
		e("netdev", func() (any, error) { return r.NetDev() }),
		e("mounts", func() (any, error) { return r.Mounts() }),
		e("mountinfo", func() (any, error) { return r.MountInfo() }),
		e("processes", func() (any, error) { return r.Processes() }),
		e("sockets", func() (any, error) {
			return r.Sockets(0, TCP, TCP6, UDP, UDP6, UDPLite, UDPLite6, Raw, Raw6)
		}),
		e("unix", func() (any, error) { return r.UnixSockets(0) }),
		e("modules", func() (any, error) { return r.Modules() }),
		e("uptime", func() (any, error) { return r.Uptime() }),
		e("cmdline", func() (any, error) { return r.Cmdline() }),
		e("filesystems", func() (any, error) { return r.FileSystems() }),
	}
}

func TestCapturedFilesGiveTheGoldenValues(t *testing.T) {
	for _, tc := range each(captured(t)) {
		t.Run(tc.name, func(t *testing.T) {
			v, err := tc.read()
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(v, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "golden", tc.name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
				t.Errorf("%s (-want +got):\n%s", tc.name, d)
			}
		})
	}
}

func TestThisMachineIsReadWithoutError(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no proc: not Linux")
	}
	for _, tc := range each(Reader{}) {
		v, err := tc.read()
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		switch v := v.(type) {
		case MemInfo:
			if v.MemTotal == 0 || v.MemAvailable > v.MemTotal {
				t.Errorf("MemInfo() = total %d, available %d", v.MemTotal, v.MemAvailable)
			}
		case SystemStat:
			if v.BootTime == 0 || len(v.CPUs) == 0 || v.CPUTotal.User == 0 {
				t.Errorf("SystemStat() = boot time %d, %d CPUs, user %v", v.BootTime, len(v.CPUs), v.CPUTotal.User)
			}
		case []Process:
			i := slices.IndexFunc(v, func(p Process) bool { return p.PID == os.Getpid() })
			if i < 0 {
				t.Fatalf("Processes() has no %d", os.Getpid())
			}
			self, _ := os.Executable()
			if v[i].Executable != self || !slices.Equal(v[i].Args, os.Args) || v[i].Resident == 0 {
				t.Errorf("Processes() shows this one as %+v; want %s %q", v[i], self, os.Args)
			}
		}
	}
}

func TestAFileThatIsMissingIsNamed(t *testing.T) {
	_, err := Reader{Root: t.TempDir()}.MemInfo()
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "proc/meminfo") {
		t.Errorf("MemInfo() = %v; want a missing proc/meminfo", err)
	}
}

func TestAnErrorNamesFileAndLine(t *testing.T) {
	for _, tc := range []struct {
		name, file, text string
		line             int
		read             func(Reader) error
	}{
		{"meminfo", "proc/meminfo", "MemTotal: 1 kB\nMemFree: x kB\n", 2, func(r Reader) error { _, err := r.MemInfo(); return err }},
		{"meminfo without a value", "proc/meminfo", "MemTotal:\n", 1, func(r Reader) error { _, err := r.MemInfo(); return err }},
		{"stat", "proc/stat", "cpu  1 2 3\ncpu0 1 -2\n", 2, func(r Reader) error { _, err := r.SystemStat(); return err }},
		{"stat, number of a CPU", "proc/stat", "cpux 1\n", 1, func(r Reader) error { _, err := r.SystemStat(); return err }},
		{"stat, interrupts", "proc/stat", "intr\n", 1, func(r Reader) error { _, err := r.SystemStat(); return err }},
		{"loadavg", "proc/loadavg", "1 2\n", 1, func(r Reader) error { _, err := r.LoadAvg(); return err }},
		{"loadavg, empty", "proc/loadavg", "", 0, func(r Reader) error { _, err := r.LoadAvg(); return err }},
		{"cpuinfo", "proc/cpuinfo", "processor: 0\nsiblings: many\n", 2, func(r Reader) error { _, err := r.CPUInfo(); return err }},
		{"diskstats", "proc/diskstats", "8 0 sda 1 2\n", 1, func(r Reader) error { _, err := r.DiskStats(); return err }},
		{"net/dev", "proc/thread-self/net/dev", " a | b\n lo: 1 2\n", 2, func(r Reader) error { _, err := r.NetDev(); return err }},
		{"net/dev, no device", "proc/thread-self/net/dev", "1 2\n", 1, func(r Reader) error { _, err := r.NetDev(); return err }},
		{"mounts", "proc/thread-self/mounts", "a b c\n", 1, func(r Reader) error { _, err := r.Mounts(); return err }},
		{"mountinfo", "proc/thread-self/mountinfo", "1 2 0:1 / / rw\n", 1, func(r Reader) error { _, err := r.MountInfo(); return err }},
		{"mountinfo, device", "proc/thread-self/mountinfo", "1 2 0 / / rw - t s o\n", 1, func(r Reader) error { _, err := r.MountInfo(); return err }},
		{"tcp", "proc/thread-self/net/tcp", "sl\n0: 0100007F:XX 0:0 0 0:0 0:0 0 0 0 0\n", 2, func(r Reader) error { _, err := r.Sockets(0, TCP); return err }},
		{"unix", "proc/thread-self/net/unix", "Num\n1: 2 3\n", 2, func(r Reader) error { _, err := r.UnixSockets(0); return err }},
		{"process", "proc/4242/stat", "4242 (a) S 1\n", 1, func(r Reader) error { _, err := r.Processes(); return err }},
		{"status", "proc/4242/status", "Name: a\nUid: 1\n", 2, func(r Reader) error { _, err := r.Status(4242); return err }},
		{"modules", "proc/modules", "a b\n", 1, func(r Reader) error { _, err := r.Modules(); return err }},
		{"uptime", "proc/uptime", "1\n", 1, func(r Reader) error { _, err := r.Uptime(); return err }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := captured(t)
			write(t, r, tc.file, tc.text)
			err := tc.read(r)
			var pe *ParseError
			if !errors.As(err, &pe) {
				t.Fatalf("error = %v; want a *ParseError", err)
			}
			if want := filepath.Join(r.Root, tc.file); pe.File != want || pe.Line != tc.line {
				t.Errorf("error is at %s line %d; want %s line %d", pe.File, pe.Line, want, tc.line)
			}
		})
	}
}

func TestOtherKernels(t *testing.T) {
	t.Run("an old stat has fewer columns", func(t *testing.T) {
		s, err := ParseSystemStat(strings.NewReader("cpu  100 200 300 400\ncpu2 100 200 300 400\nsoftirq 5 1\nnew 1 x\n"))
		if err != nil {
			t.Fatal(err)
		}
		if s.CPUTotal.Idle != 4 || s.CPUTotal.Steal != 0 || s.CPUs[0].ID != 2 || s.SoftIRQ.Hi != 1 {
			t.Errorf("ParseSystemStat() = %+v", s)
		}
	})
	t.Run("arm64 names its CPUs otherwise", func(t *testing.T) {
		c, err := ParseCPUInfo(strings.NewReader("processor\t: 3\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n" +
			"CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n"))
		want := []CPUInfo{{Processor: 3, BogoMIPS: 50, Flags: []string{"fp", "asimd"}, VendorID: "0x41", Family: "8", Model: "0xd0c", Stepping: "1"}}
		if d := cmp.Diff(want, c); d != "" || err != nil {
			t.Errorf("ParseCPUInfo() error %v (-want +got):\n%s", err, d)
		}
	})
	t.Run("an alias of a device has a colon in its name", func(t *testing.T) {
		d, err := ParseNetDev(strings.NewReader("eth0:1:100 1 0 0 0 0 0 0 7 2 0 0 0 0 0 0\n"))
		if err != nil || len(d) != 1 || d[0].Name != "eth0:1" || d[0].RxBytes != 100 || d[0].TxBytes != 7 {
			t.Errorf("ParseNetDev() = %+v, %v", d, err)
		}
	})
	t.Run("disks before 4.18 have no discards", func(t *testing.T) {
		d, err := ParseDiskStats(strings.NewReader("   8  0 sda 1 2 3 4 5 6 7 8 9 10 11\n"))
		if err != nil || d[0].IOTimeWeightedMs != 11 || d[0].DiscardCompleted != 0 {
			t.Errorf("ParseDiskStats() = %+v, %v", d, err)
		}
	})
	t.Run("a kernel without modules, UDP-Lite or frequencies has none", func(t *testing.T) {
		r := captured(t)
		for _, f := range []string{"modules", "thread-self/net/udplite"} {
			if err := os.Remove(r.path(f)); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := r.Modules(); len(m) != 0 || err != nil {
			t.Errorf("Modules() = %v, %v; want none", m, err)
		}
		if s, err := r.Sockets(0, UDPLite); len(s) != 0 || err != nil {
			t.Errorf("Sockets(udplite) = %v, %v; want none", s, err)
		}
		write(t, r, "sys/devices/system/cpu/cpu0/online", "1")
		if f, err := r.CPUFreq(); err != nil || len(f) != 1 || f[0] != (CPUFreq{}) {
			t.Errorf("CPUFreq() = %v, %v; want one of zeroes", f, err)
		}
	})
}

func TestFrequenciesComeInTheOrderOfTheCPUs(t *testing.T) {
	r := captured(t)
	for _, cpu := range []string{"cpu10", "cpu2"} {
		write(t, r, "sys/devices/system/cpu/"+cpu+"/cpufreq/scaling_cur_freq", "2400000\n")
		write(t, r, "sys/devices/system/cpu/"+cpu+"/cpufreq/scaling_min_freq", "<unknown>\n")
		write(t, r, "sys/devices/system/cpu/"+cpu+"/cpufreq/scaling_governor", "schedutil\n")
	}
	write(t, r, "sys/devices/system/cpu/cpufreq/boost", "1\n")
	got, err := r.CPUFreq()
	want := []CPUFreq{{CPU: 2, Current: 2400000, Governor: "schedutil"}, {CPU: 10, Current: 2400000, Governor: "schedutil"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("CPUFreq() error %v (-want +got):\n%s", err, d)
	}
}

func TestMountPointsAreUnescaped(t *testing.T) {
	m, err := captured(t).MountInfo()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(m, func(m MountInfo) bool { return m.Point == "/tmp/sysm/a b" })
	if i < 0 || m[i].Shared != 2 || !m[i].HasOption("nodev") || m[i].HasSuperOption("nodev") || m[i].Type != "tmpfs" {
		t.Errorf("no shared tmpfs with nodev on %q in %+v", "/tmp/sysm/a b", m)
	}
	// The kernel writes the comma that belongs to the value as \054, after overlayfs's own backslash.
	if !slices.ContainsFunc(m, func(m MountInfo) bool { return m.HasSuperOption(`lowerdir=/tmp/sysm/l\,o`) }) {
		t.Errorf("no overlay with a comma in its lower directory in %+v", m)
	}
	if !slices.ContainsFunc(m, func(m MountInfo) bool { return m.Unbindable && m.Root == "/tmp/sysm/u" }) {
		t.Errorf("no unbindable bind mount in %+v", m)
	}
	for in, want := range map[string]string{`a\040b`: "a b", `\`: `\`, `\04`: `\04`, `\999x`: `\999x`, `\134040`: `\040`} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestSocketsOfEachProtocol(t *testing.T) {
	r := captured(t)
	s, err := r.Sockets(0, TCP, TCP6, Raw6)
	if err != nil {
		t.Fatal(err)
	}
	type short struct {
		P     Protocol
		L, R  string
		State SocketState
		Rx    uint64
	}
	var got []short
	for _, x := range s {
		got = append(got, short{x.Protocol, x.Local.String(), x.Remote.String(), x.State, x.RxQueue})
	}
	want := []short{
		{TCP, "127.0.0.1:50000", "0.0.0.0:0", Listen, 0},
		{TCP, "127.0.0.1:40000", "127.0.0.1:50000", Established, 0},
		{TCP, "127.0.0.1:40001", "127.0.0.1:50000", TimeWait, 0},
		{TCP, "127.0.0.1:50000", "127.0.0.1:40000", Established, 100},
		{TCP6, "[::1]:50000", "[::]:0", Listen, 0},
		{TCP6, "[::1]:40000", "[::1]:50000", Established, 0},
		{TCP6, "[::1]:40001", "[::1]:50000", TimeWait, 0},
		{TCP6, "[::1]:50000", "[::1]:40000", Established, 100},
		{Raw6, "[::]:58", "[::]:0", Close, 0},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Sockets() (-want +got):\n%s", d)
	}
	if _, err := r.Sockets(99999, TCP); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Sockets(of no process) = %v; want fs.ErrNotExist", err)
	}
	if a := s[0].Local.Addr(); a != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("local address = %v", a)
	}
}

func TestTheOwnerOfASocketIsTheProcessWithTheLowestNumber(t *testing.T) {
	got, err := captured(t).SocketOwners()
	want := map[uint64]Owner{500095: {4242, "a (b) c"}, 500113: {4300, "sleep"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("SocketOwners() error %v (-want +got):\n%s", err, d)
	}
}

func TestStatusShowsUsersAndCapabilities(t *testing.T) {
	r := captured(t)
	s, err := r.Status(4300)
	if err != nil {
		t.Fatal(err)
	}
	want := Status{
		Name: "sleep", TGID: 4300, UIDs: [4]uint32{50, 50, 50, 50}, GIDs: [4]uint32{50, 50, 50, 50}, Groups: []uint32{50, 51},
		NSPIDs: []int{4300}, NoNewPrivs: true,
	}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("Status(4300) (-want +got):\n%s", d)
	}
	if s, err := r.Status(4242); err != nil || s.CapEffective != 0x1fffeffffff {
		t.Errorf("Status(4242).CapEffective = %x, %v; want 1fffeffffff", s.CapEffective, err)
	}
	if v, err := r.IO(4242); err != nil || v.ReadChars == 0 {
		t.Errorf("IO(4242) = %+v, %v", v, err)
	}
	if _, err := r.Status(1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Status(of no process) = %v; want fs.ErrNotExist", err)
	}
	if n, err := r.NetNS(0); n != 4026531840 || err != nil {
		t.Errorf("NetNS(0) = %d, %v", n, err)
	}
}

func TestProcess(t *testing.T) {
	r := captured(t)
	write(t, r, "proc/4242/attr/current", "system_u:system_r:init_t:s0\x00")
	p, err := r.Process(4242)
	if err != nil {
		t.Fatal(err)
	}
	if p.Comm != "a (b) c" || p.PPID != 1 || p.Threads != 1 || p.Executable != "/usr/bin/sleep" || p.Label != "system_u:system_r:init_t:s0" ||
		!slices.Equal(p.Args, []string{"/tmp/sp/a (b) c", "300"}) || p.UserTime != 1.5 || p.SystemTime != 0.5 || p.CPUTime() != 2 ||
		p.Virtual != 2990080 || p.Resident != 410*uint64(os.Getpagesize()) {
		t.Errorf("Process(4242) = %+v", p)
	}
	all, err := r.Processes()
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(all, func(p Process) bool { return p.PID == 4242 }); i < 0 || !cmp.Equal(all[i], p) {
		t.Errorf("Processes() and Process(4242) differ: %+v, %+v", all, p)
	}
	if _, err := r.Process(7); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Process(7) = %v; want fs.ErrNotExist", err)
	}
}

func TestAProcessThatEndsWhileItIsReadIsLeftOut(t *testing.T) {
	r := captured(t)
	if err := os.Remove(r.path("4242", "stat")); err != nil {
		t.Fatal(err)
	}
	p, err := r.Processes()
	if err != nil || len(p) != 2 {
		t.Errorf("Processes() = %d processes, %v; want 2", len(p), err)
	}
}

func TestALongCommandLineIsReadWhole(t *testing.T) {
	r := captured(t)
	long := strings.Repeat("x", 20000)
	write(t, r, "proc/4242/cmdline", "a\x00"+long+"\x00\x00")
	all, err := r.Processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.PID == 4242 && (len(p.Args) != 2 || p.Args[1] != long) {
			t.Errorf("Args has %d parts; want 2 with the long one", len(p.Args))
		}
	}
}

func TestCommandLineOfTheKernel(t *testing.T) {
	got, err := captured(t).Cmdline()
	want := []Param{
		{"console", "ttyS0", true}, {"quiet", "", false}, {"talos.platform", "container", true}, {"net.ifnames", "0", true},
		{"empty", "", true}, {"quoted param", "a b", true}, {"dyndbg", "file x.c +p; file y.c +p", true}, {"console", "tty0", true},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("Cmdline() error %v (-want +got):\n%s", err, d)
	}
}

func TestSysctl(t *testing.T) {
	r := captured(t)
	for key, want := range map[string]string{
		"kernel.hostname": "node-1", "kernel/hostname": "node-1", "net/ipv4/conf/eth0.1/forwarding": "1", "net.ipv4.conf.eth0/1.forwarding": "1",
	} {
		if got, err := r.Sysctl(key); got != want || err != nil {
			t.Errorf("Sysctl(%s) = %q, %v; want %q", key, got, err, want)
		}
	}
	if err := r.SetSysctl("vm.overcommit_memory", "1"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Sysctl("vm.overcommit_memory"); got != "1" || err != nil {
		t.Errorf("Sysctl(vm.overcommit_memory) = %q, %v; want what was set", got, err)
	}
	if err := r.SetSysctl("vm.no_such", "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SetSysctl(vm.no_such) = %v; want fs.ErrNotExist", err)
	}
	for _, key := range []string{"", "..", "../../etc/passwd", "/etc/passwd", "a/../../b", "kernel.//.//.x"} {
		if _, err := r.Sysctl(key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Sysctl(%q) = %v; want it refused", key, err)
		}
	}
	for name, read := range map[string]func() (string, error){"node-1": r.Hostname, "6.18.44-test": r.KernelRelease, "11111111-2222-4333-8444-555555555555": r.BootID} {
		if got, err := read(); got != name || err != nil {
			t.Errorf("read = %q, %v; want %q", got, err, name)
		}
	}
}
