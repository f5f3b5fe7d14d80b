package memstate

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"talos.internal/resource"
	"talos.internal/state"
	"talos.internal/state/statetest"
)

type spec = statetest.WidgetSpec

var kind = resource.KindOf[spec]()

func TestStore(t *testing.T) {
	statetest.Run(t, func(_ *testing.T, history int) state.State { return New(Options{History: history}) })
}

// TestWatchersLeaveNoGoroutines would fail with a deadlock in synctest if a watcher had one.
func TestWatchersLeaveNoGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := New(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 10)
		for i := range cap(done) {
			opts := state.WatchOptions{Bootstrap: i%2 == 0}
			w, err := st.WatchKind(ctx, kind, opts)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.WatchKind(ctx, kind, opts); err != nil { // never read, never closed
				t.Fatal(err)
			}
			go func() {
				for {
					if _, err := w.Next(t.Context()); err != nil {
						done <- err
						return
					}
				}
			}()
		}
		synctest.Wait()
		cancel()
		for range cap(done) {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Next = %v; want Canceled", err)
			}
		}
	})
}

func TestAbandonedWatcherIsCollected(t *testing.T) {
	st := New(Options{})
	var collected atomic.Bool
	func() {
		w, err := st.WatchKind(context.Background(), kind, state.WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		goruntime.AddCleanup(w.(*watcher), func(b *atomic.Bool) { b.Store(true) }, &collected)
	}()
	for range 100 {
		goruntime.GC()
		if collected.Load() {
			return
		}
		goruntime.Gosched()
	}
	t.Error("a watcher that nobody holds was not collected after 100 collections")
}

func TestBookmarkOfAnotherStoreIsLost(t *testing.T) {
	first, second := New(Options{}), New(Options{})
	var mark state.Bookmark
	for _, st := range []*Store{first, second} {
		w, err := st.WatchKind(t.Context(), kind, state.WatchOptions{BootstrapBookmark: true})
		if err != nil {
			t.Fatal(err)
		}
		events, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if mark == "" {
			mark = events[0].Bookmark
		}
	}
	if _, err := second.WatchKind(t.Context(), kind, state.WatchOptions{From: mark}); !errors.Is(err, state.HistoryLost) {
		t.Errorf("WatchKind from a bookmark of another store = %v; want HistoryLost", err)
	}
}

func TestSpecsOfOneKindAreOfOneType(t *testing.T) {
	st := New(Options{})
	raw := resource.NewRaw(resource.NewMetadata(kind.Ref("raw")), nil, []byte("text: x\n"))
	if _, err := state.Create(t.Context(), st, "a", spec{}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Create(t.Context(), raw, state.CreateOptions{}); !errors.Is(err, state.Invalid) {
		t.Errorf("Create of an undecoded spec beside decoded ones = %v; want Invalid", err)
	}
	md := raw.Metadata()
	md.SetRef(kind.Ref("a"))
	md.SetVersion(1)
	if _, err := st.Update(t.Context(), raw.WithMetadata(md), state.UpdateOptions{}); !errors.Is(err, state.Invalid) {
		t.Errorf("Update by an undecoded spec = %v; want Invalid", err)
	}
	if err := state.Destroy[spec](t.Context(), st, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Create(t.Context(), raw, state.CreateOptions{}); err != nil {
		t.Errorf("Create in an empty kind = %v; want any type", err)
	}
}

// TestTimesIncreaseEvenIfTheClockStands runs where time passes only when everyone waits.
func TestTimesIncreaseEvenIfTheClockStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := New(Options{})
		first, err := state.Create(t.Context(), st, "a", spec{})
		if err != nil {
			t.Fatal(err)
		}
		if err := state.Destroy[spec](t.Context(), st, "a"); err != nil {
			t.Fatal(err)
		}
		second, err := state.Create(t.Context(), st, "a", spec{})
		if err != nil {
			t.Fatal(err)
		}
		if !second.Metadata().Created().After(first.Metadata().Created()) {
			t.Errorf("created %v after %v; want a later time", second.Metadata().Created(), first.Metadata().Created())
		}
		if _, err := st.Update(t.Context(), first, state.UpdateOptions{}); !errors.Is(err, state.VersionConflict) {
			t.Errorf("Update made from the first one = %v; want VersionConflict", err)
		}
	})
}

func TestReadsMakeNoCollections(t *testing.T) {
	st := New(Options{})
	for i := range 10 {
		k := resource.Kind{Namespace: "n", Type: fmt.Sprint(i)}
		_, _ = st.Get(t.Context(), k.Ref("x"))
		_, _ = st.List(t.Context(), k, resource.Query{})
		_, _ = st.Update(t.Context(), resource.Tombstone(k.Ref("x")), state.UpdateOptions{})
		_ = st.Destroy(t.Context(), k.Ref("x"), state.DestroyOptions{})
	}
	if len(st.kinds) > 0 {
		t.Errorf("%d collections after reads; want none: a reader could fill the memory", len(st.kinds))
	}
}

