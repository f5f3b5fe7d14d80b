// Package steps shows how a long piece of work goes on: each step with the time that it took, and while it goes on what it
// waits for, and since when.
//
// On a terminal the line of the present step is rewritten all the time. Elsewhere each step is a line when it ends, and one
// that takes long says now and then what it waits for, so that a log stays short.
package steps

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	redraw = 200 * time.Millisecond // of the line on a terminal
	// quiet is how long a step says nothing elsewhere.
	quiet = 20 * time.Second
)

// Log shows steps, one after the other. Its methods, and those of its steps, may be called from several goroutines.
type Log struct {
	w     io.Writer
	now   func() time.Time
	width int // of the terminal; 0 if it is none

	mu      sync.Mutex
	current *Step
	drawn   bool // a line is there that is to be rewritten
}

// New returns a log to w. now tells the time, by which steps are measured; getenv returns environment variables.
func New(w io.Writer, now func() time.Time, getenv func(string) string) *Log {
	return &Log{w: w, now: now, width: width(w, getenv)}
}

// width returns the width of the terminal w; 0 if it is none, or cannot rewrite lines.
func width(w io.Writer, getenv func(string) string) int {
	f, ok := w.(*os.File)
	if !ok || getenv("TERM") == "dumb" || getenv("TERM") == "" || getenv("CI") != "" {
		return 0
	}
	// A character device is as near as one gets without a system call of its own.
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return 0
	}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n >= 40 {
		return n
	}
	return 80
}

// Step is a step that has begun.
type Step struct {
	log     *Log
	name    string
	began   time.Time
	waiting string    // what for
	since   time.Time // when that began
	said    time.Time // when something was last printed, for who reads no terminal
	stop    chan struct{}
	stopped sync.WaitGroup
	ended   bool
}

// Begin begins a step. The caller ends it.
func (l *Log) Begin(name string) *Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &Step{log: l, name: clean(name), began: l.now(), stop: make(chan struct{})}
	s.since, s.said = s.began, s.began
	l.current = s
	l.draw()
	every := redraw
	if l.width == 0 {
		every = time.Second
	}
	s.stopped.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				l.tick(s)
			}
		}
	})
	return s
}

// Do takes a step.
func (l *Log) Do(name string, f func(s *Step) error) error {
	s := l.Begin(name)
	err := f(s)
	s.End(err)
	return err
}

// Waiting says what the step waits for now.
func (s *Step) Waiting(what string) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if what = clean(what); what != s.waiting && !s.ended {
		s.waiting, s.since = what, s.log.now()
		s.log.draw()
	}
}

// Note prints a line that stays.
func (s *Step) Note(format string, args ...any) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.said = s.log.now()
	s.log.print("          " + clean(fmt.Sprintf(format, args...)))
}

// End ends a step. The error is not printed: whoever ends the work does that.
func (s *Step) End(err error) {
	s.log.mu.Lock()
	if s.ended {
		s.log.mu.Unlock()
		return
	}
	s.ended = true
	s.log.current = nil
	text := fmt.Sprintf("%8s  %s", seconds(s.log.now().Sub(s.began)), s.name)
	if err != nil {
		text += ": it did not work"
	}
	s.log.print(text)
	s.log.mu.Unlock()
	close(s.stop)
	s.stopped.Wait()
}

// seconds is a duration for people, to a tenth of a second.
func seconds(d time.Duration) string {
	if d < time.Minute {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	}
	return d.Round(time.Second).String()
}

// tick shows that time goes by.
func (l *Log) tick(s *Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.ended {
		return
	}
	l.draw()
	if l.width == 0 && l.now().Sub(s.said) >= quiet {
		s.said = l.now()
		l.print("          " + s.text())
	}
}

// text is the step as it is now.
func (s *Step) text() string {
	now := s.log.now()
	if s.waiting == "" {
		return fmt.Sprintf("%s (%s)", s.name, now.Sub(s.began).Round(time.Second))
	}
	return fmt.Sprintf("%s: waiting %s for %s", s.name, now.Sub(s.since).Round(time.Second), s.waiting)
}

// print prints a line that stays, above the one that is rewritten. The lock is held.
func (l *Log) print(line string) {
	if l.drawn {
		line = "\r\033[K" + line
		l.drawn = false
	}
	// That progress cannot be shown is no reason to end the work.
	_, _ = io.WriteString(l.w, line+"\n")
	l.draw()
}

// draw rewrites the line of the present step. The lock is held.
func (l *Log) draw() {
	if l.width == 0 || l.current == nil {
		return
	}
	s := l.current
	line := fmt.Sprintf("%7s.  %s", l.now().Sub(s.began).Round(time.Second), s.text())
	l.drawn = true
	_, _ = io.WriteString(l.w, "\r\033[K"+fit(line, l.width-1)) // as above
}

// fit cuts a line to a width.
func fit(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-3]) + "..."
}

// clean makes a text one line without what could disturb a terminal: texts come from machines.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
}
