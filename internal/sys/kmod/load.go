package kmod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel takes modules.
type Kernel interface {
	// Load loads the module in a file. That it is there already is no error. It does not return before the module's own
	// start is over.
	Load(file, args string) error
}

// Running is the kernel that runs this process.
type Running struct{}

// compressed lets the kernel expand the file (linux/module.h, MODULE_INIT_COMPRESSED_FILE).
const compressed = 4

// Load implements Kernel.
func (Running) Load(file, args string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = compressed
	}
	err = unix.FinitModule(int(f.Fd()), args, flags)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// needError says that a module was not tried, as another is not there. It wraps what kept that one.
type needError struct {
	name  string
	cause error
}

// Error names the other module.
func (e *needError) Error() string { return "it needs " + e.name + ", which is not loaded" }

// Unwrap returns what kept it.
func (e *needError) Unwrap() error { return e.cause }

// Result is what became of one step.
type Result struct {
	Step Step
	Err  error
}

// Load loads the modules of a plan side by side, each after those that it needs, and returns what became of each, in the
// order of the plan. A module whose need was not met is not tried. It returns early when ctx ends; what is under way in the
// kernel then is left to it, and has the cause of ctx as its error.
func Load(ctx context.Context, k Kernel, plan []Step) []Result {
	type outcome struct {
		done chan struct{}
		err  error
	}
	all := make(map[string]*outcome, len(plan))
	for _, s := range plan {
		all[s.Name] = &outcome{done: make(chan struct{})}
	}
	slots := make(chan struct{}, max(2, runtime.NumCPU()))
	one := func(s Step) error {
		for _, list := range [][]string{s.Hard, s.Soft} {
			for _, n := range list {
				o, ok := all[n]
				if !ok {
					continue
				}
				select {
				case <-o.done:
				case <-ctx.Done():
					return fmt.Errorf("wait for %s: %w", n, context.Cause(ctx))
				}
			}
		}
		for _, n := range s.Hard {
			if o, ok := all[n]; ok && o.err != nil {
				return &needError{n, o.err}
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		defer func() { <-slots }()
		return k.Load(s.File, s.Args)
	}
	for _, s := range plan {
		go func() {
			err := one(s)
			if err != nil {
				err = fmt.Errorf("load kernel module %s: %w", s.Name, err)
			}
			all[s.Name].err = err
			close(all[s.Name].done)
		}()
	}
	results := make([]Result, len(plan))
	for i, s := range plan {
		results[i].Step = s
		o := all[s.Name]
		select {
		case <-o.done:
			results[i].Err = o.err
		case <-ctx.Done():
			select {
			case <-o.done:
				results[i].Err = o.err
			default:
				results[i].Err = fmt.Errorf("load kernel module %s: it is not done: %w", s.Name, context.Cause(ctx))
			}
		}
	}
	return results
}

// Err joins the errors of results.
func Err(results []Result) error {
	var errs []error
	for _, r := range results {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return errors.Join(errs...)
}
