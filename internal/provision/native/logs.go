//go:build linux

package native

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"talos.internal/internal/provision"
)

// Logs implements provision.Provisioner.
func (p *Provisioner) Logs(ctx context.Context, cluster, node string, o provision.LogOptions, w io.Writer) error {
	state, err := p.store.Load(cluster)
	if err != nil {
		return err
	}
	if _, err := state.Node(node); err != nil {
		return err
	}
	if err := provision.CopyLog(ctx, filepath.Join(p.nodeDir(cluster, node), consoleFile), o, w); err != nil {
		return fmt.Errorf("log of node %s: %w", node, err)
	}
	return nil
}
