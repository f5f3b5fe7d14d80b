package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/devnode"
	"talos.internal/internal/sys/mount"
)

// Mount brings a mount to what is declared; if it is so already nothing is done.
type Mount mount.Spec

// String returns what is declared.
func (m Mount) String() string {
	var b strings.Builder
	switch {
	case m.Type != "":
		fmt.Fprintf(&b, "mount %s on %s", m.Type, m.Target)
	case m.Flags&mount.Bind != 0:
		fmt.Fprintf(&b, "bind %s on %s", m.Source, m.Target)
	default:
		fmt.Fprintf(&b, "change %s", m.Target)
	}
	var words []string
	for _, w := range []string{(m.Flags &^ mount.Bind).String(), m.Propagation.String(), m.Data} {
		if w != "" {
			words = append(words, w)
		}
	}
	if len(words) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(words, ","))
	} else if m.Type == "" && m.Flags == 0 {
		b.WriteString(" (rw)")
	}
	return b.String()
}

func (m Mount) run(_ context.Context, h *Host, say func(string)) error {
	steps, err := mount.Ensure(h.Mounts, mount.Spec(m))
	for _, s := range steps {
		say(s.String())
	}
	return err
}

// Nodes makes devices and links that are missing.
type Nodes []devnode.Node

// String lists their paths.
func (n Nodes) String() string {
	var names []string
	for _, x := range n {
		names = append(names, x.Path)
	}
	return "make " + strings.Join(names, " ")
}

func (n Nodes) run(_ context.Context, h *Host, say func(string)) error {
	made, err := h.Files.MakeNodes(n...)
	if len(made) > 0 {
		say("made " + strings.Join(made, " "))
	}
	return err
}

// Dir makes a directory, or gives one its mode and owner.
type Dir struct {
	Path     string
	Mode     fs.FileMode
	UID, GID int
}

// String returns the directory with mode and owner.
func (d Dir) String() string {
	return fmt.Sprintf("directory %s %04o %d:%d", d.Path, unixMode(d.Mode), d.UID, d.GID)
}

func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

func (d Dir) run(_ context.Context, h *Host, _ func(string)) error {
	return h.Files.MakeDir(d.Path, d.Mode, d.UID, d.GID)
}

// Link makes a symbolic link.
type Link struct{ Path, Target string }

// String returns the link.
func (l Link) String() string { return fmt.Sprintf("link %s to %s", l.Path, l.Target) }

func (l Link) run(_ context.Context, h *Host, _ func(string)) error {
	return h.Files.MakeLink(l.Path, l.Target)
}

// Limit sets both limits of a resource of this process, or what it may have of it.
type Limit struct {
	Resource string // without RLIMIT_
	Value    uint64
}

// String returns the limit.
func (l Limit) String() string { return fmt.Sprintf("limit %s %d", l.Resource, l.Value) }

func (l Limit) run(_ context.Context, h *Host, say func(string)) error {
	got, err := h.Processes.SetLimit(l.Resource, l.Value)
	if err == nil && got != l.Value {
		say(fmt.Sprintf("limit %s is %d; more is not allowed here", l.Resource, got))
	}
	return err
}

// Adopt makes this process the parent of its orphaned descendants.
type Adopt struct{}

// String returns what it does.
func (Adopt) String() string { return "become subreaper" }

func (Adopt) run(_ context.Context, h *Host, _ func(string)) error { return h.Processes.AdoptOrphans() }

// Vacate moves this process into a group of its own.
type Vacate struct{ Leaf string }

// String returns what it does.
func (v Vacate) String() string { return "move PID 1 into cgroup " + v.Leaf }

func (v Vacate) run(_ context.Context, h *Host, _ func(string)) error { return h.Groups.Vacate(v.Leaf) }

// Group makes a cgroup and limits it. That a limit cannot be set is said and no error.
type Group struct {
	Path   string
	Limits cgroup.Limits
}

// String returns the group with its limits.
func (g Group) String() string {
	text := "cgroup " + g.Path
	for _, m := range []struct {
		name string
		n    *int64
	}{{"min", g.Limits.MemoryMin}, {"low", g.Limits.MemoryLow}, {"max", g.Limits.MemoryMax}} {
		if m.n != nil {
			text += fmt.Sprintf(", memory %s %d MiB", m.name, *m.n>>20)
		}
	}
	if w := g.Limits.CPUWeight; w != nil {
		text += fmt.Sprintf(", cpu weight %d", *w)
	}
	return text
}

func (g Group) run(_ context.Context, h *Host, say func(string)) error {
	if err := h.Groups.Create(g.Path); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			err = fmt.Errorf("%w; the container needs cgroups that it may write to", err)
		}
		return err
	}
	if g.Limits != (cgroup.Limits{}) {
		if err := h.Groups.SetLimits(g.Path, g.Limits); err != nil {
			say("the limits are not set: " + err.Error())
		}
	}
	return nil
}

// Call is a step of the caller's own.
type Call struct {
	What string
	Func func(context.Context) error
}

// String returns What.
func (c Call) String() string { return c.What }

func (c Call) run(ctx context.Context, _ *Host, _ func(string)) error { return c.Func(ctx) }
