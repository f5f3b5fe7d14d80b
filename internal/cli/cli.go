// Package cli is talosctl: the commands by which people use the system.
//
// [New] puts the command tree together; each group of commands is a package below this one. [Run] runs one command line and
// returns the process's exit code. Commands are tested as a user would run them, by the scripts in testdata.
package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"talos.internal/client"
	"talos.internal/internal/cli/capture"
	"talos.internal/internal/cli/cgroups"
	"talos.internal/internal/cli/clusters"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/configure"
	"talos.internal/internal/cli/contexts"
	"talos.internal/internal/cli/controlplane"
	"talos.internal/internal/cli/dashboard"
	"talos.internal/internal/cli/gen"
	"talos.internal/internal/cli/health"
	"talos.internal/internal/cli/images"
	"talos.internal/internal/cli/inject"
	"talos.internal/internal/cli/kubeupgrade"
	"talos.internal/internal/cli/machine"
	"talos.internal/internal/cli/members"
	"talos.internal/internal/cli/offline"
	"talos.internal/internal/cli/power"
	"talos.internal/internal/cli/remotefile"
	"talos.internal/internal/cli/resources"
	"talos.internal/internal/cli/rotation"
	"talos.internal/internal/cli/services"
	"talos.internal/internal/cli/support"
	"talos.internal/internal/cli/wipe"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1 // the command did not do what was asked
	exitUsage = 2 // the command line is wrong; nothing was done
)

// New returns the root command.
func New(env command.Env) *cobra.Command {
	root := command.Group("talosctl", "Manage machines that run Kubernetes",
		capture.New(env),
		cgroups.New(env),
		clusters.New(env),
		completion(env),
		contexts.New(env),
		dashboard.New(env),
		gen.New(env),
		health.New(env),
		images.New(env),
		inject.New(env),
		kubeupgrade.New(env),
		members.New(env),
		rotation.New(env),
		offline.MachineConfig(env, gen.MachineConfig(env)),
		offline.Validate(env),
		support.New(env),
		wipe.New(env),
	)
	for _, group := range [][]*cobra.Command{
		configure.New(env), controlplane.New(env), machine.New(env), power.New(env), remotefile.New(env), resources.New(env), services.New(env),
	} {
		root.AddCommand(group...)
	}
	root.Long = "talosctl manages machines through their API, makes and checks their configs, certificates and keys, and makes\n" +
		"laboratory clusters on this computer."
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(command.FlagError)
	root.PersistentPreRunE = command.CheckRequired
	root.SetHelpCommand(help())
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// Run runs the command line args, without the program's name, and returns the exit code. Errors are printed to standard error.
func Run(ctx context.Context, env command.Env, args []string) int {
	root := New(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*command.UsageError](err); ok {
		env.Warn("%s", err)
		return exitUsage
	}
	if !errors.Is(err, command.ErrReported) {
		env.Warn("error: %s", client.Explain(err))
	}
	return exitError
}

// help returns the command that shows how others are used.
func help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show how a command is used",
		Example: "  talosctl help gen config\n" +
			"  talosctl gen config --help",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 && !found.HasSubCommands() {
				return command.Usagef(cmd, "there is no command '%s'", cmd.Root().Name()+" "+args[len(args)-1])
			}
			if len(rest) > 0 {
				return command.Unknown(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if found, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range found.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
