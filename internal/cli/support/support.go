// Package support has the command that gathers what helps to find out what is wrong with machines: a zip file with a folder
// for each of them.
//
// What is secret is not in it: types of resources that are for administrators alone, the config among them, are left out.
// It is not encrypted, to nobody's key; it stays with who made it until he gives it away.
package support

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// flags are the flags of support.
type flags struct {
	output  string
	workers int
	verbose bool
}

// New returns the command.
func New(env command.Env) *cobra.Command {
	var (
		fl    flags
		plain bool
	)
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Gather what helps to find out what is wrong with machines",
		Long: "Makes a zip file with a folder for each machine: logs, resources, processes, connections and more. Secrets are left\n" +
			"out, and so is the config; but look it through before you give it away, for logs may say anything. It is not encrypted.",
		Example:           "  talosctl -n 10.5.0.2,10.5.0.3 support\n  talosctl -n 10.5.0.2 support --output demo.zip --verbose",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&fl.output, "output", "O", "support.zip", "the file to write; it must not be there yet")
	cmd.Flags().IntVarP(&fl.workers, "num-workers", "w", 1, "how many things to ask each machine at a time")
	cmd.Flags().BoolVarP(&fl.verbose, "verbose", "v", false, "say what is gathered")
	cmd.Flags().BoolVar(&plain, "no-encryption", true, "it never is encrypted; taken so that scripts go on to work")
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case fl.workers < 1:
			return command.Usagef(cmd, "expected --num-workers to be 1 or more, got %d", fl.workers)
		case !plain:
			return command.Usagef(cmd, "the file cannot be encrypted here; encrypt it with a tool and a key of your choice")
		}
		return f.Run(cmd, fl.run)
	}
	return cmd
}

func (fl flags) run(ctx context.Context, s *nodes.Session) (err error) {
	file, err := os.OpenFile(fl.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(fl.output))
		}
	}()
	b := &bundle{zip: zip.NewWriter(file), now: s.Env().Now()}
	var running sync.WaitGroup
	for _, node := range s.Nodes() {
		running.Go(func() { fl.gather(ctx, s, node, b) })
	}
	running.Wait()
	if err := errors.Join(context.Cause(ctx), b.finish(), file.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Env().Stdout, "%s: %d files of %d machines\n", fl.output, b.count, len(s.Nodes()))
	return err
}

// gather asks a node for everything. What cannot be had is written down, in the bundle and for who waits; a node of which
// nothing can be had has failed.
func (fl flags) gather(ctx context.Context, s *nodes.Session, node string, b *bundle) {
	all, err := plan(ctx, s, node)
	if err != nil {
		s.Fail(node, err)
		return
	}
	var (
		mu     sync.Mutex
		failed []string
		next   = make(chan item)
		work   sync.WaitGroup
	)
	for range fl.workers {
		work.Go(func() {
			for i := range next {
				if fl.verbose {
					s.Warn(node, "%s", i.name)
				}
				data, err := i.get(ctx)
				if len(data) > 0 || err == nil {
					b.add(path.Join(folder(node), i.name), data)
				}
				if err != nil {
					mu.Lock()
					failed = append(failed, fmt.Sprintf("%s: %s", i.name, explain(err)))
					mu.Unlock()
				}
			}
		})
	}
	for _, i := range all {
		next <- i
	}
	close(next)
	work.Wait()
	slices.Sort(failed)
	for _, text := range failed {
		s.Warn("warning: "+node, "%s", text)
	}
	if len(failed) > 0 {
		b.add(path.Join(folder(node), "errors.txt"), []byte(strings.Join(failed, "\n")+"\n"))
	}
}

// folder is the name of a node's folder: an address may have characters that no file system likes.
func folder(node string) string { return clean(nodes.Host(node)) }

func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// bundle is the zip file. It may be added to from several goroutines.
type bundle struct {
	mu    sync.Mutex
	zip   *zip.Writer
	now   time.Time
	count int
	err   error
}

func (b *bundle) add(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	w, err := b.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: b.now})
	if err == nil {
		_, err = io.Copy(w, bytes.NewReader(data))
	}
	b.err = err
	b.count++
}

func (b *bundle) finish() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.err, b.zip.Close())
}
