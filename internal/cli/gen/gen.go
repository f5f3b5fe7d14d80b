// Package gen has the commands that make what a cluster starts from: machine configs, secrets, certificates and keys.
package gen

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
)

// New returns the group of commands.
func New(env command.Env) *cobra.Command {
	var force bool
	group := command.Group("gen", "Make configs, secrets, certificates and keys",
		Config(env, &force),
		secretsCommand(env, &force),
		caCommand(env, &force),
		keypairCommand(env, &force),
		keyCommand(env, &force),
		csrCommand(env, &force),
		crtCommand(env, &force),
		secureBootCommand(env, &force),
	)
	group.PersistentFlags().BoolVarP(&force, "force", "f", false, "replace files that exist")
	return group
}

// MachineConfig returns the same command as [Config], for the group machineconfig.
func MachineConfig(env command.Env) *cobra.Command {
	var force bool
	cmd := Config(env, &force)
	cmd.Use = strings.Replace(cmd.Use, "config", "gen", 1)
	cmd.Example = strings.ReplaceAll(cmd.Example, "gen config", "machineconfig gen")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace files that exist")
	return cmd
}

// maxHours is the longest time that a certificate may live: 200 years. More would leave [time.Duration].
const maxHours = 200 * 365 * 24

// lifetime returns the value of --hours.
func lifetime(cmd *cobra.Command, hours int) (time.Duration, error) {
	if hours < 1 || hours > maxHours {
		return 0, command.Usagef(cmd, "expected --hours to be from 1 to %d, got %d", maxHours, hours)
	}
	return time.Duration(hours) * time.Hour, nil
}

// checkFileName reports a value of a flag that becomes the name of files and cannot be one.
func checkFileName(cmd *cobra.Command, flag, value string) error {
	if value == "" || value == "." || value == ".." || strings.ContainsAny(value, "/\\\x00") {
		return command.Usagef(cmd, "expected %s to be good for a file's name, got %q", flag, value)
	}
	return nil
}

// summary says what a certificate is for, and until when.
func summary(who []string, until time.Time) string {
	if len(who) == 0 {
		who = []string{"nobody in particular"}
	}
	return fmt.Sprintf("for %s, until %s", strings.Join(who, ", "), until.UTC().Format(time.RFC3339))
}
