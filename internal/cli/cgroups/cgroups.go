package cgroups

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// mounted is where a machine has its control groups. It is asked for it; nothing is read here.
var mounted = path.Join("/", "sys", "fs", "cgroup")

// podNamespace is that of containerd for pods.
const podNamespace = "k8s.io"

// New returns the command.
func New(env command.Env) *cobra.Command {
	var preset, file string
	var bare bool
	cmd := &cobra.Command{
		Use:     "cgroups",
		Aliases: []string{"cg"},
		Short:   "Show the control groups of machines and what they use",
		Long: "Shows the control groups of machines as a tree. Presets say which values: " + strings.Join(Presets(), ", ") + ".\n" +
			"A file with other columns looks like this; as is text, bytes, percent, microseconds, quota or lines:\n\n" +
			"  columns:\n    - {name: MemCurrent, file: memory.current, as: bytes}\n    - {name: Faults, file: memory.stat, key: pgfault}\n" +
			"    - {name: IoSome, file: io.pressure, key: some.avg10, as: percent}\n    - {name: Read, file: io.stat, key: \"*.rbytes\", as: bytes}",
		Example:           "  talosctl -n 10.5.0.2 cgroups\n  talosctl -n 10.5.0.2 cgroups --preset psi\n  talosctl -n 10.5.0.2 cgroups --schema-file faults.yaml",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&preset, "preset", "memory", "the values to show: one of "+strings.Join(Presets(), ", "))
	cmd.Flags().StringVar(&file, "schema-file", "", "a file that says which values to show")
	cmd.Flags().BoolVar(&bare, "skip-cri-resolve", false, "show pods and containers by their ids")
	_ = cmd.RegisterFlagCompletionFunc("preset", cobra.FixedCompletions(Presets(), cobra.ShellCompDirectiveNoFileComp))
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if file != "" && cmd.Flags().Changed("preset") {
			return command.Usagef(cmd, "give --preset or --schema-file, not both")
		}
		if file == "" && !slices.Contains(Presets(), preset) {
			return command.Usagef(cmd, "expected --preset to be one of %s, got %q", strings.Join(Presets(), ", "), preset)
		}
		schema, err := choose(preset, file)
		if err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			return printGroups(ctx, env.Stdout, s, schema, bare)
		})
	}
	return cmd
}

func choose(preset, file string) (Schema, error) {
	if file == "" {
		return Preset(preset)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Schema{}, err
	}
	s, err := ParseSchema(b)
	if err != nil {
		return Schema{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// printGroups prints the groups of each node, one after the other.
func printGroups(ctx context.Context, out io.Writer, s *nodes.Session, schema Schema, bare bool) error {
	headings := []string{"NODE", "NAME"}
	for _, c := range schema.Columns {
		headings = append(headings, c.Name)
	}
	t := nodes.NewTable(headings...)
	for _, node := range s.Nodes() {
		g, err := ask(ctx, s, node)
		if err != nil {
			s.Fail(node, fmt.Errorf("read %s: %w", mounted, err))
			continue
		}
		if !bare {
			names, err := podNames(ctx, s, node)
			if err != nil {
				s.Warn("warning: "+node, "pods and containers are shown by their ids: %v", err)
			}
			g.Rename(names)
		}
		for _, row := range g.Rows(schema) {
			cells := []any{node}
			for _, c := range row {
				cells = append(cells, c)
			}
			t.Row(cells...)
		}
	}
	return t.Write(out)
}

func ask(ctx context.Context, s *nodes.Session, node string) (*Group, error) {
	r := nodes.NewReader(ctx, s, node, nodes.Idle, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
		return c.Machine().Copy(ctx, &machinepb.CopyRequest{RootPath: mounted})
	})
	defer r.Close()
	return Read(r)
}

// podNames returns the names of pods by their UIDs, and of containers by their ids.
func podNames(ctx context.Context, s *nodes.Session, node string) (map[string]string, error) {
	m, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Container, error) {
		return client.Only(c.Machine().Containers(ctx, &machinepb.ContainersRequest{Namespace: podNamespace, Driver: commonpb.ContainerDriver_CRI}))
	})
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, c := range m.GetContainers() {
		if c.GetUid() != "" {
			names[c.GetUid()] = c.GetPodId()
		}
		if id := c.GetInternalId(); id != "" && c.GetName() != "" {
			names[id] = c.GetName()
		}
	}
	return names, nil
}
