package gen

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"talos.internal/config"
	"talos.internal/config/generate"
	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

// secretsFlags are the flags of gen secrets.
type secretsFlags struct {
	output, fromConfig, fromPKI, token, talos string
}

func secretsCommand(env command.Env, force *bool) *cobra.Command {
	var f secretsFlags
	cmd := &cobra.Command{
		Use:   "secrets",
		Short: "Make the secrets of a cluster",
		Long: "Makes the file with all secrets that a cluster starts from, for 'talosctl gen config --with-secrets'.\n" +
			"It can take them from the config of a control-plane node, or take over the authorities of a Kubernetes\n" +
			"cluster from the folder where kubeadm keeps them.",
		Example:           "  talosctl gen secrets --output-file secrets.yaml",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := generate.ParseContract(f.talos); err != nil {
				return command.Usagef(cmd, "--talos-version: %w", err)
			}
			b, err := f.bundle(env, cmd)
			if err != nil {
				return err
			}
			data, err := b.Marshal()
			if err != nil {
				return err
			}
			return env.Output(f.output, *force, data)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output-file", "o", "secrets.yaml", "the file to write, - for standard output")
	fl.StringVar(&f.fromConfig, "from-controlplane-config", "", "the config of a control-plane node to take the secrets from")
	fl.StringVarP(&f.fromPKI, "from-kubernetes-pki", "p", "", "the folder with the authorities of a Kubernetes cluster")
	fl.StringVarP(&f.token, "kubernetes-bootstrap-token", "t", "", "the bootstrap token to use with --from-kubernetes-pki")
	fl.StringVar(&f.talos, "talos-version", generate.Newest.String(), "the version of the system that the secrets are for")
	return cmd
}

// bundle makes or takes over the secrets.
func (f *secretsFlags) bundle(env command.Env, cmd *cobra.Command) (*secret.Bundle, error) {
	switch {
	case f.fromConfig != "" && f.fromPKI != "":
		return nil, command.Usagef(cmd, "--from-controlplane-config and --from-kubernetes-pki exclude each other")
	case f.token != "" && f.fromPKI == "":
		return nil, command.Usagef(cmd, "--kubernetes-bootstrap-token goes with --from-kubernetes-pki")
	case f.fromConfig != "":
		data, err := env.ReadFile(f.fromConfig)
		if err != nil {
			return nil, err
		}
		c, err := config.Load(command.FileName(f.fromConfig), data)
		if err != nil {
			return nil, err
		}
		b, err := generate.Secrets(c)
		if err != nil {
			return nil, command.About(err, "take the secrets from %s", command.FileName(f.fromConfig))
		}
		return b, nil
	case f.fromPKI != "":
		return f.fromKubernetes(env, cmd)
	default:
		return secret.NewBundle(env.Now(), nil)
	}
}

func (f *secretsFlags) fromKubernetes(env command.Env, cmd *cobra.Command) (*secret.Bundle, error) {
	var token secret.Token
	if f.token != "" {
		var err error
		if token, err = secret.ParseToken(f.token); err != nil {
			return nil, command.Usagef(cmd, "--kubernetes-bootstrap-token: %w", err)
		}
	}
	if info, err := os.Stat(f.fromPKI); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder; expected the one where kubeadm keeps ca.crt, ca.key and the others", f.fromPKI)
	}
	b, err := secret.BundleFromKubernetesPKI(os.DirFS(f.fromPKI), token, env.Now(), nil)
	if err != nil {
		return nil, command.About(err, "take over the authorities in %s", f.fromPKI)
	}
	return b, nil
}
