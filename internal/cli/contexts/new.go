package contexts

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/secret"
)

// newFlags are the flags of config new.
type newFlags struct {
	roles, endpoints []string
	nodes            []string
	ttl              time.Duration
	secrets, context string
	force            bool
}

func newCommand(f *file) *cobra.Command {
	var n newFlags
	cmd := &cobra.Command{
		Use:   "new [PATH]",
		Short: "Make a talosconfig for another person",
		Long: "Makes a talosconfig with a new certificate, at PATH or in the file talosconfig. A machine of the control plane\n" +
			"issues it, or with --with-secrets it is made here from the cluster's secrets.",
		Example: "  talosctl config new jane.talosconfig --nodes 10.5.0.2 --roles os:reader\n" +
			"  talosctl config new jane.talosconfig --with-secrets secrets.yaml --roles os:reader --endpoints 10.5.0.2",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.ExactArgs("PATH")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return n.run(f, cmd, append(args, "talosconfig")[0])
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&n.roles, "roles", []string{secret.RoleAdmin}, "the roles of the certificate")
	fl.DurationVar(&n.ttl, "crt-ttl", secret.ClientTTL, "how long the certificate is valid")
	fl.StringVar(&n.secrets, "with-secrets", "", "the file with the cluster's secrets")
	fl.StringVar(&n.context, "context", "default", "the name of the new context")
	fl.StringSliceVar(&n.endpoints, "endpoints", nil, "where the cluster is reached")
	fl.StringSliceVarP(&n.nodes, "nodes", "n", nil, "the machine that issues the certificate (default: that of the current context)")
	fl.BoolVarP(&n.force, "force", "f", false, "replace the file if it exists")
	return cmd
}

func (n *newFlags) run(f *file, cmd *cobra.Command, path string) error {
	env := f.env
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
	env.WarnRoles(n.roles)
	if n.secrets == "" {
		return n.ask(f, cmd, path)
	}
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

// ask has a machine issue the certificate.
func (n *newFlags) ask(f *file, cmd *cobra.Command, path string) error {
	chosen := nodes.Choice{Nodes: n.nodes, Talosconfig: f.flag}
	return chosen.Flags(f.env).RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
		answer, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.GenerateClientConfiguration, error) {
			return client.Only(c.Machine().GenerateClientConfiguration(ctx, &machinepb.GenerateClientConfigurationRequest{
				Roles: n.roles, CrtTtl: durationpb.New(n.ttl),
			}))
		})
		if err != nil {
			s.Fail(node, err)
			return nil
		}
		pair, err := secret.ParsePair(answer.GetCrt(), answer.GetKey())
		if err != nil {
			return fmt.Errorf("certificate of %s: %w", node, err)
		}
		// Where the machine is reached from here, the new person most likely reaches it, too.
		endpoints := n.endpoints
		if len(endpoints) == 0 {
			endpoints = s.Context().Endpoints
		}
		c := talosconfig.Config{Context: n.context, Contexts: map[string]*talosconfig.Context{
			n.context: talosconfig.NewContext(endpoints, nil, answer.GetCa(), pair),
		}}
		data, err := c.Marshal()
		if err != nil {
			return err
		}
		return f.env.Output(path, n.force, data)
	})
}
