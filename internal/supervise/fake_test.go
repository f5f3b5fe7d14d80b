package supervise

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// actor is a Runner that does what a test tells it.
type actor struct {
	stopTakes time.Duration // after the context has ended
	deaf      bool          // only Kill ends it
	stuck     chan struct{} // if not nil, nothing ends it but closing this
	silent    bool          // does not say that it has started

	mu   sync.Mutex
	ends chan error // ends the run that is under way
	runs int
	live int
	most int // of live, ever
}

func (a *actor) Run(ctx context.Context, env Env) error {
	a.mu.Lock()
	a.ends = make(chan error, 1)
	ends := a.ends
	a.runs++
	a.live++
	a.most = max(a.most, a.live)
	run := a.runs
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.live--
		a.mu.Unlock()
	}()
	fmt.Fprintf(env.Log, "run %d\n", run)
	if !a.silent {
		env.Started(fmt.Sprintf("run %d", run))
	}
	select {
	case err := <-ends:
		return err
	case <-ctx.Done():
	}
	if a.stuck != nil {
		<-a.stuck
		return nil
	}
	if a.deaf {
		<-env.Kill
		return fmt.Errorf("killed")
	}
	late := time.NewTimer(a.stopTakes)
	defer late.Stop()
	select {
	case <-late.C:
		return nil
	case <-env.Kill:
		return fmt.Errorf("killed")
	}
}

// end ends the run that is under way, if there is one.
func (a *actor) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live > 0 {
		select {
		case a.ends <- err:
		default:
		}
	}
}

// memLogs is a Logs that keeps everything.
type memLogs struct {
	mu    sync.Mutex
	lines map[string]string
}

func (l *memLogs) Open(id string) io.WriteCloser { return memLog{l, id} }

func (l *memLogs) Tail(id string, n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(l.lines[id], "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

type memLog struct {
	l  *memLogs
	id string
}

func (w memLog) Write(p []byte) (int, error) {
	w.l.mu.Lock()
	defer w.l.mu.Unlock()
	w.l.lines[w.id] += string(p)
	return len(p), nil
}

func (w memLog) Close() error { return nil }

// bubble runs f with a supervisor in virtual time, and stops everything after it.
func bubble(t *testing.T, f func(t *testing.T, s *Supervisor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(&memLogs{lines: map[string]string{}})
		f(t, s)
		s.Shutdown(t.Context(), time.Hour)
		synctest.Wait()
	})
}

// load loads services and fails the test if that cannot be done.
func load(t *testing.T, s *Supervisor, services ...Service) {
	t.Helper()
	if err := s.Load(services...); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, s *Supervisor, ids ...string) {
	t.Helper()
	if err := s.Start(ids...); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// want checks state and message once nothing moves.
func want(t *testing.T, s *Supervisor, id string, state State, message string) {
	t.Helper()
	synctest.Wait()
	st, err := s.Status(id)
	if err != nil {
		t.Fatal(err)
	}
	if st.State != state || st.Message != message {
		t.Fatalf("%s is %v %q; want %v %q\n%s", id, st.State, st.Message, state, message, story(st))
	}
}

// story is the history of a service, for people.
func story(st Status) string {
	var b strings.Builder
	for _, e := range st.Events {
		fmt.Fprintf(&b, "%v: %s\n", e.State, e.Message)
	}
	return b.String()
}

func status(t *testing.T, s *Supervisor, id string) Status {
	t.Helper()
	st, err := s.Status(id)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// box is a variable that a test shares with what runs beside it. A synctest.Wait orders what others did before what the test
// does then, and not the other way round.
type box[T any] struct {
	mu sync.Mutex
	v  T
}

func (b *box[T]) get() T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.v
}

func (b *box[T]) set(v T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.v = v
}
