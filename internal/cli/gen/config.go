package gen

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"talos.internal/config"
	"talos.internal/config/defaults"
	"talos.internal/config/generate"
	"talos.internal/config/patch"
	"talos.internal/config/reference"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

// The things that gen config makes.
const (
	typeControlPlane = "controlplane"
	typeWorker       = "worker"
	typeTalosconfig  = "talosconfig"
)

// fileName returns the name of the file with what t names; "" if t names nothing that there is.
func fileName(t string) string {
	switch t {
	case typeControlPlane, typeWorker:
		return t + ".yaml"
	case typeTalosconfig:
		return t
	default:
		return ""
	}
}

// configFlags are the flags of gen config.
type configFlags struct {
	patches, controlPlanePatches, workerPatches []string
	installDisk, installImage                   string
	kubernetes, talos                           string
	output                                      string
	types, mirrors, sans                        []string
	secrets, dnsDomain, schemaVersion           string
	discoveryService                            string
	kubeSpan, discovery, docs, examples         bool
}

// Config returns the command that makes the configs of a cluster. force is the group's flag.
func Config(env command.Env, force *bool) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:   "config NAME ENDPOINT",
		Short: "Make the machine configs and the talosconfig of a cluster",
		Long: "Makes controlplane.yaml, worker.yaml and talosconfig for a cluster. NAME is the cluster's name, ENDPOINT the\n" +
			"URL of its Kubernetes API: of a load balancer, a shared address, or the first control-plane node.\n\n" +
			"The files hold the secrets of the cluster. To make them again, keep the secrets apart: see 'talosctl gen secrets'.",
		Example:           "  talosctl gen config demo https://10.5.0.2:6443 --output demo",
		Args:              command.ExactArgs("NAME", "ENDPOINT"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(env, cmd, args[0], args[1], *force)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.patches, "config-patch", nil, "a patch for all configs: @FILE, YAML, JSON, or a file's name; may be given several times")
	fl.StringArrayVar(&f.controlPlanePatches, "config-patch-control-plane", nil, "a patch for the config of control-plane nodes")
	fl.StringArrayVar(&f.workerPatches, "config-patch-worker", nil, "a patch for the config of workers")
	fl.StringVar(&f.installDisk, "install-disk", defaults.InstallDisk, "the disk to install on; empty for none")
	fl.StringVar(&f.installImage, "install-image", defaults.Installer(buildinfo.Version), "the image that installs the system")
	fl.StringVar(&f.kubernetes, "kubernetes-version", defaults.Kubernetes, "the version of Kubernetes")
	fl.StringVar(&f.talos, "talos-version", generate.Newest.String(), "the version of the system that the configs are for: it decides their style")
	fl.StringVarP(&f.output, "output", "o", ".", "the folder to write to; with a single type a file, or - for standard output")
	fl.StringSliceVarP(&f.types, "output-types", "t", []string{typeControlPlane, typeWorker, typeTalosconfig}, "what to make")
	fl.StringArrayVar(&f.mirrors, "registry-mirror", nil, "a mirror, as REGISTRY=URL; may be given several times")
	fl.StringSliceVar(&f.sans, "additional-sans", nil, "more names and addresses for the certificates of the APIs")
	fl.StringVar(&f.secrets, "with-secrets", "", "the file with the cluster's secrets (default: new ones)")
	fl.StringVar(&f.dnsDomain, "dns-domain", defaults.DNSDomain, "the domain of services")
	fl.StringVar(&f.schemaVersion, "version", "v1alpha1", "the version of the config's schema; there is only one")
	fl.StringVar(&f.discoveryService, "discovery-service", "", "the URL of a discovery service outside of the cluster (default: the control plane's own)")
	fl.BoolVar(&f.kubeSpan, "with-kubespan", false, "encrypt the traffic between machines")
	fl.BoolVar(&f.discovery, "with-cluster-discovery", true, "let machines find each other")
	fl.BoolVar(&f.docs, "with-docs", true, "explain each field in a comment")
	fl.BoolVar(&f.examples, "with-examples", true, "show examples of fields that are not set, in comments")
	completeTypes := cobra.FixedCompletions([]string{typeControlPlane, typeWorker, typeTalosconfig}, cobra.ShellCompDirectiveNoFileComp)
	command.Complete(cmd, "output-types", completeTypes)
	return cmd
}

