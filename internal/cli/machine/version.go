package machine

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

func versionCommand(env command.Env) *cobra.Command {
	var clientOnly, short bool
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Print the version of the client and of machines",
		Example:           "  talosctl version --client --short\n  talosctl -n 10.5.0.2 version",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "print the client's version only")
	cmd.Flags().BoolVar(&short, "short", false, "print the version only")
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		own := buildinfo.Read()
		if _, err := io.WriteString(env.Stdout, describe(own, short)); err != nil {
			return err
		}
		if clientOnly {
			return nil
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			text := ""
			if !short {
				text = "Server:\n"
			}
			for _, r := range nodes.Each(ctx, s, nodes.Quick, askVersion) {
				text += describeServer(r.Node, r.Value, short)
				if tag := r.Value.GetVersion().GetTag(); minor(tag) != minor(own.Tag) {
					s.Warn("warning: "+r.Node, "the machine runs %s and this client is %s; what is new in one of them the other does not know", tag, own.Tag)
				}
			}
			_, err := io.WriteString(env.Stdout, text)
			return err
		})
	}
	return cmd
}

func askVersion(ctx context.Context, c *client.Client, _ string) (*machinepb.Version, error) {
	return client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
}

func describe(info buildinfo.Info, short bool) string {
	if short {
		return fmt.Sprintf("Client %s\n", info.Tag)
	}
	return "Client:\n" + fields([][2]string{
		{"Tag:", info.Tag},
		{"SHA:", info.SHA},
		{"Built:", cmp.Or(info.Built, "unknown")},
		{"Go version:", info.GoVersion},
		{"OS/Arch:", info.OS + "/" + info.Arch},
	})
}

func describeServer(node string, v *machinepb.Version, short bool) string {
	i := v.GetVersion()
	if short {
		return fmt.Sprintf("Server %s %s\n", node, nodes.Clean(i.GetTag()))
	}
	rows := [][2]string{
		{"NODE:", node},
		{"Tag:", i.GetTag()},
		{"SHA:", i.GetSha()},
		{"Built:", cmp.Or(i.GetBuilt(), "unknown")},
		{"Go version:", i.GetGoVersion()},
		{"OS/Arch:", i.GetOs() + "/" + i.GetArch()},
	}
	enabled := ""
	if v.GetFeatures().GetRbac() {
		enabled = "RBAC"
	}
	return fields(append(rows, [2]string{"Enabled:", enabled}))
}

func fields(rows [][2]string) string {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(strings.TrimRight(fmt.Sprintf("\t%-12s %s", row[0], nodes.Clean(row[1])), " ") + "\n")
	}
	return b.String()
}

// minor is the part of a version that says what it can do: v1.15 of v1.15.3. It is the whole text if it is no version.
func minor(tag string) string {
	parts := strings.SplitN(tag, ".", 3)
	if len(parts) < 2 {
		return tag
	}
	return parts[0] + "." + parts[1]
}
