package etcdctrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"talos.internal/internal/etcdop"
	"talos.internal/resource/clock"
	"talos.internal/state"
)

// Why an order is refused.
var (
	ErrNotControlPlane = errors.New("etcd runs on control-plane nodes only")
	ErrClock           = errors.New("the clock is not in sync yet")
	ErrBootstrapped    = errors.New("etcd has data on this node, or is about to")
	ErrNoSnapshot      = errors.New("no snapshot was uploaded")
)

// Order is what an operator asks for with "talosctl bootstrap".
type Order struct {
	// Recover begins the cluster out of the snapshot that was uploaded.
	Recover bool
	// SkipHashCheck takes a snapshot that is a copy of a database file, which has no hash at its end.
	SkipHashCheck bool
}

// Door is how the API server brings orders to etcd's service. Use [NewDoor]. It is safe for concurrent use.
type Door struct {
	services       Services
	data, snapshot string

	mu      sync.Mutex
	order   *Order
	changed chan struct{} // closed when an order comes
}

// Where etcd's data and an uploaded snapshot are on a node.
const (
	DefaultData     = "/var/lib/etcd"
	DefaultSnapshot = "/var/lib/etcd.snapshot"
)

// NewDoor returns a door without an order. data is etcd's directory, snapshot the file for a snapshot; they are [DefaultData] and
// [DefaultSnapshot] on a node.
func NewDoor(services Services, data, snapshot string) *Door {
	return &Door{services: services, data: data, snapshot: snapshot, changed: make(chan struct{})}
}

// hasData reports whether there is a member's data: a log of what the members agreed on. What a start leaves that ended before there
// was one, such as an empty database, is none: etcd would neither begin nor join with it, for ever.
func (d *Door) hasData() bool {
	logs, err := filepath.Glob(filepath.Join(d.data, "member", "wal", "*.wal"))
	return err == nil && len(logs) > 0
}

// Bootstrap orders etcd to begin a cluster on this node, and returns; etcd starts as soon as all it needs is there. It is refused
// with ErrNotControlPlane, ErrClock, ErrBootstrapped, or ErrNoSnapshot.
func (d *Door) Bootstrap(ctx context.Context, st state.Reader, o Order) error {
	controlPlane, err := isControlPlane(ctx, st)
	if err != nil {
		return err
	}
	if !controlPlane {
		return fmt.Errorf("bootstrap: %w", ErrNotControlPlane)
	}
	clk, _, err := state.Find[clock.TimeStatus](ctx, st, clock.TimeStatusID)
	if err != nil {
		return err
	}
	if !clk.Synced {
		return fmt.Errorf("bootstrap: %w", ErrClock)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hasData() || d.order != nil {
		return fmt.Errorf("bootstrap: %w", ErrBootstrapped)
	}
	if o.Recover {
		if _, err := os.Stat(d.snapshot); err != nil {
			return fmt.Errorf("bootstrap: %w: upload one first", ErrNoSnapshot)
		}
	}
	// After a leave the service is stopped. If it is not loaded yet, the order waits for it.
	if _, err := d.services.Status(ServiceID); err == nil {
		if err := d.services.Start(ServiceID); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	d.order = &o
	close(d.changed)
	d.changed = make(chan struct{})
	return nil
}

// pending returns the order, nil if there is none, and a channel that is closed when one comes. Data ends an order: it was carried
// out.
func (d *Door) pending() (*Order, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hasData() {
		d.order = nil
	}
	return d.order, d.changed
}

// SaveSnapshot keeps a snapshot for [Order].Recover. What was uploaded before is replaced when the new one is complete.
func (d *Door) SaveSnapshot(r io.Reader) (err error) {
	f, err := os.OpenFile(d.snapshot+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save the snapshot of etcd: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("save the snapshot of etcd: %w", err), os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := own(f.Name()); err != nil {
		return err
	}
	return os.Rename(f.Name(), d.snapshot)
}

// Leave takes this node's member out of the cluster, stops etcd, and removes its data. The errors are those of
// [etcdop.Operator.Leave]; then nothing has changed.
func (d *Door) Leave(ctx context.Context, op etcdop.Operator) error {
	if err := op.Leave(ctx); err != nil {
		return err
	}
	if err := d.services.Stop(ctx, ServiceID); err != nil {
		return fmt.Errorf("stop etcd, which has left: %w", err)
	}
	return d.Wipe()
}

// Wipe removes etcd's data, and leaves the directory. etcd must not run.
func (d *Door) Wipe() error {
	entries, err := os.ReadDir(d.data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove etcd's data: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.data, e.Name())); err != nil {
			return fmt.Errorf("remove etcd's data: %w", err)
		}
	}
	return nil
}

// own gives a file to etcd. Without the right to do so, in a test, it stays as it is.
func own(name string) error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.Chown(name, etcdUser, etcdUser)
}
