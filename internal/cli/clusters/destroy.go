package clusters

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/atomicfile"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/secret/kubeconfig"
)

func destroyCommand(b *base) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "End all machines of a cluster and remove all that there is of it",
		Long: "Ends all machines at once, removes the network and the files of a cluster, whatever state it is in, and takes its\n" +
			"contexts out of ~/.talos/config and ~/.kube/config. It may be called again if it did not come to its end.",
		Example:           "  talosctl cluster destroy --name demo",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolP("force", "f", false, "go on after an error, which it does anyway")
	cmd.Flags().StringVar(&path, "talosconfig", "", "the client's configuration (default: $TALOSCONFIG, else ~/.talos/config)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, store, err := b.provisioner(cmd)
		if err != nil {
			return err
		}
		// Before the folder goes. A create that was interrupted early has neither.
		admin, adminErr := administrator(store, b.name)
		kube, kubeErr := load(store, b.name, kubeconfigFile)
		if err := p.Destroy(cmd.Context(), b.name, progress(b.log())); err != nil {
			return err
		}
		var errs []error
		if adminErr == nil {
			errs = append(errs, b.forget(admin, path))
		}
		if kubeErr == nil {
			errs = append(errs, b.forgetKubernetes(kube))
		}
		return errors.Join(errs...)
	}
	return cmd
}

// forget removes the contexts of a cluster that is gone from the person's talosconfig: those with its authority, which nobody
// else has.
func (b *base) forget(admin *talosconfig.Context, flag string) error {
	path, err := b.env.TalosconfigPath(flag)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	removed, err := changeTalosconfig(path, func(c *talosconfig.Config) ([]string, error) { return dropContexts(c, admin.CA), nil })
	if err != nil {
		return fmt.Errorf("take the cluster's context out of %s: %w", path, err)
	}
	for _, name := range removed {
		b.env.Warn("%s: removed the context %s", path, nodes.Clean(name))
	}
	return nil
}

// forgetKubernetes removes a cluster that is gone from the person's kubeconfig.
func (b *base) forgetKubernetes(own []byte) error {
	path, err := kubeconfigPath(b.env.Getenv, b.env.Home)
	if err != nil {
		return nil // it was merged nowhere
	}
	existing, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	data, removed, err := kubeconfig.Remove(existing, own)
	if err == nil && len(removed) > 0 {
		err = atomicfile.WriteFile(path, data, 0o600, atomicfile.Options{Overwrite: true, Preserve: true})
	}
	if err != nil {
		return fmt.Errorf("take the cluster's context out of %s: %w", path, err)
	}
	for _, e := range removed {
		if e.Section == kubeconfig.Contexts {
			b.env.Warn("%s: removed the context %s", path, nodes.Clean(e.Name))
		}
	}
	return nil
}

// dropContexts removes the contexts with an authority and returns their names.
func dropContexts(c *talosconfig.Config, authority string) []string {
	var removed []string
	for _, name := range c.Names() {
		if c.Contexts[name].CA == authority {
			delete(c.Contexts, name)
			removed = append(removed, name)
		}
	}
	if slices.Contains(removed, c.Context) {
		c.Context = ""
		if left := c.Names(); len(left) == 1 {
			c.Context = left[0]
		}
	}
	return removed
}
