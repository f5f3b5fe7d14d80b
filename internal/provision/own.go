package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Own is a store as one provisioner uses it: what it loads and changes are the clusters that this provisioner has made.
type Own struct {
	Store

	Provisioner string // the name, as in [State]
}

// Load reads the state of a cluster, which is never nil without an error. The error is fs.ErrNotExist if there is no such cluster, or
// nothing of it but a folder, and ErrInvalid if another provisioner has made it.
func (o Own) Load(cluster string) (*State, error) {
	state, err := o.Store.Load(cluster)
	if err != nil {
		return nil, err
	}
	if state == nil {
		return nil, fmt.Errorf("cluster %s: its create was interrupted before it began; remove it with: talosctl cluster destroy --name %[1]s: %w",
			cluster, fs.ErrNotExist)
	}
	if state.Provisioner != o.Provisioner {
		return nil, fmt.Errorf("cluster %s: %w: it was made by provisioner %s", cluster, ErrInvalid, state.Provisioner)
	}
	return state, nil
}

// Change calls f with the state of a cluster, under the lock. f saves what it changes.
func (o Own) Change(ctx context.Context, cluster string, f func(*State) error) error {
	if _, err := o.Load(cluster); err != nil {
		return err // whoever holds the lock: there is nothing to wait for
	}
	unlock, err := o.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	state, err := o.Load(cluster)
	if err != nil {
		return err
	}
	return f(state)
}

// Destroy calls f with the state of a cluster, under the lock, after it has written down that the cluster is being destroyed. f removes
// all that there is, the folder last. A cluster of which nothing was made but the folder needs no f.
func (o Own) Destroy(ctx context.Context, cluster string, f func(*State) error) error {
	if _, err := o.Store.Load(cluster); errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrInvalid) {
		return err
	}
	unlock, err := o.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if state, err := o.Store.Load(cluster); err == nil && state == nil {
		return os.RemoveAll(o.Path(cluster))
	}
	state, err := o.Load(cluster)
	if err != nil {
		return err
	}
	state.Phase = Destroying
	if err = o.Save(state); err == nil {
		err = f(state)
	}
	if err != nil {
		return fmt.Errorf("destroy cluster %s: %w", cluster, err)
	}
	return nil
}
