package nodes

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
)

// patience is how long a completion may take: longer than that and a person has typed it himself.
const patience = 3 * time.Second

// Complete asks the nodes for words that complete a command line. Nothing is printed when they do not answer.
func Complete(cmd *cobra.Command, f *Flags, ask func(ctx context.Context, c *client.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	quiet := *f
	quiet.env = silent(f.env)
	s, err := quiet.Open(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.Close()
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	seen := map[string]bool{}
	var words []cobra.Completion
	for _, r := range Each(ctx, s, patience, func(ctx context.Context, c *client.Client, _ string) ([]cobra.Completion, error) { return ask(ctx, c) }) {
		for _, w := range r.Value {
			if !seen[w] {
				seen[w] = true
				words = append(words, w)
			}
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// silent returns env with its warnings thrown away: they would end up in the command line.
func silent(env command.Env) command.Env {
	env.Stderr = nothing{}
	return env
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

func (f *Flags) locate() (string, error) {
	return f.env.TalosconfigPath(f.talosconfig)
}

func (f *Flags) open() *talosconfig.Config {
	path, err := f.locate()
	if err != nil {
		return &talosconfig.Config{}
	}
	c, _, err := talosconfig.Open(path)
	if err != nil {
		return &talosconfig.Config{}
	}
	return c
}

func (f *Flags) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return f.open().Names(), cobra.ShellCompDirectiveNoFileComp
}

func (f *Flags) completeNodes(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	_, c, err := f.open().Lookup(f.context)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return append(append([]string{}, c.Nodes...), c.Endpoints...), cobra.ShellCompDirectiveNoFileComp
}
