package cli

import (
	"io"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
)

// A shell is one that completions can be made for.
type shell struct {
	name string
	// install says how to load the completions, now and in every new session.
	install string
	write   func(root *cobra.Command, w io.Writer, descriptions bool) error
}

func shells() []shell {
	return []shell{
		{
			"bash", "This needs the package bash-completion. Now:\n\n" +
				"  source <(talosctl completion bash)\n\n" +
				"In every new session, on Linux:\n\n" +
				"  talosctl completion bash > /etc/bash_completion.d/talosctl\n\n" +
				"and on macOS:\n\n" +
				"  talosctl completion bash > $(brew --prefix)/etc/bash_completion.d/talosctl",
			func(root *cobra.Command, w io.Writer, descriptions bool) error {
				return root.GenBashCompletionV2(w, descriptions)
			},
		},
		{
			"fish", "Now:\n\n" +
				"  talosctl completion fish | source\n\n" +
				"In every new session:\n\n" +
				"  talosctl completion fish > ~/.config/fish/completions/talosctl.fish",
			func(root *cobra.Command, w io.Writer, descriptions bool) error {
				return root.GenFishCompletion(w, descriptions)
			},
		},
		{
			"powershell", "Now:\n\n" +
				"  talosctl completion powershell | Out-String | Invoke-Expression\n\n" +
				"In every new session: add the output to your profile.",
			func(root *cobra.Command, w io.Writer, descriptions bool) error {
				if descriptions {
					return root.GenPowerShellCompletionWithDesc(w)
				}
				return root.GenPowerShellCompletion(w)
			},
		},
		{
			"zsh", "This needs completion to be on: autoload -U compinit; compinit. Now:\n\n" +
				"  source <(talosctl completion zsh)\n\n" +
				"In every new session:\n\n" +
				"  talosctl completion zsh > \"${fpath[1]}/_talosctl\"",
			func(root *cobra.Command, w io.Writer, descriptions bool) error {
				if descriptions {
					return root.GenZshCompletion(w)
				}
				return root.GenZshCompletionNoDesc(w)
			},
		},
	}
}

// completion returns the group of commands that print completions for a shell.
func completion(env command.Env) *cobra.Command {
	group := command.Group("completion", "Print completions of commands and flags for a shell")
	group.Long = "Prints a script by which a shell completes commands, flags and names. How it is installed says\n" +
		"the help of each shell."
	for _, s := range shells() {
		group.AddCommand(completionOf(env, s))
	}
	return group
}

func completionOf(env command.Env, s shell) *cobra.Command {
	var bare bool
	cmd := &cobra.Command{
		Use:               s.name,
		Short:             "Print completions for " + s.name,
		Long:              "Prints completions for " + s.name + ". " + s.install,
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.write(cmd.Root(), env.Stdout, !bare)
		},
	}
	cmd.Flags().BoolVar(&bare, "no-descriptions", false, "leave out the descriptions of commands and flags")
	return cmd
}
