package proc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// fuzz seeds a target with a captured file, and holds a parser to three things: it does not panic, it does not end in
// both an error and a value's worth of nothing, and the same bytes give the same answer.
func fuzz[T any](f *testing.F, file string, parse func(io.Reader) (T, error)) {
	b, err := os.ReadFile(filepath.Join("testdata", "root", "proc", file))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		v1, err1 := parse(bytes.NewReader(b))
		v2, err2 := parse(bytes.NewReader(b))
		if (err1 == nil) != (err2 == nil) || fmt.Sprintf("%+v", v1) != fmt.Sprintf("%+v", v2) {
			t.Errorf("parse is not the same twice: %+v, %v; %+v, %v", v1, err1, v2, err2)
		}
	})
}

func FuzzMemInfo(f *testing.F)     { fuzz(f, "meminfo", ParseMemInfo) }
func FuzzSystemStat(f *testing.F)  { fuzz(f, "stat", ParseSystemStat) }
func FuzzLoadAvg(f *testing.F)     { fuzz(f, "loadavg", ParseLoadAvg) }
func FuzzCPUInfo(f *testing.F)     { fuzz(f, "cpuinfo", ParseCPUInfo) }
func FuzzDiskStats(f *testing.F)   { fuzz(f, "diskstats", ParseDiskStats) }
func FuzzNetDev(f *testing.F)      { fuzz(f, "thread-self/net/dev", ParseNetDev) }
func FuzzMounts(f *testing.F)      { fuzz(f, "thread-self/mounts", ParseMounts) }
func FuzzMountInfo(f *testing.F)   { fuzz(f, "thread-self/mountinfo", ParseMountInfo) }
func FuzzStat(f *testing.F)        { fuzz(f, "4242/stat", ParseStat) }
func FuzzStatus(f *testing.F)      { fuzz(f, "4300/status", ParseStatus) }
func FuzzIO(f *testing.F)          { fuzz(f, "4242/io", ParseIO) }
func FuzzRollup(f *testing.F)      { fuzz(f, "4242/smaps_rollup", ParseRollup) }
func FuzzUnixSockets(f *testing.F) { fuzz(f, "thread-self/net/unix", ParseUnixSockets) }
func FuzzModules(f *testing.F)     { fuzz(f, "modules", ParseModules) }
func FuzzUptime(f *testing.F)      { fuzz(f, "uptime", ParseUptime) }
func FuzzCmdline(f *testing.F)     { fuzz(f, "cmdline", ParseCmdline) }

func FuzzSockets(f *testing.F) {
	fuzz(f, "thread-self/net/tcp6", func(r io.Reader) ([]Socket, error) { return ParseSockets(r, TCP6) })
}

func BenchmarkProcesses(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			r := Reader{Root: b.TempDir()}
			stat, err := os.ReadFile("testdata/root/proc/4242/stat")
			if err != nil {
				b.Fatal(err)
			}
			for pid := 1; pid <= n; pid++ {
				dir := "proc/" + strconv.Itoa(pid)
				write(b, r, dir+"/stat", string(stat))
				write(b, r, dir+"/cmdline", "/usr/bin/program\x00--flag=value\x00")
				link(b, r.Root, dir+"/exe", "/usr/bin/program")
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				got, err := r.Processes()
				if err != nil || len(got) != n {
					b.Fatalf("Processes() = %d, %v", len(got), err)
				}
			}
		})
	}
	b.Run("this machine", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			got, err := Reader{}.Processes()
			if err != nil {
				b.Fatal(err)
			}
			n = len(got)
		}
		b.ReportMetric(float64(n), "processes")
	})
}
