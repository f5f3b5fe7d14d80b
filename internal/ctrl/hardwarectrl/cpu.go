package hardwarectrl

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"

	"talos.internal/controller"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource/hardware"
	"talos.internal/state"
)

// CPUInfoController shows the cores of the CPUs.
type CPUInfoController struct{ Proc proc.Reader }

// Name implements [controller.Controller].
func (CPUInfoController) Name() string { return "hardware.CPUInfoController" }

// Inputs implements [controller.Controller].
func (CPUInfoController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (CPUInfoController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[hardware.CPUCore]()}
}

// Run implements [controller.Controller].
func (c CPUInfoController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	cpus, err := c.Proc.CPUInfo()
	if err != nil {
		return err
	}
	for i, core := range coresOf(cpus) {
		if err := state.Put(ctx, rt, strconv.Itoa(i), core); err != nil {
			return err
		}
	}
	return nil
}

// coresOf returns the cores that have the logical CPUs cpus, in the order of sockets and cores.
func coresOf(cpus []proc.CPUInfo) []hardware.CPUCore {
	type key struct{ socket, core string }
	at := map[key]int{}
	var out []hardware.CPUCore
	for _, c := range cpus {
		// Kernels of other architectures do not tell: each CPU counts as a core of the one socket.
		k := key{socketOf(c), cmp.Or(c.CoreID, strconv.Itoa(int(c.Processor)))}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, hardware.CPUCore{
				Socket: k.socket, CoreID: k.core, VendorID: c.VendorID, CPUFamily: c.Family, Model: c.Model, ModelName: c.ModelName,
				Stepping: c.Stepping, Microcode: c.Microcode, CacheSize: c.CacheSize, CoresPerSocket: c.Cores, ThreadsPerSocket: c.Siblings,
				Flags: c.Flags, Bugs: c.Bugs, BogoMips: c.BogoMIPS, AddressSizes: c.AddressSizes,
			})
		}
		out[i].LogicalCPUs = append(out[i].LogicalCPUs, c.Processor)
	}
	slices.SortStableFunc(out, func(a, b hardware.CPUCore) int {
		return cmp.Or(compareNumbers(a.Socket, b.Socket), compareNumbers(a.CoreID, b.CoreID))
	})
	return out
}

func socketOf(c proc.CPUInfo) string { return cmp.Or(c.PhysicalID, "0") }

// compareNumbers orders "2" before "10", and what is no number by its text.
func compareNumbers(a, b string) int {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX != nil || errY != nil {
		return cmp.Compare(a, b)
	}
	return cmp.Compare(x, y)
}

// processorsOf returns the sockets that have the logical CPUs cpus, whose frequencies are freqs as far as the kernel tells.
func processorsOf(cpus []proc.CPUInfo, freqs []proc.CPUFreq) []hardware.Processor {
	at := map[string]int{}
	socketByCPU := map[int]string{}
	var out []hardware.Processor
	for _, c := range cpus {
		socket := socketOf(c)
		socketByCPU[int(c.Processor)] = socket
		i, ok := at[socket]
		if !ok {
			i = len(out)
			at[socket] = i
			out = append(out, hardware.Processor{Socket: socket, Manufacturer: c.VendorID, ProductName: c.ModelName})
		}
		out[i].ThreadCount++
	}
	for _, core := range coresOf(cpus) {
		p := &out[at[core.Socket]]
		p.CoreEnabled++
		p.CoreCount = max(core.CoresPerSocket, p.CoreEnabled) // the kernel counts those that are off line, too
	}
	for _, f := range freqs {
		if i, ok := at[socketByCPU[f.CPU]]; ok {
			out[i].MaxSpeed = max(out[i].MaxSpeed, uint32(f.Max/1000))
		}
	}
	slices.SortStableFunc(out, func(a, b hardware.Processor) int { return compareNumbers(a.Socket, b.Socket) })
	return out
}
