package configctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"talos.internal/internal/atomicfile"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// Owner owns both resources of the machine config.
const Owner = "config.Store"

// FileName is the name of the config in the state directory.
const FileName = "config.yaml"

// revertTimeout bounds what follows when a trial is over. It is about a write into memory.
const revertTimeout = 10 * time.Second

// ErrNoConfig is the error of [Store.Try] on a machine that has no config to return to.
var ErrNoConfig = errors.New("the machine has no config yet")

// Store keeps the machine config. Use [NewStore]. Its methods are safe for concurrent use; changes are made one after the other.
type Store struct {
	st  state.State
	dir string
	log *slog.Logger

	mu    sync.Mutex
	trial *trial
	// written is the text that is in the file, as far as known is true.
	written string
	known   bool
	applied func() // called when a config is applied; may be nil
}

// trial is a config that is active for a while.
type trial struct {
	former string // the config before it
	timer  *time.Timer
}

// NewStore returns the store of a machine's config. dir is the state directory, whose file config.yaml has the persistent config;
// it need not exist yet. Nothing is read or written before a method is called.
func NewStore(st state.State, dir string, log *slog.Logger) *Store {
	return &Store{st: st, dir: dir, log: log}
}

// Active returns the text of the active config, and false if the machine has none yet.
func (s *Store) Active(ctx context.Context) (string, bool) {
	r, err := state.Get[machineconfig.Config](ctx, s.st, machineconfig.Active)
	if err != nil {
		return "", false
	}
	return r.Spec().Text, true
}

// Apply makes text the active config, from now on. With persist it is also what the machine starts with after a reboot, and is in
// the file when Apply returns. It ends a trial: what is applied stays. In maintenance it gives the machine its first config.
//
// text has to be a config that can be read; whether it is one that this machine should have is for the caller to check. After an
// error nothing has changed, but for an error of the state itself, which only the end of ctx causes.
func (s *Store) Apply(ctx context.Context, text string, persist bool) error {
	if _, err := effective.Parse(text); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if persist {
		if err := s.persist(ctx, text); err != nil {
			return err
		}
	}
	if err := s.set(ctx, machineconfig.Active, text); err != nil {
		return err
	}
	s.endTrial()
	if s.applied != nil {
		s.applied()
		s.applied = nil
	}
	return nil
}

// Stage makes text the config that the machine starts with after a reboot, and leaves the active one, on trial or not, as it is.
// It is in the file when Stage returns. Errors are as those of Apply.
func (s *Store) Stage(ctx context.Context, text string) error {
	if _, err := effective.Parse(text); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.persist(ctx, text)
}

// Try makes text the active config for the time d, which must be positive. Then the config that was active before returns, unless
// [Store.Apply] was called meanwhile. A trial that follows another one begins its time anew and returns to where the first one
// began. A reboot ends a trial too, because it is not in the file. On a machine without a config the error is [ErrNoConfig].
func (s *Store) Try(ctx context.Context, text string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("try a machine config for %v: the time has to be positive", d)
	}
	if _, err := effective.Parse(text); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	former, ok := s.Active(ctx)
	if !ok {
		return fmt.Errorf("try a machine config: %w: there is nothing to return to; apply it instead", ErrNoConfig)
	}
	if s.trial != nil {
		former = s.trial.former
	}
	if err := s.set(ctx, machineconfig.Active, text); err != nil {
		return err
	}
	s.endTrial()
	t := &trial{former: former}
	// The timer runs under s.mu, so it cannot see a trial that is not yet in its place.
	t.timer = time.AfterFunc(d, func() { s.revert(t) })
	s.trial = t
	s.log.Info("machine config on trial", "for", d)
	return nil
}

// revert returns to the config before t, unless t is over.
func (s *Store) revert(t *trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trial != t {
		return
	}
	s.trial = nil
	ctx, cancel := context.WithTimeout(context.Background(), revertTimeout)
	defer cancel()
	if err := s.set(ctx, machineconfig.Active, t.former); err != nil {
		s.log.Error("the machine config on trial stays, because the former one cannot be restored", "error", err)
		return
	}
	s.log.Warn("the trial of the machine config is over, the former one is back")
}

func (s *Store) endTrial() {
	if s.trial != nil {
		s.trial.timer.Stop()
		s.trial = nil
	}
}

// begin makes text the config of a machine that starts: active and persistent. It does nothing and returns false if the active
// config is not the one called after, empty for none: then a person was faster. It does not wait for the file, which
// [PersistenceController] writes: a machine whose disk cannot be written should run all the same.
func (s *Store) begin(ctx context.Context, text, after string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, _ := s.Active(ctx); have != after {
		return false, nil
	}
	if err := s.set(ctx, machineconfig.Persistent, text); err != nil {
		return false, err
	}
	return true, s.set(ctx, machineconfig.Active, text)
}

// overtaken has f called, once, when a config is applied.
func (s *Store) overtaken(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = f
}

// forget says that the file may be another than before: a volume was mounted over it.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written, s.known = "", false
}

// load returns the text of the file, empty if there is none.
func (s *Store) load() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := os.ReadFile(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the machine config: %w", err)
	}
	s.written, s.known = string(b), true
	return s.written, nil
}

// Keep writes the persistent config into the file, which may be another one than before: a volume was just mounted there.
func (s *Store) Keep(ctx context.Context) error {
	s.forget()
	return s.flush(ctx)
}

// flush brings the persistent config into the file if it is not there.
func (s *Store) flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := state.Get[machineconfig.Config](ctx, s.st, machineconfig.Persistent)
	if errors.Is(err, state.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.write(r.Spec().Text)
}

func (s *Store) persist(ctx context.Context, text string) error {
	if err := s.write(text); err != nil {
		return err
	}
	return s.set(ctx, machineconfig.Persistent, text)
}

// write writes the file, unless text is what it wrote or read last.
func (s *Store) write(text string) error {
	if s.known && s.written == text {
		return nil
	}
	s.known = false // an error may come after the new file is in place
	if err := atomicfile.WriteFile(s.path(), []byte(text), 0o600, atomicfile.Options{Overwrite: true}); err != nil {
		return fmt.Errorf("keep the machine config: %w", err)
	}
	s.written, s.known = text, true
	return nil
}

func (s *Store) path() string { return filepath.Join(s.dir, FileName) }

func (s *Store) set(ctx context.Context, id, text string) error {
	_, err := state.Modify(ctx, s.st, id, func(_ *resource.Metadata, c *machineconfig.Config) error {
		c.Text = text
		return nil
	}, state.As(Owner))
	if err != nil {
		return fmt.Errorf("set the machine config %s: %w", id, err)
	}
	return nil
}
