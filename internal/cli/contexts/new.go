package contexts

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

// newFlags are the flags of config new.
type newFlags struct {
	roles, endpoints []string
	ttl              time.Duration
	secrets, context string
	force            bool
}

func newCommand(f *file) *cobra.Command {
	var n newFlags
	cmd := &cobra.Command{
		Use:   "new [PATH]",
		Short: "Make a talosconfig for another person",
		Long: "Makes a talosconfig with a new certificate, at PATH or in the file talosconfig, from the cluster's secrets.\n" +
			"Asking a machine for the certificate is not there yet.",
		Example: "  talosctl config new jane.talosconfig --with-secrets secrets.yaml --roles os:reader --endpoints 10.5.0.2",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.ExactArgs("PATH")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return n.run(f.env, cmd, append(args, "talosconfig")[0])
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&n.roles, "roles", []string{secret.RoleAdmin}, "the roles of the certificate")
	fl.DurationVar(&n.ttl, "crt-ttl", secret.ClientTTL, "how long the certificate is valid")
	fl.StringVar(&n.secrets, "with-secrets", "", "the file with the cluster's secrets")
	fl.StringVar(&n.context, "context", "default", "the name of the new context")
	fl.StringSliceVar(&n.endpoints, "endpoints", nil, "where the cluster is reached")
	fl.BoolVarP(&n.force, "force", "f", false, "replace the file if it exists")
	return cmd
}

func (n *newFlags) run(env command.Env, cmd *cobra.Command, path string) error {
	switch {
	case n.ttl <= 0:
		return command.Usagef(cmd, "expected --crt-ttl to be more than zero, got %s", n.ttl)
	case len(n.roles) == 0:
		return command.Usagef(cmd, "expected --roles to have at least one role, such as %s", secret.RoleReader)
	case n.context == "":
		return command.Usagef(cmd, "expected --context not to be empty")
	}
	if err := checkAddresses(cmd, "--endpoints", n.endpoints, isEndpoint); err != nil {
		return err
	}
	if n.secrets == "" {
		return errors.New("asking a machine for a certificate is not there yet; make it from the cluster's secrets:\n" +
			"  talosctl gen secrets --from-controlplane-config controlplane.yaml   # if you have no secrets.yaml\n" +
			"  talosctl config new --with-secrets secrets.yaml")
	}
	env.WarnRoles(n.roles)
	b, err := env.ReadSecrets(n.secrets)
	if err != nil {
		return err
	}
	c, err := env.Talosconfig(n.context, n.endpoints, b.OS, n.roles, n.ttl)
	if err != nil {
		return err
	}
	data, err := c.Marshal()
	if err != nil {
		return err
	}
	return env.Output(path, n.force, data)
}
