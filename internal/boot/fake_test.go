package boot

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/devnode"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// recorder is all of a Host but the mounts: it records what it is told and can fail at any of it.
type recorder struct {
	failAt int // the call, from 1, that fails; 0 for none
	others []string
	stop   func(ctx context.Context) error

	mu  sync.Mutex
	log []string
}

func (r *recorder) record(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	what := fmt.Sprintf(format, args...)
	r.log = append(r.log, what)
	if len(r.log) == r.failAt {
		return fmt.Errorf("%s: %w", what, syscall.EPERM)
	}
	return nil
}

func (r *recorder) calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

func (r *recorder) MakeDir(p string, _ fs.FileMode, _, _ int) error {
	return r.record("directory %s", p)
}
func (r *recorder) MakeLink(p, _ string) error { return r.record("link %s", p) }
func (r *recorder) MakeNodes(nodes ...devnode.Node) ([]string, error) {
	return nil, r.record("%d nodes", len(nodes))
}
func (r *recorder) Empty(p string, keep []string) error { return r.record("empty %s but %v", p, keep) }
func (r *recorder) Copy(from, to string, _ fs.FileMode) error {
	return r.record("copy %s to %s", from, to)
}
func (r *recorder) SyncAt(p string) error                     { return r.record("sync %s", p) }
func (r *recorder) Vacate(leaf string) error                  { return r.record("vacate %s", leaf) }
func (r *recorder) Create(p string) error                     { return r.record("group %s", p) }
func (r *recorder) SetLimits(p string, _ cgroup.Limits) error { return r.record("limits of %s", p) }
func (r *recorder) SetLimit(s string, n uint64) (uint64, error) {
	return n / 2, r.record("limit %s", s)
}
func (r *recorder) SetSysctl(key, value string) error { return r.record("sysctl %s=%s", key, value) }
func (r *recorder) AdoptOrphans() error               { return r.record("adopt") }
func (r *recorder) DenyStarts()                       { _ = r.record("deny starts") }

func (r *recorder) StopAll(ctx context.Context) error {
	if err := r.record("stop all"); err != nil || r.stop == nil {
		return err
	}
	return r.stop(ctx)
}

func (r *recorder) Others() ([]string, error) { return r.others, r.record("others") }

// captured reads the mounts and groups of a container.
func captured(t *testing.T, name string) Facts {
	t.Helper()
	f := Facts{Mode: Container, PID1: true, UserData: "c2VjcmV0"}
	var err error
	m, err := os.Open(filepath.Join("testdata", name+".mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if f.Mounts, err = proc.ParseMountInfo(m); err != nil {
		t.Fatal(err)
	}
	g, err := os.Open(filepath.Join("testdata", name+".cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if f.Groups, err = cgroup.ParseMembership(g); err != nil {
		t.Fatal(err)
	}
	return f
}

// memory makes the mounts of the facts in memory.
func memory(t *testing.T, f Facts) *mount.Memory {
	t.Helper()
	dirs, _ := Points()
	m := mount.NewMemory(dirs...)
	for _, info := range f.Mounts {
		flags, _ := mount.ParseOptions(info.Options)
		file := strings.HasPrefix(info.Point, "/etc/") && path.Ext(info.Source) == "" && info.Type == "ext4"
		if info.Point == "/" || file {
			continue
		}
		if err := m.MakePoint(info.Point, false, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := m.Mount(mount.Call{Source: info.Source, Target: info.Point, Type: info.Type, Flags: flags &^ (mount.RelAtime | mount.ReadOnly)}); err != nil {
			t.Fatal(err)
		}
	}
	// Read-only when all is there: the container runtime makes the points in directories that are not below the root.
	for _, info := range f.Mounts {
		if flags, _ := mount.ParseOptions(info.Options); flags&mount.ReadOnly != 0 {
			if err := m.Mount(mount.Call{Target: info.Point, Flags: mount.Remount | mount.Bind | flags&^mount.RelAtime}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

func host(m mount.Verbs, r *recorder) *Host {
	return &Host{Mounts: m, Files: r, Groups: r, Processes: r, Machine: &process.Recorder{}, Services: r}
}

var quiet = slog.New(slog.DiscardHandler)

func table(t *testing.T, text string) []proc.MountInfo {
	t.Helper()
	list, err := proc.ParseMountInfo(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}
