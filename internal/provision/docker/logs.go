package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"talos.internal/internal/provision"
)

// Logs implements provision.Provisioner. The daemon ends a log with the container's end; who follows it waits for the next
// start.
func (p *Provisioner) Logs(ctx context.Context, cluster, node string, o provision.LogOptions, w io.Writer) error {
	a, err := p.find(ctx, cluster, node)
	if err != nil {
		return err
	}
	if a.id == "" {
		return fmt.Errorf("log of node %s: its container, which has it, is gone: %w", node, fs.ErrNotExist)
	}
	request := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow}
	if o.Tail > 0 {
		request.Tail = strconv.Itoa(o.Tail)
	}
	for {
		err := p.copyLog(ctx, a.id, request, w)
		if o.Follow && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("log of node %s: %w", node, err)
		}
		if !o.Follow {
			return nil
		}
		before := a.started
		for a.started == before || !a.running {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(500 * time.Millisecond):
			}
			a, err = p.find(ctx, cluster, node)
			if ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) || err == nil && a.id == "" {
				return nil // there will be no more of it
			}
			if err != nil {
				return fmt.Errorf("log of node %s: %w", node, err)
			}
		}
		request.Since, request.Tail = a.started, ""
	}
}

func (p *Provisioner) copyLog(ctx context.Context, id string, o client.ContainerLogsOptions, w io.Writer) error {
	r, err := p.c.ContainerLogs(ctx, id, o)
	if cerrdefs.IsNotFound(err) {
		return nil // it has gone meanwhile
	}
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = stdcopy.StdCopy(w, w, r)
	return err
}
