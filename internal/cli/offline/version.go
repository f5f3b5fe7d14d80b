package offline

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/cli/command"
)

// Version returns the command that prints versions: the client's; machines' when there is an API to ask.
func Version(env command.Env) *cobra.Command {
	var client, short bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of the client and of machines",
		Long: "Prints the version of the client. Asking machines for theirs is not there yet: without --client the command\n" +
			"fails after printing.",
		Example:           "  talosctl version --client --short",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text := describe(buildinfo.Read(), short)
			if _, err := io.WriteString(env.Stdout, text); err != nil {
				return err
			}
			if client {
				return nil
			}
			return errors.New("asking machines for their version is not there yet; use --client")
		},
	}
	cmd.Flags().BoolVar(&client, "client", false, "print the client's version only")
	cmd.Flags().BoolVar(&short, "short", false, "print the version only")
	return cmd
}

func describe(info buildinfo.Info, short bool) string {
	if short {
		return fmt.Sprintf("Client %s\n", info.Tag)
	}
	text := "Client:\n"
	for _, row := range [][2]string{
		{"Tag:", info.Tag},
		{"SHA:", info.SHA},
		{"Built:", cmp.Or(info.Built, "unknown")},
		{"Go version:", info.GoVersion},
		{"OS/Arch:", info.OS + "/" + info.Arch},
	} {
		text += fmt.Sprintf("\t%-12s %s\n", row[0], row[1])
	}
	return text
}
