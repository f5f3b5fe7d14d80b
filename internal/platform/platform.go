package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"talos.internal/internal/sys/proc"
)

// Options are what the platform is looked for with.
type Options struct {
	// Params is the kernel's command line, DMI what the firmware says.
	Params []proc.Param
	DMI    proc.DMI
	// Embedded is the file of a config that is built into the image; it need not be there.
	Embedded string
	// Hostname and MAC are the machine's name and the hardware address of its first link; empty as long as there is none.
	Hostname, MAC func() string
	// Media are the media of the machine.
	Media Media
	// Settled is closed when the drivers of the devices are loaded that were there at the start.
	Settled <-chan struct{}
	// Client fetches; nil is one with the authorities of the system.
	Client *http.Client
}

// Media reads files of media by their labels.
type Media interface {
	// Read returns the files of that of the names that are there, from the first medium that has one of the labels. If there is
	// no such medium the error wraps fs.ErrNotExist.
	Read(labels []string, names ...string) (map[string][]byte, error)
}

// Source is a place of a config. Read returns it, empty if there is none there, and tells what keeps it while it tries again.
type Source struct {
	Name string
	Read func(ctx context.Context, tell func(error)) (string, error)
}

// Platform finds what it is asked for. Use [New]. It is safe for concurrent use.
type Platform struct {
	o Options

	once sync.Once
	done chan struct{}
	seed seed
}

// seed is what a nocloud seed has.
type seed struct {
	found                    bool
	where                    string
	user, meta, network      []byte
	hostname, server, failed string
}

// Times of the search.
const (
	fetchLimit = 30 * time.Second
	pauseFirst = time.Second
	pauseMost  = 30 * time.Second
	// seedWait is how long a seed disk may take to show up after the drivers are loaded.
	seedWait = 3 * time.Second
	// settleMost is how long the drivers may take.
	settleMost = 30 * time.Second
)

// New returns a platform. Nothing is read before it is asked for something.
func New(o Options) *Platform {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: fetchLimit, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}}
	}
	return &Platform{o: o, done: make(chan struct{})}
}

// Sources returns the places where a config may be, in their order.
func (p *Platform) Sources() []Source {
	fromLine := func(key string) Source {
		return Source{"the kernel's command line, " + key, func(context.Context, func(error)) (string, error) {
			return inline(key, values(p.o.Params, key))
		}}
	}
	return []Source{
		{"the image", func(context.Context, func(error)) (string, error) {
			b, err := os.ReadFile(p.o.Embedded)
			if errors.Is(err, fs.ErrNotExist) {
				return "", nil
			}
			return string(b), err
		}},
		fromLine(keyEarly),
		p.main(),
		fromLine(keyInline),
	}
}

// main is the source that talos.config= names, or a seed.
func (p *Platform) main() Source {
	where := ""
	if v := values(p.o.Params, keyConfig); len(v) > 0 {
		where = v[len(v)-1]
	}
	switch where {
	case "none":
		return Source{"nowhere", func(context.Context, func(error)) (string, error) { return "", nil }}
	case "metal-iso":
		return Source{"the medium metal-iso", func(ctx context.Context, tell func(error)) (string, error) {
			return again(ctx, tell, func() (string, error) {
				files, err := p.o.Media.Read([]string{"metal-iso"}, "config.yaml")
				if errors.Is(err, fs.ErrNotExist) {
					return "", errors.New("no medium has the label metal-iso")
				}
				if err == nil && files["config.yaml"] == nil {
					return "", errors.New("the medium metal-iso has no file config.yaml")
				}
				return string(files["config.yaml"]), err
			})
		}}
	case "":
		return Source{"the nocloud seed", p.nocloud}
	}
	return Source{where, func(ctx context.Context, tell func(error)) (string, error) {
		// A URL that nothing can be fetched from will not become better.
		if _, err := remote(variable.ReplaceAllString(where, "x")); err != nil {
			return "", fmt.Errorf("%s=: %w", keyConfig, err)
		}
		return again(ctx, tell, func() (string, error) { return p.fetch(ctx, where) })
	}}
}

func (p *Platform) fetch(ctx context.Context, template string) (string, error) {
	filled, err := fill(template, p.variable)
	if err != nil {
		return "", err
	}
	b, err := p.get(ctx, filled)
	if err != nil {
		return "", err
	}
	text, err := expand(b)
	if err == nil && strings.TrimSpace(text) == "" {
		err = errors.New("the answer is empty")
	}
	return text, err
}

// variable returns the value of a variable of a URL, empty as long as it has none.
func (p *Platform) variable(name string) (string, bool) {
	switch name {
	case "uuid":
		return strings.ToLower(p.o.DMI.UUID), true
	case "serial":
		return p.o.DMI.Serial, true
	case "mac":
		return p.o.MAC(), true
	case "hostname":
		return p.o.Hostname(), true
	}
	return "", false
}

func (p *Platform) get(ctx context.Context, where string) ([]byte, error) {
	u, err := remote(where)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.o.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: the server answers %s", u.Redacted(), resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("get %s: the answer is longer than %d bytes", u.Redacted(), maxConfig)
	}
	return b, err
}

// again calls f until it succeeds, with growing pauses, and tells what went wrong. The error is that of ctx.
func again(ctx context.Context, tell func(error), f func() (string, error)) (string, error) {
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		text, err := f()
		if err == nil {
			return text, nil
		}
		if ctx.Err() == nil {
			tell(err)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
