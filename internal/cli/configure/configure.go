// Package configure has the commands that change the config of machines: apply-config, patch, edit and meta.
//
// A config travels whole: a patch and an edit read it from the machine, change the text here, where its comments are kept, and
// send it back. What was changed on the machine in between is lost; the API has no version to compare.
package configure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/config"
	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"

	"go.yaml.in/yaml/v3"
)

// New returns the commands.
func New(env command.Env) []*cobra.Command {
	patch := command.Group("patch", "Change a resource of machines by patches", patchCommand(env))
	edit := command.Group("edit", "Change a resource of machines in an editor", editCommand(env))
	return []*cobra.Command{applyCommand(env), edit, metaCommand(env), patch}
}

// how says how a config is to be applied.
type how struct {
	mode    string
	dryRun  bool
	timeout time.Duration
}

var modes = map[string]machinepb.ApplyConfigurationRequest_Mode{
	"auto":      machinepb.ApplyConfigurationRequest_AUTO,
	"no-reboot": machinepb.ApplyConfigurationRequest_NO_REBOOT,
	"staged":    machinepb.ApplyConfigurationRequest_STAGED,
	"try":       machinepb.ApplyConfigurationRequest_TRY,
}

func modeNames() []string { return []string{"auto", "no-reboot", "staged", "try"} }

func (h *how) bind(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&h.mode, "mode", "m", "auto", "auto and no-reboot apply it now, staged at the next boot, try for a time and then goes back")
	fl.BoolVar(&h.dryRun, "dry-run", false, "change nothing, and print what would change")
	fl.DurationVar(&h.timeout, "timeout", time.Minute, "how long --mode try keeps the config")
	command.Complete(cmd, "mode", cobra.FixedCompletions(modeNames(), cobra.ShellCompDirectiveNoFileComp))
}

func (h *how) check(cmd *cobra.Command) error {
	if _, ok := modes[h.mode]; !ok {
		if h.mode == "reboot" {
			return command.Usagef(cmd, "--mode reboot is no more: apply with --mode staged and then reboot by 'talosctl reboot'")
		}
		if near := schema.Nearest(h.mode, modeNames()); near != "" {
			return command.Usagef(cmd, "expected --mode to be one of %s, got %q (did you mean %q?)", strings.Join(modeNames(), ", "), h.mode, near)
		}
		return command.Usagef(cmd, "expected --mode to be one of %s, got %q", strings.Join(modeNames(), ", "), h.mode)
	}
	if h.mode == "try" && h.timeout <= 0 {
		return command.Usagef(cmd, "expected --timeout to be more than zero, got %s", h.timeout)
	}
	return nil
}

// apply sends a config to a node.
func (h *how) apply(ctx context.Context, c *client.Client, data []byte) (*machinepb.ApplyConfiguration, error) {
	req := &machinepb.ApplyConfigurationRequest{Data: data, Mode: modes[h.mode], DryRun: h.dryRun}
	if h.mode == "try" {
		req.TryModeTimeout = durationpb.New(h.timeout)
	}
	return client.Only(c.Machine().ApplyConfiguration(ctx, req))
}

// tell prints what a node says about a config that it has taken.
func tell(s *nodes.Session, node string, a *machinepb.ApplyConfiguration) error {
	for _, w := range a.GetWarnings() {
		s.Warn("warning: "+node, "%s", w)
	}
	details := strings.TrimRight(a.GetModeDetails(), "\n")
	if details == "" {
		details = "applied"
	}
	gap := " "
	if strings.Contains(details, "\n") { // a diff
		gap = "\n"
	}
	_, err := fmt.Fprintf(s.Env().Stdout, "%s:%s%s\n", node, gap, details)
	return err
}