// run makes the files. Nothing is written unless all of them can be made.
func (f *configFlags) run(env command.Env, cmd *cobra.Command, name, endpoint string, force bool) error {
	in, err := f.input(cmd, name, endpoint)
	if err != nil {
		return err
	}
	if err := f.checkOutput(cmd); err != nil {
		return err
	}
	patches, err := f.readPatches(env)
	if err != nil {
		return err
	}
	if in.Secrets, err = f.loadSecrets(env); err != nil {
		return err
	}
	made := map[string][]byte{}
	for _, role := range []schema.Role{schema.ControlPlane, schema.Worker} {
		if !slices.Contains(f.types, string(role)) {
			continue
		}
		if made[string(role)], err = f.machineConfig(env, in, role, patches); err != nil {
			return err
		}
	}
	if slices.Contains(f.types, typeTalosconfig) {
		if made[typeTalosconfig], err = adminConfig(env, in); err != nil {
			return err
		}
	}
	return f.write(env, made, force)
}

// input checks the command line.
func (f *configFlags) input(cmd *cobra.Command, name, endpoint string) (generate.Input, error) {
	in := generate.Input{
		ClusterName: name, Kubernetes: strings.TrimPrefix(f.kubernetes, "v"),
		InstallDisk: f.installDisk, InstallImage: f.installImage,
		ExtraSANs: f.sans, DNSDomain: f.dnsDomain, Discovery: f.discovery, KubeSpan: f.kubeSpan,
	}
	if err := in.Endpoint.UnmarshalText([]byte(endpoint)); err != nil {
		return in, command.Usagef(cmd, "expected ENDPOINT to be %s, got %q: %w", in.Endpoint.Expects(), endpoint, err)
	}
	var err error
	if in.Contract, err = generate.ParseContract(f.talos); err != nil {
		return in, command.Usagef(cmd, "--talos-version: %w", err)
	}
	if f.schemaVersion != "v1alpha1" {
		return in, command.Usagef(cmd, "--version: expected v1alpha1, got %q", f.schemaVersion)
	}
	if err := f.checkKubernetes(in); err != nil {
		return in, command.Usagef(cmd, "--kubernetes-version: %w", err)
	}
	for _, san := range f.sans {
		if _, err := netip.ParseAddr(san); err != nil && !scalar.ValidHostname(strings.TrimPrefix(san, "*.")) {
			return in, command.Usagef(cmd, "--additional-sans: expected names and addresses, got %q", san)
		}
	}
	if f.discoveryService != "" {
		in.DiscoveryService = new(scalar.Endpoint)
		if err := in.DiscoveryService.UnmarshalText([]byte(f.discoveryService)); err != nil {
			return in, command.Usagef(cmd, "--discovery-service: %w", err)
		}
	}
	in.Mirrors, err = f.parseMirrors(cmd)
	return in, err
}

// checkKubernetes holds the supported versions for configs of the newest style; what an older system supports is not known here.
func (f *configFlags) checkKubernetes(in generate.Input) error {
	if in.Contract == generate.Newest {
		return defaults.CheckKubernetes(in.Kubernetes)
	}
	if !strings.HasPrefix(in.Kubernetes, "1.") {
		return fmt.Errorf("expected a version such as %s, got %q", defaults.Kubernetes, f.kubernetes)
	}
	return nil
}

func (f *configFlags) parseMirrors(cmd *cobra.Command) ([]generate.Mirror, error) {
	out, err := generate.ParseMirrors(f.mirrors)
	if err != nil {
		return nil, command.Usagef(cmd, "--registry-mirror: %w", err)
	}
	return out, nil
}

