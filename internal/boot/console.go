package boot

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"talos.internal/internal/sys/kmsg"
)

// Console is a log for people in front of the machine: a line says what and, behind it, with what. It is a slog.Handler. The
// time is that of the kernel's log, into which it writes.
type Console struct {
	out   map[slog.Level]io.Writer
	least slog.Level
	with  string
	mu    *sync.Mutex
}

// NewConsole returns a log that writes lines of the level least and above. Errors go to errs, warnings to warnings, the rest to
// out.
func NewConsole(least slog.Level, out, warnings, errs io.Writer) *Console {
	return &Console{out: map[slog.Level]io.Writer{slog.LevelInfo: out, slog.LevelWarn: warnings, slog.LevelError: errs}, least: least, mu: new(sync.Mutex)}
}

// KernelConsole returns the console that is the kernel's log, which is shown on all consoles of the machine. root is where dev
// is; empty means "/".
func KernelConsole(root string, least slog.Level) (*Console, error) {
	var w [3]io.Writer
	for i, p := range []kmsg.Priority{kmsg.Notice, kmsg.Warning, kmsg.Error} {
		k, err := kmsg.NewWriter(root, kmsg.User, p)
		if err != nil {
			return nil, fmt.Errorf("open the console: %w", err)
		}
		w[i] = k
	}
	return NewConsole(least, w[0], w[1], w[2]), nil
}

// Enabled implements slog.Handler.
func (c *Console) Enabled(_ context.Context, l slog.Level) bool { return l >= c.least }

// Handle implements slog.Handler.
func (c *Console) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("talos: ")
	b.WriteString(r.Message)
	b.WriteString(c.with)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(word(a))
		return true
	})
	b.WriteByte('\n')
	level := slog.LevelInfo
	switch {
	case r.Level >= slog.LevelError:
		level = slog.LevelError
	case r.Level >= slog.LevelWarn:
		level = slog.LevelWarn
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := io.WriteString(c.out[level], b.String())
	return err
}

// word is an attribute as a person reads it: what was done and what went wrong need no name.
func word(a slog.Attr) string {
	switch a.Key {
	case "did", "error":
		return ": " + a.Value.String()
	case "took":
		return " (" + a.Value.String() + ")"
	case "lost":
		return "; " + a.Value.String()
	}
	return " " + a.Key + "=" + a.Value.String()
}

// WithAttrs implements slog.Handler.
func (c *Console) WithAttrs(attrs []slog.Attr) slog.Handler {
	other := *c
	for _, a := range attrs {
		other.with += word(a)
	}
	return &other
}

// WithGroup implements slog.Handler. Groups are not shown.
func (c *Console) WithGroup(string) slog.Handler { return c }

// Errors is where errors are written, for those who have no log.
func (c *Console) Errors() io.Writer { return c.out[slog.LevelError] }

// Environment is that of PID 1, and of what it starts: what the kernel gives PID 1 of its command line is not in it.
func Environment() []string {
	return []string{"HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux", "PLATFORM=" + string(Metal)}
}
