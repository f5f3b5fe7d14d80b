// Package effective gives controllers the machine config as documents.
//
// The state holds the config as text (machineconfig.Config). [Get] reads it, and parses each text once, whoever asks: what comes
// back is shared and must not be changed. Documents are found in it by their Go type, with schema.Find and schema.All.
//
// The package keeps the last few configs that it parsed and nothing else. Controllers import it, and who composes them.
package effective

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"talos.internal/config"
	"talos.internal/config/schema"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
)

// Config is a machine config: as it was written, and the documents that it comes to.
type Config struct {
	*config.Config
	// Set are the documents of config.Config.Effective.
	Set schema.Set
}

// kept is how many parsed configs are remembered: the active one, the one of the next boot, and one that is on its way.
const kept = 3

var cache struct {
	sync.Mutex
	texts   [kept]string
	configs [kept]*Config
	next    int
}

// Parse returns the config that text is. Of the same text it returns the same Config as long as it is one of the last few.
func Parse(text string) (*Config, error) {
	cache.Lock()
	defer cache.Unlock()
	for i, t := range cache.texts {
		if cache.configs[i] != nil && t == text {
			return cache.configs[i], nil
		}
	}
	c, err := config.Load("machine config", []byte(text))
	if err != nil {
		return nil, fmt.Errorf("read the machine config: %w", err)
	}
	out := &Config{Config: c, Set: c.Effective()}
	cache.texts[cache.next], cache.configs[cache.next] = text, out
	cache.next = (cache.next + 1) % kept
	return out, nil
}

// Get returns the active config of the machine, nil if it has none yet. A controller declares the resource
// machineconfig.Config, named machineconfig.Active, as an input for it.
func Get(ctx context.Context, st state.Reader) (*Config, error) {
	r, err := state.Get[machineconfig.Config](ctx, st, machineconfig.Active)
	if errors.Is(err, state.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return Parse(r.Spec().Text)
}
