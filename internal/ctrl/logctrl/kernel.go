package logctrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/logship"
	"talos.internal/internal/sys/kmsg"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// kernelParam names a receiver on the kernel's command line.
const kernelParam = "talos.logging.kernel"

// kmsgConfig says where the kernel's log is sent.
func kmsgConfig(cmdline []proc.Param) controller.Controller {
	return effective.Pass("runtime.KmsgLogConfigController",
		[]controller.Output{controller.Exclusive[runtime.KmsgLogConfig]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			var out runtime.KmsgLogConfig
			for _, p := range cmdline {
				if p.Key != kernelParam {
					continue
				}
				u, err := url.Parse(p.Value)
				if err != nil {
					return fmt.Errorf("the kernel's command line: %s=%s: %w", kernelParam, p.Value, err)
				}
				out.Destinations = append(out.Destinations, resource.URL{URL: *u})
			}
			if c != nil {
				for _, doc := range schema.All[*sysdoc.KmsgLogConfig](c.Set) {
					out.Destinations = append(out.Destinations, resource.URL{URL: url.URL{Scheme: doc.URL.Scheme, Host: doc.URL.Host}})
				}
			}
			if len(out.Destinations) == 0 {
				return nil
			}
			return controller.Put(ctx, rt, runtime.KmsgLogConfigID, out)
		})
}

// kmsgDeliveryController sends the kernel's log to its receivers.
type kmsgDeliveryController struct {
	Deps
}

// Name implements [controller.Controller].
func (*kmsgDeliveryController) Name() string { return "runtime.KmsgLogDeliveryController" }

// Inputs implements [controller.Controller].
func (*kmsgDeliveryController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[runtime.KmsgLogConfig]().Named(runtime.KmsgLogConfigID)}
}

// Outputs implements [controller.Controller].
func (*kmsgDeliveryController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *kmsgDeliveryController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var r running
	defer r.keep(ctx, nil, nil)
	return controller.Loop(ctx, rt, func(context.Context) error {
		cfg, _, err := state.Find[runtime.KmsgLogConfig](ctx, rt, runtime.KmsgLogConfigID)
		if err != nil {
			return err
		}
		if len(cfg.Destinations) > 0 && c.NoKernel != nil {
			log.Warn("the kernel's log is not sent", "error", c.NoKernel)
			return nil
		}
		var wanted []receiver
		for _, d := range cfg.Destinations {
			wanted = append(wanted, receiver{url: d.URL})
		}
		r.keep(ctx, wanted, func(ctx context.Context, to receiver) {
			if err := c.deliver(ctx, to, log); err != nil && ctx.Err() == nil {
				log.Error("the kernel's log is not sent", "receiver", to.url.String(), "error", err)
			}
		})
		return nil
	})
}

// deliver sends the kernel's log to one receiver until ctx ends.
func (c *kmsgDeliveryController) deliver(ctx context.Context, to receiver, log *slog.Logger) error {
	sender, err := logship.NewSender(&to.url, c.Dial, log)
	if err != nil {
		return err
	}
	defer sender.Close()
	first, next := true, uint64(0)
	return c.Kernel(ctx, func(r kmsg.Record) error {
		var messages [][]byte
		boot := c.Boot()
		if !first && r.Sequence > next {
			lost := logship.Record{
				Facility: kmsg.User.String(), Priority: kmsg.Warning.String(), Severity: int(kmsg.Warning), Sequence: next, Clock: r.Time,
				Text: fmt.Sprintf("--- %d records were dropped: they came faster than they were sent ---", r.Sequence-next),
			}
			messages = append(messages, logship.FromKernel(lost, boot).Append(nil, to.tags))
		}
		first, next = false, r.Sequence+1
		m := logship.FromKernel(logship.Record{
			Facility: r.Facility.String(), Priority: r.Priority.String(), Severity: int(r.Priority), Sequence: r.Sequence, Clock: r.Time, Text: r.Message,
		}, boot)
		return sender.Send(ctx, append(messages, m.Append(nil, to.tags)))
	})
}

// kmsgStorageController keeps the kernel's log among those of the services.
type kmsgStorageController struct{ Deps }

// Name implements [controller.Controller].
func (kmsgStorageController) Name() string { return "runtime.KmsgLogStorageController" }

// Inputs implements [controller.Controller].
func (kmsgStorageController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (kmsgStorageController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c kmsgStorageController) Run(ctx context.Context, _ controller.Runtime, _ *slog.Logger) error {
	w := c.Logs.Open(KernelService)
	defer w.Close()
	err := c.Kernel(ctx, func(r kmsg.Record) error {
		_, err := fmt.Fprintln(w, r.Line(c.Boot()))
		return err
	})
	if ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