// load is a store with resources to update and watchers that read all they are told.
type load struct {
	st              *Store
	kept            []*resource.Typed[spec]
	delivered, lost atomic.Int64
	stop            func()
}

func newLoad(b *testing.B, watchers int) *load {
	ctx, cancel := context.WithCancel(b.Context())
	l := &load{st: New(Options{})}
	for i := range 100 {
		r, err := state.Create(ctx, l.st, fmt.Sprint(i), spec{Text: "text", Parts: []string{"a", "b"}})
		if err != nil {
			b.Fatal(err)
		}
		l.kept = append(l.kept, r)
	}
	var wg sync.WaitGroup
	for range watchers {
		w, err := l.st.WatchKind(ctx, kind, state.WatchOptions{})
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			for {
				events, err := w.Next(ctx)
				if errors.Is(err, state.HistoryLost) {
					l.lost.Add(1)
					if w, err = l.st.WatchKind(ctx, kind, state.WatchOptions{}); err == nil {
						continue
					}
				}
				if err != nil {
					return
				}
				l.delivered.Add(int64(len(events)))
			}
		})
	}
	l.stop = func() { cancel(); wg.Wait() }
	return l
}

func (l *load) update(b *testing.B, i int) {
	r := l.kept[i%len(l.kept)]
	sp := r.Spec()
	sp.Count++
	u, err := l.st.Update(b.Context(), r.With(r.Metadata(), sp), state.UpdateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	l.kept[i%len(l.kept)] = u.(*resource.Typed[spec])
}

func (l *load) report(b *testing.B, updates int) {
	b.ReportMetric(float64(updates)/b.Elapsed().Seconds(), "updates/s")
	b.ReportMetric(float64(l.delivered.Load())/float64(updates), "delivered/update")
	b.ReportMetric(float64(l.lost.Load()), "cut-off")
}

// BenchmarkUpdate writes as fast as it can, which is faster than many watchers can read: some are cut off.
func BenchmarkUpdate(b *testing.B) {
	for _, watchers := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			l := newLoad(b, watchers)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				l.update(b, i)
			}
			b.StopTimer()
			l.report(b, b.N)
			l.stop()
		})
	}
}

// BenchmarkPaced writes 20,000 updates a second, 200 every 10 ms, for 100 watchers, and reports how
// much of the time the writer was at work. Each iteration is one such burst.
func BenchmarkPaced(b *testing.B) {
	const burst, every = 200, 10 * time.Millisecond
	l := newLoad(b, 100)
	var busy time.Duration
	b.ResetTimer()
	start := time.Now()
	for n := range b.N {
		time.Sleep(time.Until(start.Add(time.Duration(n) * every))) // catches up if the machine was busy
		began := time.Now()
		for i := range burst {
			l.update(b, n*burst+i)
		}
		busy += time.Since(began)
	}
	for range 500 { // the last ones may still be read
		if l.delivered.Load() == int64(b.N)*burst*100 {
			break
		}
		time.Sleep(every)
	}
	b.StopTimer()
	l.report(b, b.N*burst)
	b.ReportMetric(100*busy.Seconds()/b.Elapsed().Seconds(), "writer-busy-%")
	l.stop()
}

func fill(tb testing.TB, st state.State, n int) {
	for i := range n {
		if _, err := state.Create(tb.Context(), st, fmt.Sprintf("id-%06d", i), spec{Text: "text", Parts: []string{"a", "b"}}); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	st := New(Options{})
	fill(b, st, 1000)
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = st.Get(b.Context(), kind.Ref("id-000500"))
		}
	})
	b.Run("get and spec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := state.Get[spec](b.Context(), st, "id-000500")
			if err != nil {
				b.Fatal(err)
			}
			_ = r.Spec()
		}
	})
	b.Run("list of 1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = st.List(b.Context(), kind, resource.Query{})
		}
	})
	q := resource.Query{Labels: []resource.LabelQuery{{{Key: "no"}}}}
	b.Run("query over 1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = st.List(b.Context(), kind, q)
		}
	})
}

// BenchmarkMemory reports what a resource takes in the store, without the history (of one event).
func BenchmarkMemory(b *testing.B) {
	const n = 20000
	for b.Loop() {
		var before, after goruntime.MemStats
		goruntime.GC()
		goruntime.ReadMemStats(&before)
		st := New(Options{History: 1})
		fill(b, st, n)
		goruntime.GC()
		goruntime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/resource")
		goruntime.KeepAlive(st)
	}
}