// checkOutput reports types that there are not, and an output that cannot take them.
func (f *configFlags) checkOutput(cmd *cobra.Command) error {
	if len(f.types) == 0 {
		return command.Usagef(cmd, "--output-types: expected at least one of controlplane, worker, talosconfig")
	}
	for _, t := range f.types {
		if fileName(t) == "" {
			return command.Usagef(cmd, "--output-types: expected controlplane, worker or talosconfig, got %q", t)
		}
	}
	if f.output == "-" && len(f.types) > 1 {
		return command.Usagef(cmd, "--output - takes one type; choose it by --output-types")
	}
	return nil
}

// configPatches are the patches by the configs that they are for.
type configPatches struct{ all, controlPlane, worker []patch.Patch }

func (f *configFlags) readPatches(env command.Env) (configPatches, error) {
	var p configPatches
	for _, list := range []struct {
		to     *[]patch.Patch
		flag   string
		values []string
	}{
		{&p.all, "--config-patch", f.patches},
		{&p.controlPlane, "--config-patch-control-plane", f.controlPlanePatches},
		{&p.worker, "--config-patch-worker", f.workerPatches},
	} {
		var err error
		if *list.to, err = env.ReadPatches(list.flag, list.values); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (f *configFlags) loadSecrets(env command.Env) (*secret.Bundle, error) {
	if f.secrets == "" {
		return secret.NewBundle(env.Now(), nil)
	}
	return env.ReadSecrets(f.secrets)
}

// machineConfig returns the config of one role as a file.
func (f *configFlags) machineConfig(env command.Env, in generate.Input, role schema.Role, patches configPatches) ([]byte, error) {
	c, err := in.Config(role)
	if err != nil {
		return nil, err
	}
	own := patches.worker
	if role == schema.ControlPlane {
		own = patches.controlPlane
	}
	if c, err = c.Patch(slices.Concat(patches.all, own)...); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(string(role)), err)
	}
	report := c.Check("")
	if err := report.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName(string(role)), err)
	}
	for _, w := range report.Of(schema.Warning) {
		env.Warn("%s: %s", fileName(string(role)), w)
	}
	return f.annotated(c)
}

// annotated returns c with the comments that the flags ask for.
func (f *configFlags) annotated(c *config.Config) ([]byte, error) {
	if !f.docs && !f.examples {
		return c.Bytes()
	}
	var nodes []*yaml.Node
	for _, e := range c.Documents() {
		n := schema.Clone(e.Node)
		if kind, ok := config.KindOf(e.Value); ok {
			reference.Annotate(n, kind, f.docs, f.examples)
		}
		nodes = append(nodes, n)
	}
	return schema.Encode(nodes...)
}

// adminConfig returns a talosconfig with a new certificate of an administrator.
func adminConfig(env command.Env, in generate.Input) ([]byte, error) {
	c, err := env.Talosconfig(in.ClusterName, nil, in.Secrets.OS, []string{secret.RoleAdmin}, defaults.AdminTalosconfigLifetime)
	if err != nil {
		return nil, err
	}
	return c.Marshal()
}

// write writes what was made: to a folder, or the only one to a file or to standard output.
func (f *configFlags) write(env command.Env, made map[string][]byte, force bool) error {
	if len(f.types) == 1 && !f.isFolder() {
		return env.Output(f.output, force, made[f.types[0]])
	}
	var files []command.File
	for _, t := range []string{typeControlPlane, typeWorker, typeTalosconfig} {
		if data, ok := made[t]; ok {
			files = append(files, command.File{Name: filepath.Join(f.output, fileName(t)), Data: data})
		}
	}
	return env.WriteFiles(force, files...)
}

// isFolder reports whether the output of a single type is meant as a folder's name: one that ends in a slash, or of a folder
// that is there.
func (f *configFlags) isFolder() bool {
	if strings.HasSuffix(f.output, "/") || strings.HasSuffix(f.output, string(filepath.Separator)) {
		return true
	}
	info, err := os.Stat(f.output)
	return err == nil && info.IsDir()
}
