package etcdctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/etcd"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// PKIController writes etcd's certificates to files.
type PKIController struct {
	// Dir is the directory; it is made.
	Dir string
	// Owner is the user and the group of the files; 0 leaves them this process's.
	Owner int
}

// Name implements [controller.Controller].
func (*PKIController) Name() string { return "etcd.PKIController" }

// Inputs implements [controller.Controller].
func (*PKIController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[secrets.Etcd]().Named(secrets.EtcdID),
		controller.Weak[secrets.EtcdRoot]().Named(secrets.EtcdRootID),
		controller.DestroyReady[etcd.PKIStatus](),
	}
}

// Outputs implements [controller.Controller].
func (*PKIController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[etcd.PKIStatus]()}
}

// Run implements [controller.Controller].
func (c *PKIController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		root, ok, err := state.Find[secrets.EtcdRoot](ctx, rt, secrets.EtcdRootID)
		if err != nil {
			return err
		}
		certs, err := state.Get[secrets.Etcd](ctx, rt, secrets.EtcdID)
		if errors.Is(err, state.NotFound) || err == nil && certs.Metadata().Phase() == resource.TearingDown {
			ok, err = false, nil
		}
		if err != nil {
			return err
		}
		if !ok {
			return remove[etcd.PKIStatus](ctx, rt)
		}
		changed, err := c.write(root, certs.Spec())
		if err != nil {
			return err
		}
		if changed {
			log.Info("etcd's certificates are written", "dir", c.Dir)
		}
		return state.Put(ctx, rt, etcd.PKIStatusID, etcd.PKIStatus{Ready: true, Version: certs.Metadata().Version().String()})
	})
}

// write brings the files to what they should be, and reports whether one was not. Each is replaced as a whole. A certificate comes
// before its key: a connection that is made between the two fails and is made again, which etcd and its clients do.
func (c *PKIController) write(root secrets.EtcdRoot, s secrets.Etcd) (changed bool, err error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return false, fmt.Errorf("make the directory of etcd's certificates: %w", err)
	}
	if err := c.chown(c.Dir); err != nil {
		return false, err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"ca.crt", root.EtcdCA.Crt},
		{"server.crt", s.Server.Crt}, {"server.key", s.Server.Key},
		{"peer.crt", s.Peer.Crt}, {"peer.key", s.Peer.Key},
		{"admin.crt", s.Admin.Crt}, {"admin.key", s.Admin.Key},
	} {
		name := filepath.Join(c.Dir, f.name)
		if have, err := os.ReadFile(name); err == nil && string(have) == string(f.content) {
			continue
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, fmt.Errorf("look at %s: %w", name, err)
		}
		changed = true
		if err := c.replace(name, f.content); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// replace puts a file in its place when it has its content and its owner. The directory is in memory: nothing has to reach a disk.
func (c *PKIController) replace(name string, content []byte) (err error) {
	temporary := name + ".tmp"
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", name, err), os.RemoveAll(temporary))
		}
	}()
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if err := os.WriteFile(temporary, content, 0o400); err != nil {
		return err
	}
	if err := c.chown(temporary); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

func (c *PKIController) chown(name string) error {
	if c.Owner == 0 {
		return nil
	}
	if err := os.Chown(name, c.Owner, c.Owner); err != nil {
		return fmt.Errorf("give %s to etcd: %w", name, err)
	}
	return nil
}
