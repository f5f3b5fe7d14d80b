package logctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/supervise/logring"
	"talos.internal/internal/volume"
)

const (
	// keepEvery is how often files are written; what came since is lost when the power goes.
	keepEvery = 15 * time.Second
	// keepMost is the size at which a file makes way for a new one.
	keepMost = 5 << 20
	keptMode = 0o600
)

// Keeper copies the logs of services to files: DIR/SERVICE.log, and what was there before in SERVICE.log.1 when that grew to 5 MiB. A line that says
// so begins each start of the machine. No file stays open, so that nothing keeps the file system from being unmounted. It is safe for
// concurrent use.
type Keeper struct {
	dir  string
	logs *logring.Set
	most int64

	mu      sync.Mutex
	readers map[string]*reader
	begun   map[string]bool // services that have written since the start
	closed  bool
}

type reader struct {
	ring *logring.Ring
	*logring.Reader
	left []byte // lines that could not be written
}

// NewKeeper returns a keeper that writes the logs of a set to files in a directory.
func NewKeeper(dir string, logs *logring.Set) *Keeper {
	return &Keeper{dir: dir, logs: logs, most: keepMost, readers: map[string]*reader{}, begun: map[string]bool{}}
}

// Write appends to the files what came since it was last called. What cannot be written is left for the next time, as far as the rings hold it, and does not
// keep other files from being written.
func (k *Keeper) Write() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	return k.write()
}

// Close writes for the last time; later calls of Write do nothing.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	if len(k.readers) == 0 {
		return nil // it never could: the volume was not there
	}
	return k.write()
}

func (k *Keeper) write() error {
	rings, _ := k.logs.Rings()
	maps.DeleteFunc(k.readers, func(id string, r *reader) bool { return rings[id] != r.ring })
	// A context that has ended has a reader return what is there, and not wait.
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(rings)) {
		r, ok := k.readers[id]
		if !ok {
			r = &reader{ring: rings[id], Reader: rings[id].NewReader(logring.All, true)}
			k.readers[id] = r
		}
		if err := k.keep(ended, id, r); err != nil {
			errs = append(errs, fmt.Errorf("keep the log of %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// keep writes what a reader has, until that fails.
func (k *Keeper) keep(ended context.Context, id string, r *reader) error {
	for {
		if len(r.left) == 0 {
			lines, err := r.Next(ended)
			if err != nil {
				return nil // there is no more
			}
			r.left = lines
		}
		if err := k.append(id, r.left); err != nil {
			return err
		}
		r.left = nil
	}
}

// append adds lines to the file of a service.
func (k *Keeper) append(id string, lines []byte) error {
	if id != filepath.Base(id) || id == "." || id == ".." {
		return fmt.Errorf("%q is no name of a file: %w", id, fs.ErrInvalid)
	}
	if !k.begun[id] {
		lines = append(fmt.Appendf(nil, "--- the machine has started; this was written at %s ---\n", time.Now().UTC().Format(time.RFC3339)), lines...)
	}
	name := filepath.Join(k.dir, id+".log")
	st, err := os.Lstat(name)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return fmt.Errorf("%s is no file: %w", name, fs.ErrInvalid)
	case err == nil && st.Size() > 0 && st.Size()+int64(len(lines)) > k.most:
		if err := os.Rename(name, name+".1"); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, keptMode)
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err == nil {
		k.begun[id] = true
	}
	return err
}

// persistenceController has the keeper write as long as there is a place for it.
type persistenceController struct {
	keeper  *Keeper
	volumes bool
}

// Name implements [controller.Controller].
func (*persistenceController) Name() string { return "runtime.LogPersistenceController" }

// Inputs implements [controller.Controller].
func (c *persistenceController) Inputs() []controller.Input {
	if !c.volumes {
		return nil
	}
	return volume.Inputs(volume.Ephemeral)
}

// Outputs implements [controller.Controller].
func (*persistenceController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *persistenceController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-tick.C:
		}
		if c.volumes {
			where, _, err := volume.Look(ctx, rt, volume.Ephemeral)
			if err != nil {
				return err
			}
			if where != volume.Mounted {
				continue
			}
		}
		text := ""
		err := c.keeper.Write()
		// The folder comes just after the volume, by whoever prepares that.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			text = err.Error()
		}
		if text != told && text != "" {
			log.Warn("logs are not kept", "error", err)
		}
		told = text
		rt.ResetBackoff()
	}
}
