package logring

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// sample is output as a Kubernetes component writes it.
func sample(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "I1123 15:%02d:%02d.%06d    %d reconciler.go:%d] \"Volume attached\" pod=\"kube-system/%s\" volume=%q\n",
			i/60%60, i%60, i*7919%1000000, 1000+i%7, 200+i%90, number(i), number(i + 1)[3:])
	}
	return b.Bytes()[:bytes.LastIndexByte(b.Bytes(), '\n')+1]
}

// BenchmarkWrite writes as a pipe gives it: blocks of 32 KiB; and as a goroutine does: line by line.
func BenchmarkWrite(b *testing.B) {
	text := sample(1 << 20)
	b.Run("blocks", func(b *testing.B) {
		w := newSet(b, 0).Open("x")
		b.SetBytes(32 << 10)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			at := i * 32 << 10 % (len(text) - 32<<10)
			_, _ = w.Write(text[at : at+32<<10])
		}
	})
	b.Run("lines", func(b *testing.B) {
		w := newSet(b, 0).Open("x")
		lines := bytes.SplitAfter(text, []byte("\n"))
		lines = lines[:len(lines)-1]
		b.SetBytes(int64(len(text) / len(lines)))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _ = w.Write(lines[i%len(lines)])
		}
	})
}

// BenchmarkMemoryOf20Services reports the heap that the full logs of 20 services take together, and what they hold.
func BenchmarkMemoryOf20Services(b *testing.B) {
	text := sample(1 << 20)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := newSet(b, 0)
		held := 0
		for i := range 20 {
			id := fmt.Sprintf("service-%02d", i)
			w := s.Open(id)
			for range 12 {
				_, _ = w.Write(text)
			}
			held += s.Ring(id).Stats().HeldBytes
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(held)/(1<<20), "held-MiB")
		runtime.KeepAlive(s)
	}
}

func BenchmarkTail100(b *testing.B) {
	s := newSet(b, 0)
	_, _ = s.Open("x").Write(sample(4 << 20))
	for b.Loop() {
		s.Tail("x", 100)
	}
}
