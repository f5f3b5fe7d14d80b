//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"talos.internal/internal/provision"
)

const (
	snapshotsDir = "snapshots"
	// snapshotLimit bounds a snapshot and a restore: seconds for each machine on a computer that is not busy.
	snapshotLimit = 10 * time.Minute

	memoryFile    = "memory"     // of a machine that ran, as QEMU migrates it
	memoryZstFile = "memory.zst" // the same, compressed
)

// partSuffix is the end of the name of what is not complete yet.
const partSuffix = ".part"

// savedFiles are the files of a node that a snapshot has.
var savedFiles = []string{diskFile, varsFile}

// Snapshot keeps all machines of a cluster as they are, those that run with their memory, under a name. They stand still
// meanwhile, all at the same time, and go on. The error is fs.ErrExist if there is a snapshot of that name; after an error
// there is none.
func (p *Provisioner) Snapshot(ctx context.Context, cluster, name string, progress provision.Progress) error {
	if err := provision.CheckName(name); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return p.store.Change(ctx, cluster, func(state *provision.State) (err error) {
		ctx, cancel := context.WithTimeoutCause(ctx, snapshotLimit, fmt.Errorf("not done after %v", snapshotLimit))
		defer cancel()
		dir := p.store.Path(cluster, snapshotsDir, name)
		if _, err := os.Stat(dir); err == nil {
			return fmt.Errorf("snapshot %s of cluster %s: %w", name, cluster, fs.ErrExist)
		}
		part := dir + partSuffix
		if err := os.RemoveAll(part); err != nil { // of an interrupted one
			return err
		}
		defer func() {
			if err != nil {
				err = fmt.Errorf("snapshot %s of cluster %s: %w", name, cluster, errors.Join(err, os.RemoveAll(part)))
			}
		}()
		var stopped []provision.StateNode
		defer func() {
			// Whatever happened, machines are not left standing still.
			over := context.WithoutCancel(ctx)
			for _, n := range stopped {
				err = errors.Join(err, p.tell(over, state, n, "cont"))
			}
		}()
		for _, n := range state.Nodes {
			running, err := p.running(state, n)
			if err != nil {
				return err
			}
			if !running {
				continue
			}
			if err := p.tell(ctx, state, n, "stop"); err != nil {
				return err
			}
			stopped = append(stopped, n)
		}
		for _, n := range state.Nodes {
			ran := slices.ContainsFunc(stopped, func(s provision.StateNode) bool { return s.Name == n.Name })
			if err := progress.Do("save "+n.Name, func() error { return p.save(ctx, state, n, filepath.Join(part, n.Name), ran) }); err != nil {
				return err
			}
		}
		return os.Rename(part, dir)
	})
}

// tell gives a command without arguments to a machine.
func (p *Provisioner) tell(ctx context.Context, state *provision.State, n provision.StateNode, command string) error {
	err := ask(ctx, p.run(state, n)+monitorSuffix, func(ctx context.Context, m *monitor) error { return m.run(ctx, command, nil, nil) })
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}

// save writes a machine that stands still, or does not run, into a folder.
func (p *Provisioner) save(ctx context.Context, state *provision.State, n provision.StateNode, dir string, ran bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if ran { // first: it writes what QEMU holds of the disk
		if err := p.saveMemory(ctx, state, n, dir); err != nil {
			return fmt.Errorf("save the memory of %s: %w", n.Name, err)
		}
	}
	return copyNode(dir, p.nodeDir(state.Name, n.Name))
}

