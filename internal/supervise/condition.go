package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// Condition is something that a service waits for.
type Condition interface {
	// Wait returns nil as soon as the condition holds. It returns ctx's error when ctx ends first; any other error counts
	// as a failed run of the service, or skips it ([Skip]). It is called by several goroutines at once.
	Wait(ctx context.Context) error
	// String says what is waited for, to be read after "Waiting for ": "network".
	String() string
}

// Gate is a condition that is opened and closed by the program: network ready, time in sync. Use [NewGate].
type Gate struct {
	name string
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

// NewGate returns a closed gate. The name is what is waited for.
func NewGate(name string) *Gate { return &Gate{name: name, open: make(chan struct{})} }

// Set opens or closes the gate. Closing it does not disturb a service that has passed.
func (g *Gate) Set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

// Wait implements [Condition].
func (g *Gate) Wait(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// String implements [Condition].
func (g *Gate) String() string { return g.name }

type pathExists struct{ path string }

// PathExists waits until there is something at path. It looks twice in a second: extension services name paths of file
// systems that are mounted later, where a watch on the directory of now would see nothing.
func PathExists(path string) Condition { return pathExists{path} }

func (p pathExists) String() string { return "file " + p.path + " to exist" }

func (p pathExists) Wait(ctx context.Context) error {
	for {
		_, err := os.Stat(p.path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle is how long a wait holds back news: at a start several conditions are often met at once, and each step would be an
// event that says nothing.
const settle = 100 * time.Millisecond

// waitAll returns nil when all conditions have been met once. It calls tell with what is not met yet, whenever that has
// changed from what was last told; told is what was told before the call.
func waitAll(ctx context.Context, conditions []Condition, told string, tell func(string)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		index int
		err   error
	}
	results := make(chan result, len(conditions))
	for i, c := range conditions {
		go func() {
			err := guard(nil, func() error { return c.Wait(ctx) })
			results <- result{i, err}
		}()
	}
	met := make([]bool, len(conditions))
	news := time.NewTimer(settle)
	defer news.Stop()
	for left := len(conditions); left > 0; {
		select {
		case r := <-results:
			if r.err != nil {
				return fmt.Errorf("wait for %v: %w", conditions[r.index], r.err)
			}
			met[r.index] = true
			left--
			news.Reset(settle)
		case <-news.C:
			if now := unmet(conditions, met); now != told {
				told = now
				tell(now)
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", unmet(conditions, met), ctx.Err())
		}
	}
	return nil
}

// unmet names the conditions that are not met; all of them if met is nil.
func unmet(conditions []Condition, met []bool) string {
	var names []string
	for i, c := range conditions {
		if met == nil || !met[i] {
			names = append(names, c.String())
		}
	}
	return strings.Join(names, "; ")
}
