package hardwarectrl

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/hardware"
	"talos.internal/resource/perf"
	"talos.internal/resource/runtime"
)

// cpu returns a logical CPU of a machine with two sockets of two cores of two threads, numbered as Intel's are.
func cpu(n uint32, socket, core string) proc.CPUInfo {
	return proc.CPUInfo{Processor: n, PhysicalID: socket, CoreID: core, Cores: 2, Siblings: 4, VendorID: "GenuineIntel", ModelName: "Xeon"}
}

func TestCoresAndProcessors(t *testing.T) {
	core := func(socket, id string, cpus ...uint32) hardware.CPUCore {
		return hardware.CPUCore{Socket: socket, CoreID: id, LogicalCPUs: cpus, VendorID: "GenuineIntel", ModelName: "Xeon", CoresPerSocket: 2, ThreadsPerSocket: 4}
	}
	for _, tt := range []struct {
		name       string
		cpus       []proc.CPUInfo
		freqs      []proc.CPUFreq
		cores      []hardware.CPUCore
		processors []hardware.Processor
	}{
		{name: "nothing"},
		{
			name: "two sockets",
			cpus: []proc.CPUInfo{
				cpu(0, "0", "0"), cpu(1, "1", "0"), cpu(2, "0", "10"), cpu(3, "1", "2"), cpu(4, "0", "0"), cpu(5, "1", "0"), cpu(6, "0", "10"), cpu(7, "1", "2"),
			},
			freqs: []proc.CPUFreq{{CPU: 0, Max: 3500000}, {CPU: 2, Max: 3600000}, {CPU: 1}, {CPU: 99, Max: 1}},
			cores: []hardware.CPUCore{core("0", "0", 0, 4), core("0", "10", 2, 6), core("1", "0", 1, 5), core("1", "2", 3, 7)},
			processors: []hardware.Processor{
				{Socket: "0", Manufacturer: "GenuineIntel", ProductName: "Xeon", CoreCount: 2, CoreEnabled: 2, ThreadCount: 4, MaxSpeed: 3600},
				{Socket: "1", Manufacturer: "GenuineIntel", ProductName: "Xeon", CoreCount: 2, CoreEnabled: 2, ThreadCount: 4},
			},
		},
		{
			name:  "a core that is off line",
			cpus:  []proc.CPUInfo{cpu(0, "0", "0")},
			cores: []hardware.CPUCore{core("0", "0", 0)},
			processors: []hardware.Processor{
				{Socket: "0", Manufacturer: "GenuineIntel", ProductName: "Xeon", CoreCount: 2, CoreEnabled: 1, ThreadCount: 1},
			},
		},
		{
			name:       "a kernel that tells no topology",
			cpus:       []proc.CPUInfo{{Processor: 0, VendorID: "0x41"}, {Processor: 1, VendorID: "0x41"}},
			cores:      []hardware.CPUCore{{Socket: "0", CoreID: "0", LogicalCPUs: []uint32{0}, VendorID: "0x41"}, {Socket: "0", CoreID: "1", LogicalCPUs: []uint32{1}, VendorID: "0x41"}},
			processors: []hardware.Processor{{Socket: "0", Manufacturer: "0x41", CoreCount: 2, CoreEnabled: 2, ThreadCount: 2}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.cores, coresOf(tt.cpus)); diff != "" {
				t.Errorf("coresOf (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.processors, processorsOf(tt.cpus, tt.freqs)); diff != "" {
				t.Errorf("processorsOf (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryCounterIsCopied sets all counters of the kernel to different values and holds that each arrives.
func TestEveryCounterIsCopied(t *testing.T) {
	var m proc.MemInfo
	fill(reflect.ValueOf(&m).Elem())
	out := reflect.ValueOf(memoryOf(m))
	seen := map[uint64]string{}
	for i := range out.NumField() {
		name, v := out.Type().Field(i).Name, out.Field(i).Uint()
		if name == "Used" {
			continue
		}
		if v == 0 || seen[v] != "" {
			t.Errorf("%s = %d, which is also %s", name, v, seen[v])
		}
		seen[v] = name
	}
	var c proc.CPUStat
	fill(reflect.ValueOf(&c).Elem())
	sum := 0.0
	times := reflect.ValueOf(timeOf(c))
	for i := range times.NumField() {
		if v := times.Field(i).Float(); v == 0 {
			t.Errorf("%s is not copied", times.Type().Field(i).Name)
		} else {
			sum += v
		}
	}
	if want := c.User + c.Nice + c.System + c.Idle + c.IOWait + c.IRQ + c.SoftIRQ + c.Steal + c.Guest + c.GuestNice; sum != want {
		t.Errorf("the times are %v together; want %v", sum, want)
	}
}

func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(i + 1))
		case reflect.Float64:
			f.SetFloat(float64(int(1) << i))
		}
	}
}

func TestUsed(t *testing.T) {
	if got := used(proc.MemInfo{MemTotal: 100, MemFree: 20, Buffers: 10, Cached: 30}); got != 40 {
		t.Errorf("used = %d; want 40", got)
	}
	if got := used(proc.MemInfo{MemTotal: 100, MemFree: 90, Cached: 30}); got != 0 {
		t.Errorf("used = %d; want 0, not less", got)
	}
}

const (
	cpuinfo = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\n\n"
	stat    = "cpu  100 0 50 900 0 0 0 0 0 0\ncpu0 100 0 50 900 0 0 0 0 0 0\nintr 5\nctxt 7\nbtime 1700000000\nprocesses 9\nprocs_running 1\nprocs_blocked 0\n"
	meminfo = "MemTotal: 1000 kB\nMemFree: 400 kB\nBuffers: 50 kB\nCached: 150 kB\n"
)

func TestMachineIsShown(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/cpuinfo", cpuinfo)
	write("proc/stat", stat)
	write("proc/meminfo", meminfo)
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.WantNever[hardware.SystemInformation](h, hardware.SystemInformationID) // no firmware
		controllertest.WantThat(h, "0", "be an EPYC", func(r *resource.Typed[hardware.CPUCore]) bool { return r.Spec().ModelName == "AMD EPYC" })
		controllertest.Want(h, "0", hardware.Processor{
			Socket: "0", Manufacturer: "AuthenticAMD", ProductName: "AMD EPYC", CoreCount: 1, CoreEnabled: 1, ThreadCount: 1,
		})
		controllertest.Want(h, perf.MemoryID, perf.Memory{Total: 1000, Used: 400, Buffers: 50, Cached: 150})
		controllertest.WantThat(h, perf.CPUID, "count", func(r *resource.Typed[perf.CPU]) bool {
			return r.Spec().ContextSwitches == 7 && len(r.Spec().CPUs) == 1 && r.Spec().Total.User == 1
		})

		write("proc/meminfo", meminfo+"Dirty: 3 kB\n")
		h.Advance(statsEvery - 1)
		controllertest.Want(h, perf.MemoryID, perf.Memory{Total: 1000, Used: 400, Buffers: 50, Cached: 150, Dirty: 3})

		write("sys/class/dmi/id/sys_vendor", "QEMU\n")
		write("sys/class/dmi/id/product_uuid", "03000200-0400-0500-0006-000700080009\n")
		controllertest.Create(h, "0x0f", runtime.MetaKey{Value: "5d2f1c3a-0000-4000-8000-000000000001"})
		controllertest.Want(h, hardware.SystemInformationID, hardware.SystemInformation{
			Manufacturer: "QEMU", UUID: "5d2f1c3a-0000-4000-8000-000000000001",
		})
		h.Remove(resource.RefOf[runtime.MetaKey]("0x0f"))
		controllertest.Want(h, hardware.SystemInformationID, hardware.SystemInformation{
			Manufacturer: "QEMU", UUID: "03000200-0400-0500-0006-000700080009",
		})
	}, Controllers(Deps{Proc: proc.Reader{Root: root}})...)
}
