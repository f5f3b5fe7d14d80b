package blockctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"

	"talos.internal/controller"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/install"
	"talos.internal/internal/metastore"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// Meta is META as the API changes it, and the controller that shows it as resources. Use [NewMeta].
type Meta struct {
	kernel Kernel

	mu     sync.Mutex
	device string // the partition; empty while there is none
	values metastore.Values
	wake   func()
}

// NewMeta returns the door to META.
func NewMeta(k Kernel) *Meta { return &Meta{kernel: k} }

// Name implements [controller.Controller].
func (m *Meta) Name() string { return "runtime.MetaController" }

// Inputs implements [controller.Controller].
func (m *Meta) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[block.VolumeStatus]().Named(volumeMeta), controller.DestroyReady[runtime.MetaKey]()}
}

// Outputs implements [controller.Controller].
func (m *Meta) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.MetaKey](), controller.Exclusive[runtime.MetaLoaded]()}
}

// Run implements [controller.Controller].
func (m *Meta) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	m.mu.Lock()
	m.wake = rt.Wake
	m.mu.Unlock()
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		status, _, err := state.Find[block.VolumeStatus](ctx, rt, volumeMeta)
		if err != nil {
			return err
		}
		device := ""
		if status.Phase == block.PhaseReady {
			device = strings.TrimPrefix(status.Location, "/dev/")
		}
		values, err := m.load(device, log)
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		for k, v := range values {
			if k == metastore.StateEncryption {
				v = "(keys)" // of which one may be a passphrase, and who may read resources need not know it
			}
			if err := controller.Put(ctx, rt, k.String(), runtime.MetaKey{Value: v}); err != nil {
				return err
			}
		}
		// What is nowhere, or cannot be used, is loaded as soon as that is known.
		if device != "" || status.Phase == block.PhaseMissing || status.Phase == block.PhaseFailed {
			if err := controller.Put(ctx, rt, runtime.MetaLoadedID, runtime.MetaLoaded{Done: true}); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

func (m *Meta) load(device string, log *slog.Logger) (values metastore.Values, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.device = device
	if device == "" {
		return nil, nil
	}
	d, err := m.kernel.Open(device, Read)
	if err != nil {
		return nil, fmt.Errorf("read META: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	c, damaged, err := metastore.Read(d)
	if damaged {
		log.Warn("a copy of META is damaged, as after a write that was cut off; the other one counts", "generation", c.Generation)
	}
	m.values = c.Values
	return c.Values, err
}

// value returns a value as it was read last, or written; empty if there is none.
func (m *Meta) value(key metastore.Key) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key]
}

// stateKeys has the place for how STATE is opened.
func (m *Meta) stateKeys(k *diskkey.Keeper) *diskkey.Memory {
	const key = metastore.StateEncryption
	return &diskkey.Memory{Keeper: k, Load: func() string { return m.value(key) }, Save: func(ctx context.Context, text []byte) error { return m.Write(ctx, uint8(key), text) }}
}

// Refresh has META shown as it is on the disk, after somebody else has changed it.
func (m *Meta) Refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wake != nil {
		m.wake()
	}
}

// Write sets a value, and returns when it is on the disk.
func (m *Meta) Write(_ context.Context, key uint8, value []byte) error {
	return m.update(key, func(v metastore.Values) { v[metastore.Key(key)] = string(value) })
}

// Delete removes a value. The error wraps fs.ErrNotExist if there is none.
func (m *Meta) Delete(_ context.Context, key uint8) error {
	there := false
	err := m.update(key, func(v metastore.Values) {
		_, there = v[metastore.Key(key)]
		delete(v, metastore.Key(key))
	})
	if err == nil && !there {
		return fmt.Errorf("delete META key %s: %w", metastore.Key(key), fs.ErrNotExist)
	}
	return err
}

func (m *Meta) update(key uint8, change func(metastore.Values)) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if key == 0 {
		return fmt.Errorf("change META key 0x00: %w: keys are from 0x01 to 0xff", fs.ErrInvalid)
	}
	if m.device == "" {
		return fmt.Errorf("change META: %w: the system is not installed on a disk", errors.ErrUnsupported)
	}
	d, err := m.kernel.Open(m.device, Share)
	if err != nil {
		return fmt.Errorf("change META: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// An upgrade changes META too.
	err = install.Exclusive(func() error {
		values, err := metastore.Update(&install.Recorder{Target: d}, change)
		if err == nil {
			m.values = values
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("change META: %w", err)
	}
	if m.wake != nil {
		m.wake()
	}
	return nil
}
