package crictrl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/registryd"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/cri"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// ImageCacheConfigController finds the image cache and has it served, unless the machine config does not want that.
type ImageCacheConfigController struct {
	Services Services
	// Caches are where caches may be, in either form.
	Caches []string
	// Known, if it is not nil, is closed when those are there that a start finds.
	Known <-chan struct{}
}

// lookAgain is the pause between looks for a cache that is wanted and not there: its disk may come later.
const lookAgain = 5 * time.Second

// Name implements [controller.Controller].
func (*ImageCacheConfigController) Name() string { return "cri.ImageCacheConfigController" }

// Inputs implements [controller.Controller].
func (*ImageCacheConfigController) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.Weak[service.Service]().Named(RegistrydID), controller.DestroyReady[cri.ImageCacheConfig]()}
}

// Outputs implements [controller.Controller].
func (*ImageCacheConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[cri.ImageCacheConfig]()}
}

// Run implements [controller.Controller].
func (c *ImageCacheConfigController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	if c.Known != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Known:
		}
	}
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	complained := false
	var roots []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-timer.C:
		}
		conf, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		if conf == nil {
			rt.TrackOutputs()
			if err := rt.CleanupOutputs(ctx, resource.KindOf[cri.ImageCacheConfig]()); err != nil {
				return err
			}
			continue
		}
		doc, _ := schema.Find[*sysdoc.ImageCacheConfig](conf.Set)
		found := c.find()
		wanted := cacheWanted(doc, len(found) > 0)
		out := cri.ImageCacheConfig{Status: cri.CacheDisabled, CopyStatus: cri.CacheCopySkipped}
		switch {
		case wanted && len(found) == 0:
			if !complained {
				complained = true
				log.Warn("the machine config wants the image cache, and there is none", "looked in", c.Caches)
			}
			timer.Reset(lookAgain)
		case wanted:
			complained = false
			if err := c.serve(ctx, found, !slices.Equal(found, roots)); err != nil {
				if errors.Is(err, supervise.ErrShutdown) {
					return nil
				}
				return err
			}
			roots = found
			out.Roots, out.Status = found, cri.CachePreparing
			s, _, err := state.Find[service.Service](ctx, rt, RegistrydID)
			if err != nil {
				return err
			}
			if s.Running && s.Healthy {
				out.Status = cri.CacheReady
			}
		}
		if out.Status == cri.CacheDisabled {
			roots = nil
			if _, err := c.Services.Status(RegistrydID); err == nil {
				if err := c.Services.Unload(ctx, RegistrydID); err != nil {
					return err
				}
			}
		}
		if err := state.Put(ctx, rt, cri.ImageCacheConfigID, out); err != nil {
			return err
		}
		rt.ResetBackoff()
	}
}

// cacheWanted decides whether the image cache is served. A config that says nothing leaves it to the machine: whoever put a cache
// there, into the image or beside it, wants it used. Published machines wait to be told.
func cacheWanted(doc *sysdoc.ImageCacheConfig, found bool) bool {
	if doc == nil || doc.Local == nil {
		return found
	}
	return doc.Local.Enabled
}

// find returns the directories that have a cache.
func (c *ImageCacheConfigController) find() []string {
	var out []string
	for _, dir := range c.Caches {
		if registryd.Is(dir) {
			out = append(out, dir)
		}
	}
	return out
}

// serve has registryd run on the caches; changed says that they are others than before.
func (c *ImageCacheConfigController) serve(ctx context.Context, roots []string, changed bool) error {
	_, err := c.Services.Status(RegistrydID)
	if err == nil && !changed {
		return nil
	}
	if err == nil {
		if err := c.Services.Unload(ctx, RegistrydID); err != nil {
			return err
		}
	}
	if err := c.Services.Load(registrydService(roots)); err != nil {
		return err
	}
	return c.Services.Start(RegistrydID)
}

// registrydService serves the caches on loopback.
func registrydService(roots []string) supervise.Service {
	return supervise.Service{
		ID: RegistrydID,
		Runner: supervise.Func(func(ctx context.Context, log io.Writer) error {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", registryd.Address)
			if err != nil {
				return fmt.Errorf("serve the image cache: %w", err)
			}
			return registryd.New(slog.New(slog.NewTextHandler(log, nil)), roots...).Serve(ctx, l)
		}),
		Health: &supervise.Check{Probe: probeRegistryd, Delay: 10 * time.Millisecond, Timeout: 2 * time.Second},
		Grace:  5 * time.Second,
	}
}

// probeRegistryd waits until the cache answers: who needs it should not have to wait for the next probe.
func probeRegistryd(ctx context.Context) error {
	for {
		err := askRegistryd(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func askRegistryd(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+registryd.Address+"/v2/", nil)
	if err != nil {
		return err
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the image cache answers %s", resp.Status)
	}
	return nil
}