func applyCommand(env command.Env) *cobra.Command {
	var (
		h       how
		file    string
		patches []string
	)
	cmd := &cobra.Command{
		Use:     "apply-config",
		Aliases: []string{"apply"},
		Short:   "Give machines a config",
		Example: "  talosctl -n 10.5.0.2 apply-config --file controlplane.yaml\n" +
			"  talosctl -n 10.5.0.2 apply-config --insecure --file worker.yaml --config-patch @disk.yaml",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVarP(&file, "file", "f", "", "the config; - is standard input (required)")
	fl.StringArrayVarP(&patches, "config-patch", "p", nil, "change the config before it is sent: @FILE, or YAML or JSON; may be given several times")
	command.Require(cmd, "file")
	h.bind(cmd)
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := h.check(cmd); err != nil {
			return err
		}
		data, err := env.ReadFile(file)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			return fmt.Errorf("%s is empty", command.FileName(file))
		}
		if data, err = patched(env, "--config-patch", patches, command.FileName(file), data); err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (*machinepb.ApplyConfiguration, error) {
				return h.apply(ctx, c, data)
			}) {
				if err := tell(s, r.Node, r.Value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// patched returns a config changed by patches. Without patches it is not even read: a newer machine may know what this
// client does not.
func patched(env command.Env, flag string, values []string, name string, data []byte) ([]byte, error) {
	if len(values) == 0 {
		return data, nil
	}
	patches, err := env.ReadPatches(flag, values)
	if err != nil {
		return nil, err
	}
	c, err := config.Load(name, data)
	if err != nil {
		return nil, err
	}
	if c, err = c.Patch(patches...); err != nil {
		return nil, err
	}
	return c.Bytes()
}

// current reads the config of a node.
func current(ctx context.Context, c *client.Client) ([]byte, error) {
	kind := resource.KindOf[machineconfig.Config]()
	r, err := c.State().Get(ctx, &statepb.GetRequest{Namespace: kind.Namespace, Type: kind.Type, Id: machineconfig.Active})
	if err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	var cfg machineconfig.Config
	if err := yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &cfg); err != nil {
		return nil, fmt.Errorf("read the config: %w", err)
	}
	if cfg.Text == "" {
		return nil, errors.New("read the config: it is empty")
	}
	return []byte(cfg.Text), nil
}

// machineConfigArg is the only resource that can be patched and edited.
func machineConfigArg(cmd *cobra.Command, args []string) error {
	return command.ExactArgs()(cmd, args)
}

func patchCommand(env command.Env) *cobra.Command {
	var (
		h       how
		patches []string
		file    string
	)
	cmd := &cobra.Command{
		Use:     "machineconfig",
		Aliases: []string{"mc", "machineconfigs"},
		Short:   "Change the config of machines by patches",
		Example: "  talosctl -n 10.5.0.2 patch machineconfig --patch @ntp.yaml\n" +
			"  talosctl -n 10.5.0.2 patch mc --dry-run --patch '{\"machine\":{\"time\":{\"disabled\":true}}}'",
		Args:              machineConfigArg,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&patches, "patch", "p", nil, "the patch: @FILE, or YAML or JSON; may be given several times")
	fl.StringVar(&file, "patch-file", "", "a file with a patch, before those of --patch")
	h.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := h.check(cmd); err != nil {
			return err
		}
		all := slices.Clone(patches)
		if file != "" {
			all = slices.Insert(all, 0, "@"+file)
		}
		if len(all) == 0 {
			return command.Usagef(cmd, "--patch or --patch-file must be given")
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (*machinepb.ApplyConfiguration, error) {
				old, err := current(ctx, c)
				if err != nil {
					return nil, err
				}
				data, err := patched(env, "--patch", all, "the machine's config", old)
				if err != nil {
					return nil, err
				}
				return h.apply(ctx, c, data)
			}) {
				if err := tell(s, r.Node, r.Value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func metaCommand(env command.Env) *cobra.Command {
	write := &cobra.Command{
		Use:               "write KEY VALUE",
		Short:             "Write a value",
		Example:           "  talosctl -n 10.5.0.2 meta write 0x0a 'addresses: []'",
		Args:              command.ExactArgs("KEY", "VALUE"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	wf := nodes.Bind(write, env).BindInsecure(write)
	write.RunE = func(cmd *cobra.Command, args []string) error {
		key, err := metaKey(cmd, args[0])
		if err != nil {
			return err
		}
		return change(cmd, wf, func(ctx context.Context, c *client.Client) error {
			_, err := client.Only(c.Machine().MetaWrite(ctx, &machinepb.MetaWriteRequest{Key: key, Value: []byte(args[1])}))
			return err
		}, "written")
	}
	remove := &cobra.Command{
		Use:               "delete KEY",
		Short:             "Remove a value",
		Example:           "  talosctl -n 10.5.0.2 meta delete 0x0a",
		Args:              command.ExactArgs("KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	rf := nodes.Bind(remove, env).BindInsecure(remove)
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		key, err := metaKey(cmd, args[0])
		if err != nil {
			return err
		}
		return change(cmd, rf, func(ctx context.Context, c *client.Client) error {
			_, err := client.Only(c.Machine().MetaDelete(ctx, &machinepb.MetaDeleteRequest{Key: key}))
			return err
		}, "removed")
	}
	group := command.Group("meta", "Change the values in the META partition of machines", remove, write)
	group.Long = "Changes the values that a machine keeps outside of its config. 'talosctl get metakeys' shows them."
	return group
}

// metaKey reads a key, of which there are 256: in decimal, or in hexadecimal after 0x.
func metaKey(cmd *cobra.Command, text string) (uint32, error) {
	n, err := parseByte(text)
	if err != nil {
		return 0, command.Usagef(cmd, "expected KEY to be a number from 0 to 255, such as 10 or 0x0a, got %q", text)
	}
	return n, nil
}

// change makes a call on each node and prints that it is done.
func change(cmd *cobra.Command, f *nodes.Flags, do func(ctx context.Context, c *client.Client) error, done string) error {
	return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
		var b strings.Builder
		for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) {
			return done, do(ctx, c)
		}) {
			fmt.Fprintf(&b, "%s: %s\n", r.Node, r.Value)
		}
		_, err := io.WriteString(s.Env().Stdout, b.String())
		return err
	})
}
