package boot

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"talos.internal/internal/sys/proc"
)

// level2 are the features of x86-64-v2 (the System V ABI for x86-64, section 3.1.1) as the kernel calls them. What Kubernetes
// and its images are built for may use them without asking.
var level2 = []string{"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}

// closed are the arguments of the kernel without which a machine does not start (contract.md, section 5.6).
var closed = []proc.Param{{Key: "slab_nomerge"}, {Key: "pti", Value: "on"}}

// fit returns why a machine cannot or must not run this system; nil if it can. What is not known is no reason.
func fit(arch string, flags []string, cmdline []proc.Param) error {
	if arch == "amd64" && len(flags) > 0 {
		var lacks []string
		for _, want := range level2 {
			if !slices.Contains(flags, want) {
				lacks = append(lacks, want)
			}
		}
		if len(lacks) > 0 {
			return fmt.Errorf("the processor has no %s, which x86-64-v2 has: use a newer one, or give the virtual machine another model: %w",
				strings.Join(lacks, " "), syscall.ENOTSUP)
		}
	}
	for _, want := range closed {
		found := slices.ContainsFunc(cmdline, func(p proc.Param) bool { return p.Key == want.Key && p.Value == want.Value })
		if !found {
			text := want.Key
			if want.Value != "" {
				text += "=" + want.Value
			}
			return fmt.Errorf("the kernel's command line has no %s: without it the kernel is less protected than this system promises: %w", text, syscall.EINVAL)
		}
	}
	return nil
}

// fits applies fit to the facts.
func (f Facts) fits() error { return fit(runtime.GOARCH, f.CPUFlags, f.Cmdline) }
