package logctrl

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"talos.internal/config/rootdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/logship"
	"talos.internal/internal/supervise/logring"
)

// receiver is where logs are sent.
type receiver struct {
	url  url.URL
	tags map[string]string
}

// key tells receivers apart.
func (r receiver) key() string { return fmt.Sprint(r.url.String(), r.tags) }

// running are the deliveries to receivers that go on at present.
type running struct {
	stop map[string]func() // ends one and waits for it
}

// keep has work go on for each of the receivers that are wanted, and for no other. work returns when its context ends.
func (r *running) keep(ctx context.Context, wanted []receiver, work func(context.Context, receiver)) {
	if r.stop == nil {
		r.stop = map[string]func(){}
	}
	now := map[string]bool{}
	for _, w := range wanted {
		now[w.key()] = true
	}
	for key, stop := range r.stop {
		if !now[key] {
			stop()
			delete(r.stop, key)
		}
	}
	for _, w := range wanted {
		if r.stop[w.key()] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		r.stop[w.key()] = func() { cancel(); <-done }
		go func() {
			defer close(done)
			work(ctx, w)
		}()
	}
}

// deliveryController sends the logs of services to the receivers of the machine config.
type deliveryController struct {
	logs *logring.Set
	dial logship.Dial
}

// Name implements [controller.Controller].
func (*deliveryController) Name() string { return "runtime.LogDeliveryController" }

// Inputs implements [controller.Controller].
func (*deliveryController) Inputs() []controller.Input { return []controller.Input{effective.Input()} }

// Outputs implements [controller.Controller].
func (*deliveryController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *deliveryController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var r running
	defer r.keep(ctx, nil, nil)
	return controller.Loop(ctx, rt, func(context.Context) error {
		cfg, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		r.keep(ctx, receivers(cfg), func(ctx context.Context, to receiver) {
			if err := c.deliver(ctx, to, log); err != nil && ctx.Err() == nil {
				log.Error("logs are not sent", "error", err)
			}
		})
		return nil
	})
}

// receivers are those of the machine config.
func receivers(cfg *effective.Config) []receiver {
	if cfg == nil {
		return nil
	}
	root, _, ok := rootdoc.Find(cfg.Set)
	if !ok || root.Machine == nil || root.Machine.Logging == nil {
		return nil
	}
	var out []receiver
	for _, d := range root.Machine.Logging.Destinations {
		out = append(out, receiver{url.URL{Scheme: d.Endpoint.Scheme, Host: d.Endpoint.Host}, d.ExtraTags})
	}
	return out
}

// deliver sends all logs to one receiver until ctx ends: first what the rings have, then what comes.
func (c *deliveryController) deliver(ctx context.Context, to receiver, log *slog.Logger) error {
	sender, err := logship.NewSender(&to.url, c.dial, log)
	if err != nil {
		return err
	}
	defer sender.Close()
	batches := make(chan [][]byte)
	var readers sync.WaitGroup
	defer readers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read := map[string]*logring.Ring{}
	for {
		rings, changed := c.logs.Rings()
		for id, ring := range rings {
			if id == KernelService || read[id] == ring {
				continue
			}
			read[id] = ring
			readers.Go(func() { readRing(ctx, id, ring, to.tags, batches) })
		}
		for waiting := true; waiting; {
			select {
			case batch := <-batches:
				if err := sender.Send(ctx, batch); err != nil {
					return err
				}
			case <-changed:
				waiting = false
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// readRing makes messages of the lines of a ring, until it is removed or ctx ends. It reads on when what it has read was taken.
func readRing(ctx context.Context, id string, ring *logring.Ring, tags map[string]string, batches chan<- [][]byte) {
	reader := ring.NewReader(logring.All, true)
	for {
		lines, err := reader.Next(ctx)
		if err != nil {
			return
		}
		now := time.Now()
		var batch [][]byte
		for line := range bytes.Lines(lines) {
			batch = append(batch, logship.ParseLine(id, line, now).Append(nil, tags))
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return
		}
	}
}
