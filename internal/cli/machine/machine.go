// Package machine has the commands that look at a machine as such: its version, memory, processes, mounts, connections,
// clock and containers. Each prints one table with a row's machine in its first column.
package machine

import (
	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
)

// New returns the commands.
func New(env command.Env) []*cobra.Command {
	return []*cobra.Command{
		containersCommand(env),
		diskFreeCommand(env),
		memoryCommand(env),
		mountsCommand(env),
		netstatCommand(env),
		processesCommand(env),
		statsCommand(env),
		timeCommand(env),
		versionCommand(env),
	}
}
