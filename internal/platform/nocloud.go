package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"talos.internal/internal/netconf"
)

// The files of a seed.
const (
	userFile    = "user-data"
	metaFile    = "meta-data"
	networkFile = "network-config"
)

// seedLabels are the labels of a seed disk; VFAT has capitals.
var seedLabels = []string{"cidata", "CIDATA"}

// find looks for a seed disk, once. A disk may show up a moment after its driver was loaded.
func (p *Platform) find(ctx context.Context) {
	p.once.Do(func() {
		go func() {
			defer close(p.done)
			p.seed = p.look(ctx)
		}()
	})
}

func (p *Platform) look(ctx context.Context) seed {
	s := seed{}
	s.server, s.hostname = seedServer(p.o.DMI.Serial)
	if s.server != "" {
		s.where = s.server
	}
	settled := false
	end := time.Now().Add(settleMost)
	for {
		files, err := p.o.Media.Read(seedLabels, userFile, metaFile, networkFile)
		if err == nil {
			s.found, s.where = true, "the seed disk"
			s.user, s.meta, s.network = files[userFile], files[metaFile], files[networkFile]
			return s
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.failed = err.Error() // it may be mended by the next look: a medium that is just being inserted
		} else {
			s.failed = ""
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return s
		}
		select {
		case <-p.o.Settled:
			if !settled {
				settled = true
				end = time.Now().Add(seedWait)
			}
		default:
		}
		select {
		case <-ctx.Done():
			return s
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// wait waits for the end of the search.
func (p *Platform) wait(ctx context.Context) (seed, error) {
	p.find(context.WithoutCancel(ctx))
	select {
	case <-p.done:
		return p.seed, nil
	case <-ctx.Done():
		return seed{}, fmt.Errorf("wait for the seed disk: %w", context.Cause(ctx))
	}
}

// nocloud is the config of a seed.
func (p *Platform) nocloud(ctx context.Context, tell func(error)) (string, error) {
	s, err := p.wait(ctx)
	switch {
	case err != nil:
		return "", err
	case s.failed != "":
		return "", fmt.Errorf("read the seed disk: %s", s.failed)
	case s.found:
		return userdata(s.user)
	case s.server != "":
		return again(ctx, tell, func() (string, error) {
			b, err := p.get(ctx, s.server+userFile)
			if err != nil {
				return "", err
			}
			return userdata(b)
		})
	}
	return "", nil
}

// Seed returns what the platform says about the network. It waits until it is known whether there is a seed disk, and for a
// server that has the seed no longer than the server needs to say no.
func (p *Platform) Seed(ctx context.Context) (netconf.Seed, error) {
	s, err := p.wait(ctx)
	switch {
	case err != nil:
		return netconf.Seed{}, err
	case s.found:
		return netconf.Seed{Platform: "nocloud", MetaData: s.meta, NetworkConfig: s.network}, nil
	case s.server == "":
		return netconf.Seed{Platform: "metal"}, nil
	}
	out := netconf.Seed{Platform: "nocloud"}
	if s.hostname != "" {
		out.MetaData = []byte("local-hostname: " + s.hostname + "\n")
	}
	return out, nil
}