// copyNode copies the files of a node, as far as there are any, into a folder, in which they replace others.
func copyNode(to, from string) error {
	for _, name := range savedFiles {
		err := copyFile(filepath.Join(to, name), filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) && name != diskFile {
			continue
		}
		if err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(to, tpmDir)); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(from, tpmDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(to, tpmDir), 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") { // its lock
			continue
		}
		if err := copyFile(filepath.Join(to, tpmDir, e.Name()), filepath.Join(from, tpmDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// saveMemory lets QEMU write its memory and devices through a shell command, as it does for a migration.
func (p *Provisioner) saveMemory(ctx context.Context, state *provision.State, n provision.StateNode, dir string) error {
	file, program := filepath.Join(dir, memoryFile), "cat"
	if _, err := exec.LookPath("zstd"); err == nil {
		file, program = filepath.Join(dir, memoryZstFile), "zstd -1 -q -c"
	}
	// QEMU says that it is done before the command is; the name says that that is, too.
	line := fmt.Sprintf("%s > %s && mv %[2]s %s", program, quoted(file+partSuffix), quoted(file))
	path := p.run(state, n) + monitorSuffix
	err := ask(ctx, path, func(ctx context.Context, m *monitor) error {
		const unlimited = 100 << 30 // bytes per second
		if err := m.run(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(unlimited)}, nil); err != nil {
			return err
		}
		return m.run(ctx, "migrate", map[string]string{"uri": "exec:" + line}, nil)
	})
	if err != nil {
		return err
	}
	var status struct {
		Status string `json:"status"`
		Why    string `json:"error-desc"`
	}
	err = provision.Poll(ctx, "QEMU to write the memory", func() (bool, error) {
		err := ask(ctx, path, func(ctx context.Context, m *monitor) error { return m.run(ctx, "query-migrate", nil, &status) })
		if err == nil && (status.Status == "failed" || status.Status == "cancelled") {
			err = fmt.Errorf("QEMU could not: %s", status.Why)
		}
		if status.Status != "completed" || err != nil {
			return false, err
		}
		_, err = os.Stat(file)
		return err == nil, nil
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; last seen: %s", err, status.Status)
	}
	return err
}

// Restore puts all machines of a cluster back to a snapshot: their disks, and, of those that ran, their memory. What they are now
// is lost. The error is fs.ErrNotExist if there is no such snapshot, ErrInvalid if the cluster has other nodes by now; nothing
// is changed then.
func (p *Provisioner) Restore(ctx context.Context, cluster, name string, progress provision.Progress) error {
	if err := provision.CheckName(name); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return p.store.Change(ctx, cluster, func(state *provision.State) error {
		ctx, cancel := context.WithTimeoutCause(ctx, snapshotLimit, fmt.Errorf("not done after %v", snapshotLimit))
		defer cancel()
		dir := p.store.Path(cluster, snapshotsDir, name)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("restore cluster %s: snapshot %s: %w", cluster, name, err)
		}
		var saved, now []string
		for _, e := range entries {
			saved = append(saved, e.Name())
		}
		for _, n := range state.Nodes {
			now = append(now, n.Name)
		}
		slices.Sort(saved)
		slices.Sort(now)
		if !slices.Equal(saved, now) {
			return fmt.Errorf("restore cluster %s: snapshot %s: %w: it is of the nodes %v, and there are %v", cluster, name, provision.ErrInvalid, saved, now)
		}
		if err := p.restore(ctx, state, dir, progress); err != nil {
			return fmt.Errorf("restore cluster %s to snapshot %s: %w", cluster, name, err)
		}
		return nil
	})
}

func (p *Provisioner) restore(ctx context.Context, state *provision.State, dir string, progress provision.Progress) error {
	for _, n := range state.Nodes { // first, so that none talks to one of another time
		if err := p.clean(ctx, state, n); err != nil {
			return err
		}
	}
	if err := p.ensureNetwork(ctx, state); err != nil {
		return err
	}
	var loaded []provision.StateNode
	for _, n := range state.Nodes {
		err := progress.Do("restore "+n.Name, func() error {
			from := filepath.Join(dir, n.Name)
			if err := copyNode(p.nodeDir(state.Name, n.Name), from); err != nil {
				return err
			}
			incoming := ""
			for file, program := range map[string]string{memoryFile: "cat", memoryZstFile: "zstd -dc -q"} {
				if _, err := os.Stat(filepath.Join(from, file)); err == nil {
					incoming = program + " < " + quoted(filepath.Join(from, file))
				}
			}
			if incoming == "" {
				return nil
			}
			loaded = append(loaded, n)
			if err := p.start(ctx, state, n, incoming); err != nil {
				return err
			}
			return p.awaitMemory(ctx, state, n)
		})
		if err != nil {
			return err
		}
	}
	for _, n := range loaded {
		if err := p.tell(ctx, state, n, "cont"); err != nil {
			return err
		}
	}
	return nil
}

// awaitMemory waits until a machine has got its memory.
func (p *Provisioner) awaitMemory(ctx context.Context, state *provision.State, n provision.StateNode) error {
	var status struct {
		Status string `json:"status"`
	}
	err := provision.Poll(ctx, "the memory of "+n.Name, func() (bool, error) {
		err := ask(ctx, p.run(state, n)+monitorSuffix, func(ctx context.Context, m *monitor) error {
			return m.run(ctx, "query-status", nil, &status)
		})
		return status.Status != "" && status.Status != "inmigrate", err
	})
	if err != nil {
		return fmt.Errorf("node %s does not take its memory: %w; last seen: %s", n.Name, err, status.Status)
	}
	return nil
}

// Snapshots lists the snapshots of a cluster, sorted.
func (p *Provisioner) Snapshots(cluster string) ([]string, error) {
	if _, err := p.store.Load(cluster); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p.store.Path(cluster, snapshotsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), partSuffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// RemoveSnapshot removes a snapshot. The error is fs.ErrNotExist if there is none of that name.
func (p *Provisioner) RemoveSnapshot(ctx context.Context, cluster, name string) error {
	if err := provision.CheckName(name); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return p.store.Change(ctx, cluster, func(*provision.State) error {
		dir := p.store.Path(cluster, snapshotsDir, name)
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("snapshot %s of cluster %s: %w", name, cluster, err)
		}
		return os.RemoveAll(dir)
	})
}
