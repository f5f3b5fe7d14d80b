// Package services has the commands about what runs on a machine: services with their states and logs, the kernel's log, the
// stream of events, and the restart of containers.
package services

import (
	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
)

// New returns the commands.
func New(env command.Env) []*cobra.Command {
	return []*cobra.Command{
		dmesgCommand(env),
		eventsCommand(env),
		logsCommand(env),
		restartCommand(env),
		serviceCommand(env),
	}
}
