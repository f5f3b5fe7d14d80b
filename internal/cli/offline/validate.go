// Package offline has the commands that work on files alone, without a machine: checking and patching configs.
package offline

import (
	"fmt"

	"github.com/spf13/cobra"

	"talos.internal/config"
	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
)

// Validate returns the command that checks a config.
func Validate(env command.Env) *cobra.Command {
	var file, mode string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check a machine config",
		Long: "Checks a machine config and reports every problem in it, with its line and what was expected.\n" +
			"Warnings and notes do not make a config invalid, unless --strict is given, for warnings.",
		Example:           "  talosctl validate --config controlplane.yaml --mode metal",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := parseMode(cmd, mode)
			if err != nil {
				return err
			}
			return validate(env, file, m, strict)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the config's file, - for standard input (required)")
	cmd.Flags().StringVarP(&mode, "mode", "m", "", "where the machine runs: metal, cloud or container (required)")
	cmd.Flags().BoolVar(&strict, "strict", false, "treat warnings as errors")
	command.Require(cmd, "config", "mode")
	command.Complete(cmd, "mode", cobra.FixedCompletions([]string{"metal", "cloud", "container"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func parseMode(cmd *cobra.Command, s string) (schema.Mode, error) {
	switch m := schema.Mode(s); m {
	case schema.Metal, schema.Cloud, schema.Container:
		return m, nil
	}
	return "", command.Usagef(cmd, "expected --mode to be metal, cloud or container, got %q", s)
}

// validate prints what there is to say about the config in file, and fails if it is not valid. What is accepted and not acted
// on is of no interest until then.
func validate(env command.Env, file string, mode schema.Mode, strict bool) error {
	data, err := env.ReadFile(file)
	if err != nil {
		return err
	}
	name := command.FileName(file)
	report := config.Examine(name, data, mode)
	problems, warnings := report.Of(schema.Error), report.Of(schema.Warning)
	bad, what := len(problems), count(len(problems), "problem")
	if strict {
		bad, what = bad+len(warnings), what+" and "+count(len(warnings), "warning")
	}
	for _, p := range report {
		if bad == 0 || p.Severity == schema.Error || p.Severity == schema.Warning {
			env.Warn("%s", p)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%s is not valid for %s mode: %s", name, mode, what)
	}
	_, err = fmt.Fprintf(env.Stdout, "%s is valid for %s mode\n", name, mode)
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
