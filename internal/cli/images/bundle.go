package images

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/config/defaults"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/cli/command"
)

func bundleCommand(env command.Env) *cobra.Command {
	var kubernetes, etcd, coreDNS, flannel string
	cmd := &cobra.Command{
		Use: "k8s-bundle", Aliases: []string{"default"}, Short: "List the images that a cluster needs",
		Long: "Lists the images that a cluster with a default config needs, one a line: what 'talosctl image cache-create --images -'\n" +
			"takes.",
		Example: "  talosctl image default\n  talosctl image k8s-bundle --k8s-version 1.36.3",
		Args:    command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVar(&kubernetes, "k8s-version", defaults.Kubernetes, "the version of Kubernetes")
	fl.StringVar(&kubernetes, "kubernetes-version", defaults.Kubernetes, "the same as --k8s-version")
	fl.StringVar(&etcd, "etcd-version", defaults.Etcd, "the version of etcd")
	fl.StringVar(&coreDNS, "coredns-version", defaults.CoreDNS, "the version of CoreDNS")
	fl.StringVar(&flannel, "flannel-version", defaults.Flannel, "the version of flannel")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		version := strings.TrimPrefix(kubernetes, "v")
		if err := defaults.CheckKubernetes(version); err != nil {
			return command.Usagef(cmd, "--k8s-version: %w", err)
		}
		i := defaults.ImagesOf(version)
		for image, own := range map[*string][2]string{
			&i.Etcd: {defaults.EtcdRepository, etcd}, &i.CoreDNS: {defaults.CoreDNSRepository, coreDNS}, &i.Flannel: {defaults.FlannelRepository, flannel},
		} {
			*image = own[0] + ":v" + strings.TrimPrefix(own[1], "v")
		}
		list := []string{i.APIServer, i.ControllerManager, i.CoreDNS, i.Etcd, i.Flannel, i.Kubelet, defaults.Pause, i.Proxy, i.Scheduler}
		slices.Sort(list)
		_, err := io.WriteString(env.Stdout, strings.Join(list, "\n")+"\n")
		return err
	}
	return cmd
}

func systemBundleCommand(env command.Env) *cobra.Command {
	var overlays, extensions bool
	cmd := &cobra.Command{
		Use: "talos-bundle [VERSION]", Short: "List the images of the system itself",
		Long: "Lists the images of a version of the system, one a line: the installer, and the node that runs in a container. There\n" +
			"are no images of overlays and extensions: this system is built whole.",
		Example:           "  talosctl image talos-bundle\n  talosctl image talos-bundle v1.15.0",
		ValidArgsFunction: cobra.NoFileCompletions,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return command.Usagef(cmd, "expected at most one argument, VERSION, got %d", len(args))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&overlays, "overlays", true, "list overlays as well, of which there are none")
	cmd.Flags().BoolVar(&extensions, "extensions", true, "list extensions as well, of which there are none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		version := buildinfo.Version
		if len(args) > 0 {
			version = "v" + strings.TrimPrefix(args[0], "v")
		}
		if strings.ContainsAny(version, " /:@") || len(version) < len("v1.0.0") {
			return command.Usagef(cmd, "expected a version such as v1.15.0, got %q", args[0])
		}
		_, err := io.WriteString(env.Stdout, defaults.Installer(version)+"\n"+defaults.NodeRepository+":"+version+"\n")
		return err
	}
	return cmd
}
