package discoveryctrl

import (
	"context"
	"errors"
	"sync"

	"talos.internal/internal/discovery"
)

// ErrNoDiscovery is the error while this machine takes no part in discovery.
var ErrNoDiscovery = errors.New("this machine takes no part in discovery: it has no config yet, or its config turns discovery off")

// Door is how others than the controller reach its client. The zero Door is closed until the controller runs. It is safe for concurrent
// use.
type Door struct {
	mu     sync.Mutex
	client *discovery.Client
}

func (d *Door) set(c *discovery.Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = c
}

func (d *Door) get() (*discovery.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil, ErrNoDiscovery
	}
	return d.client, nil
}

// Forget removes a machine, by its node id, from everybody's view. Errors are ErrNoDiscovery and those of [discovery.Client.Forget].
func (d *Door) Forget(ctx context.Context, nodeID string) error {
	c, err := d.get()
	if err != nil {
		return err
	}
	return c.Forget(ctx, nodeID)
}

// Leave takes this machine out of everybody's view, as a reset does before it erases the identity. Without discovery there is nothing
// to leave. Errors are those of [discovery.Client.Leave].
func (d *Door) Leave(ctx context.Context) error {
	c, err := d.get()
	if err != nil {
		return nil //nolint:nilerr // nobody knows of the machine by discovery
	}
	return c.Leave(ctx)
}
