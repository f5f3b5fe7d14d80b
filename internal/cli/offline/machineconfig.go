package offline

import (
	"fmt"

	"github.com/spf13/cobra"

	"talos.internal/config"
	"talos.internal/internal/cli/command"
)

// MachineConfig returns the group of commands on configs in files. more are commands that belong to it and live elsewhere.
func MachineConfig(env command.Env, more ...*cobra.Command) *cobra.Command {
	cmd := command.Group("machineconfig", "Work with machine configs in files", append(more, patchCommand(env))...)
	cmd.Aliases = []string{"mc"}
	return cmd
}

func patchCommand(env command.Env) *cobra.Command {
	var patches []string
	var output string
	var force bool
	cmd := &cobra.Command{
		Use:   "patch FILE",
		Short: "Change a machine config by patches",
		Long: "Changes a machine config by patches and prints it. Comments stay where a patch does not reach.\n" +
			"A patch is @FILE, YAML or JSON as it is, or a file's name: partial documents that are merged\n" +
			"(a strategic merge patch), or a list of operations (a JSON patch). Several apply in their order.",
		Example: "  talosctl machineconfig patch worker.yaml --patch '{machine: {certSANs: [demo.example.com]}}' --output worker.yaml --force",
		Args:    command.ExactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			return patchFile(env, args[0], patches, output, force)
		},
	}
	cmd.Flags().StringArrayVarP(&patches, "patch", "p", nil, "a patch; may be given several times (required)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "the file to write (default: standard output)")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace the output file if it exists")
	command.Require(cmd, "patch")
	return cmd
}

func patchFile(env command.Env, file string, patches []string, output string, force bool) error {
	data, err := env.ReadFile(file)
	if err != nil {
		return err
	}
	name := command.FileName(file)
	c, err := config.Load(name, data)
	if err != nil {
		return err
	}
	list, err := env.ReadPatches("--patch", patches)
	if err != nil {
		return err
	}
	patched, err := c.Patch(list...)
	if err != nil {
		return fmt.Errorf("patch %s: %w", name, err)
	}
	out, err := patched.Bytes()
	if err != nil {
		return err
	}
	return env.Output(output, force, out)
}
