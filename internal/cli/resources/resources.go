// Package resources has the commands that show the state of machines: get, for resources of any type, and inspect, for the
// controllers that make them.
//
// No type of resource is known here. What there is, what it is called and which columns a table of it has, the machine says
// (its resource definitions), so that a client prints what a newer machine has.
package resources

import (
	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
)

// New returns the commands.
func New(env command.Env) []*cobra.Command {
	return []*cobra.Command{getCommand(env), inspectCommand(env)}
}
