// Package contexts has the commands on the client's own configuration, talosconfig: which clusters there are, how they are
// reached, and which of them the other commands are for.
//
// Each command reads the file, changes it and writes it whole; two that run at once do not mix the file up, but the later one
// wins.
package contexts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
)

// New returns the group of commands.
func New(env command.Env) *cobra.Command {
	f := &file{env: env}
	group := command.Group("config", "Manage the client's configuration: which clusters there are, and how to reach them",
		addCommand(f),
		contextCommand(f),
		contextsCommand(f),
		endpointCommand(f),
		infoCommand(f),
		mergeCommand(f),
		newCommand(f),
		nodeCommand(f),
		proxyCommand(f),
		removeCommand(f),
	)
	group.Long = "The client's configuration, talosconfig, is the file that --talosconfig names, else $TALOSCONFIG, else\n" +
		"~/.talos/config, or within a pod " + talosconfig.ServiceAccountPath + "."
	group.PersistentFlags().StringVar(&f.flag, "talosconfig", "", "the client's configuration (default: $TALOSCONFIG, else ~/.talos/config)")
	return group
}

// file is the talosconfig that the commands work on.
type file struct {
	env  command.Env
	flag string // --talosconfig
}

func (f *file) path() (string, error) {
	return f.env.TalosconfigPath(f.flag)
}

// open reads the file, and says what in it is not understood.
func (f *file) open() (*talosconfig.Config, error) {
	path, err := f.path()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read talosconfig: %w; take one over by 'talosctl config merge FILE'", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read talosconfig: %w", err)
	}
	c, warnings, err := talosconfig.Load(data)
	if err != nil {
		return nil, command.About(err, "read talosconfig %s", path)
	}
	for _, w := range warnings {
		f.env.Warn("warning: %s: %s", path, w)
	}
	return c, nil
}

// openOrNew is open for commands that can start a file.
func (f *file) openOrNew() (*talosconfig.Config, error) {
	c, err := f.open()
	if errors.Is(err, fs.ErrNotExist) {
		return &talosconfig.Config{Contexts: map[string]*talosconfig.Context{}}, nil
	}
	return c, err
}

func (f *file) save(c *talosconfig.Config) error {
	path, err := f.path()
	if err != nil {
		return err
	}
	return c.Save(path)
}

// change lets do change the named context, or the current one if name is empty, and saves. do returns what to tell the user.
func (f *file) change(name string, do func(name string, c *talosconfig.Context) string) error {
	c, err := f.open()
	if err != nil {
		return err
	}
	name, context, err := c.Lookup(name)
	if err != nil {
		return f.explain(err)
	}
	told := do(name, context)
	if err := f.save(c); err != nil {
		return err
	}
	f.env.Warn("%s", told)
	return nil
}

// explain adds to an error about contexts which file it is about.
func (f *file) explain(err error) error {
	path, pathErr := f.path()
	if pathErr != nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// contextFlag adds --context to cmd.
func (f *file) contextFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "context", "", "the context (default: the current one)")
	command.Complete(cmd, "context", f.completeNames)
}

// completeNames completes the name of a context.
func (f *file) completeNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	path, err := f.path()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	c, _, err := talosconfig.Open(path) // without warnings, which would end up in the command line
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return c.Names(), cobra.ShellCompDirectiveNoFileComp
}

// completeOneName is completeNames for commands that take a single one.
func (f *file) completeOneName(cmd *cobra.Command, args []string, to string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.completeNames(cmd, args, to)
}
