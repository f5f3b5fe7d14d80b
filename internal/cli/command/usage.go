package command

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"talos.internal/config/schema"
)

// UsageError is the error of a command line that says what no command takes. The program exits with 2 for it.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.err }

// Usagef returns a [*UsageError] that names the command and how to get help.
func Usagef(cmd *cobra.Command, format string, args ...any) error {
	return &UsageError{fmt.Errorf("%s: %w; see '%s --help'", cmd.CommandPath(), fmt.Errorf(format, args...), cmd.CommandPath())}
}

// ExactArgs is [cobra.ExactArgs] with a message that names what is expected.
func ExactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return Usagef(cmd, "expected %s, got %s", plural(names), count(args))
	}
}

// AtLeast is [cobra.MinimumNArgs] of one argument, with a message that names it.
func AtLeast(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return nil
		}
		return Usagef(cmd, "expected at least one argument, %s", name)
	}
}

func plural(names []string) string {
	switch len(names) {
	case 0:
		return "no arguments"
	case 1:
		return "one argument, " + names[0]
	default:
		return fmt.Sprintf("%d arguments, %s", len(names), strings.Join(names, " and "))
	}
}

// count says how many args there are; the surplus is usually a word that lost its quotes, or a flag that lost its hyphens.
func count(args []string) string {
	if len(args) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d: %s", len(args), strings.Join(args, " "))
}

// Group returns a command that only holds others: without a known one it is a usage error.
func Group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Args: cobra.ArbitraryArgs, // else cobra reports unknown commands in its own words, and only at the root
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return Unknown(cmd, args[0])
		},
		DisableFlagsInUseLine: true, // it has none of its own but --help
	}
	c.AddCommand(subs...)
	return c
}

// Unknown returns the usage error of name, which is no command of group.
func Unknown(group *cobra.Command, name string) error {
	var names []string
	start := ""
	for _, sub := range group.Commands() {
		if sub.IsAvailableCommand() {
			names = append(append(names, sub.Name()), sub.Aliases...)
			if name != "" && start == "" && strings.HasPrefix(sub.Name(), name) {
				start = sub.Name()
			}
		}
	}
	if near := cmp.Or(schema.Nearest(name, names), start); near != "" {
		return Usagef(group, "unknown command %q (did you mean %q?)", name, near)
	}
	return Usagef(group, "unknown command %q", name)
}

// FlagError turns the error of a command line's flags into a usage error, with the flag that was probably meant.
func FlagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return Unknown(cmd, cmd.Flags().Arg(0)) // the flag belongs to a command that is misspelt
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return Usagef(cmd, "%w", err)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := schema.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return Usagef(cmd, "%w (did you mean --%s?)", err, near)
	}
	return Usagef(cmd, "%w", err)
}

// Require marks flags of cmd as required; [CheckRequired] holds a command line to it. The names must be those of flags.
func Require(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		cmd.Flags().Lookup(name).Annotations = map[string][]string{cobra.BashCompOneRequiredFlag: {"true"}}
	}
}

// CheckRequired returns a usage error if flags that are required are not given. It has the form of a hook of cobra's, which
// would else find them missing by itself, and report it as any other error.
func CheckRequired(cmd *cobra.Command, _ []string) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	return Usagef(cmd, "%s must be given", strings.Join(missing, " and "))
}

// Complete sets how the values of a flag of cmd are completed. The name must be that of a flag, and be given once.
func Complete(cmd *cobra.Command, name string, f cobra.CompletionFunc) {
	// The error is that of a name that is not there, or given twice: a mistake in the program that leaves this flag without
	// completion, and nothing else.
	_ = cmd.RegisterFlagCompletionFunc(name, f)
}
