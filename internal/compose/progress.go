package compose

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// heartbeat is how often a running build says how far it is.
const heartbeat = 20 * time.Second

// progress writes what happens, a line at a time, each with the time since the start.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	began time.Time
	total int // components to build
	ended int
}

func newProgress(w io.Writer, total int) *progress {
	if w == nil {
		w = io.Discard
	}
	return &progress{w: w, began: time.Now(), total: total}
}

func (p *progress) sayf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// line is one component's part of the progress.
type line struct {
	all   *progress
	name  string
	began time.Time
	stop  chan struct{}
	beats sync.WaitGroup
	size  int64         // of the result, for the closing line
	cpu   time.Duration // that compiling and linking took; unlike the time passed, it is comparable between machines that do other things too

	mu    sync.Mutex
	known map[string]bool // import paths that the component is made of
	done  int             // of those, compiled by this build
}

// start says that work on a component begins, and why, and then how far it is at each heartbeat.
func (p *progress) start(name, version, reason string) *line {
	l := &line{all: p, name: name, began: time.Now(), stop: make(chan struct{})}
	l.sayf("start  %s (%s)", version, reason)
	l.beats.Go(func() {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
				l.mu.Lock()
				done, known := l.done, len(l.known)
				l.mu.Unlock()
				l.sayf("       %d of at most %d packages compiled", done, known)
			}
		}
	})
	return l
}

func (l *line) sayf(format string, args ...any) {
	at := time.Since(l.all.began).Round(time.Second)
	l.all.sayf("%2d:%02d  %-16s %s", int(at.Minutes()), int(at.Seconds())%60, l.name, fmt.Sprintf(format, args...))
}

// end says how it went. It is called once.
func (l *line) end(err error) {
	close(l.stop)
	l.beats.Wait()
	l.all.mu.Lock()
	l.all.ended++
	count := fmt.Sprintf("%d/%d", l.all.ended, l.all.total)
	l.all.mu.Unlock()
	took := time.Since(l.began).Round(100 * time.Millisecond)
	switch {
	case err != nil:
		l.sayf("FAILED after %v (%s): %v", took, count, err)
	case l.size > 0:
		l.sayf("done   %v (%v of CPU), %s (%s)", took, l.cpu.Round(100*time.Millisecond), megabytes(l.size), count)
	default:
		l.sayf("done   %v (%s)", took, count)
	}
}

// packages sets what the component is made of.
func (l *line) packages(all []pkg) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = make(map[string]bool, len(all))
	for _, p := range all {
		l.known[p.path] = true
	}
}

// compiled counts text if it is the import path of a package of the component.
func (l *line) compiled(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known[text] {
		return false
	}
	l.done++
	return true
}

// compilerOutput takes what go build -v prints: it counts the packages and keeps the rest.
// The go command writes from one goroutine, so it needs no lock.
type compilerOutput struct {
	line    *line
	partial []byte
	kept    bytes.Buffer
}

func (o *compilerOutput) Write(text []byte) (int, error) {
	o.partial = append(o.partial, text...)
	for {
		before, after, found := bytes.Cut(o.partial, []byte("\n"))
		if !found {
			return len(text), nil
		}
		if !o.line.compiled(string(before)) {
			o.kept.Write(before)
			o.kept.WriteByte('\n')
		}
		o.partial = after
	}
}

// rest is all that is not the name of a package.
func (o *compilerOutput) rest() string { return o.kept.String() + string(o.partial) }

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = append([]string{fmt.Sprintf("… %d lines before", len(lines)-n)}, lines[len(lines)-n:]...)
	}
	return strings.Join(lines, "\n")
}
