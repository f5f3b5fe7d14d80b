package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"talos.internal/client"
	"talos.internal/internal/sys/proc"
	"talos.internal/secret"
)

// The benchmarks report what docs/node-bench.md has a table of: make bench-node. An iteration is one start, one look at the
// memory, or 1,000 calls.

// quantile returns the value that a share q of the samples, which it sorts, does not exceed.
func quantile(samples []float64, q float64) float64 {
	slices.Sort(samples)
	return samples[min(int(q*float64(len(samples))), len(samples)-1)]
}

// BenchmarkStart is the time from the start of PID 1, by the kernel's account, until an administrator's call is answered. What
// runc does between making the process and executing ours is in it. The CPU time of all processes of the node until then is
// reported too: on a computer that is busy with other things it says more.
func BenchmarkStart(b *testing.B) {
	l := newLab(b, "e2e-bench-start", 60, options{}).ready()
	var took, work []float64
	for b.Loop() {
		b.StopTimer()
		if err := l.p.StopNode(l.context(), l.name, l.control().Name); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := l.p.StartNode(l.context(), l.name, l.control().Name); err != nil {
			b.Fatal(err)
		}
		c := l.as(l.control(), secret.RoleAdmin)
		for ctx := l.context(); ; {
			call, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			err := version(call, c)
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				b.Fatalf("no answer after %v: %v", limit, err)
			}
			_ = c.Close() // a new client does not wait before it tries again
			time.Sleep(2 * time.Millisecond)
			c = l.as(l.control(), secret.RoleAdmin)
		}
		up, err := proc.Reader{}.Uptime()
		if err != nil {
			b.Fatal(err)
		}
		l.reflect()
		p, err := proc.Reader{}.Process(l.control().PID)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, (up.Up-p.StartTime)*1000)
		all, err := processes(l.control())
		if err != nil {
			b.Fatal(err)
		}
		cpu := 0.0
		for _, p := range all {
			cpu += p.CPUTime() * 1000
		}
		work = append(work, cpu)
	}
	b.ReportMetric(quantile(work, 0.5), "ms-cpu-median")
	b.ReportMetric(quantile(took, 0.5), "ms-median")
	b.ReportMetric(quantile(took, 0), "ms-least")
	b.ReportMetric(quantile(took, 1), "ms-most")
}

// BenchmarkMemory is the resident memory of a control-plane node's programs after a minute of nothing but health checks.
func BenchmarkMemory(b *testing.B) {
	l := newLab(b, "e2e-bench-memory", 61, options{}).ready()
	time.Sleep(time.Minute)
	names := map[string]string{"init": "PID1", "apid": "apid", "trustd": "trustd", "containerd": "containerd"}
	most := map[string]float64{}
	for b.Loop() {
		all, err := processes(l.control())
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range all {
			if unit, ok := names[program(p)]; ok {
				most[unit] = max(most[unit], float64(p.Resident)/(1<<20))
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	for unit, mib := range most {
		b.ReportMetric(mib, "MiB-"+unit)
	}
}

// BenchmarkCall is a unary call through apid, over TLS and the bridge of this computer, one after the other on one connection.
func BenchmarkCall(b *testing.B) {
	l := newLab(b, "e2e-bench-call", 62, options{workers: 1}).ready()
	admin := l.as(l.control(), secret.RoleAdmin)
	for name, ctx := range map[string]context.Context{
		"here":      context.Background(),
		"forwarded": client.WithNode(context.Background(), l.worker().Endpoint),
	} {
		b.Run(name, func(b *testing.B) {
			var took []float64
			for b.Loop() {
				for range 1000 {
					start := time.Now()
					if err := version(ctx, admin); err != nil {
						b.Fatal(err)
					}
					took = append(took, float64(time.Since(start))/float64(time.Millisecond))
				}
			}
			b.ReportMetric(quantile(took, 0.5), "ms-p50")
			b.ReportMetric(quantile(took, 0.99), "ms-p99")
		})
	}
}
