package clusters

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/provision"
)

// showLimit bounds the questions to nodes: the rest of what is shown needs none.
const showLimit = 3 * time.Second

func showCommand(b *base) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show a cluster and its machines",
		Long: "Shows a cluster as this computer has it. A machine that is gone, or does not answer, is shown as such: its status is\n" +
			"running, stopped, missing if it was never made or is gone, or silent if it runs and its API does not answer.",
		Example:           "  talosctl cluster show",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, store, err := b.provisioner(cmd)
			if err != nil {
				return err
			}
			c, err := p.Reflect(cmd.Context(), b.name)
			if err != nil {
				return err
			}
			silent := map[string]bool{}
			if admin, err := administrator(store, b.name); err == nil {
				if cl, err := client.New(client.Options{Context: admin}); err == nil {
					silent = silentNodes(cmd.Context(), cl, c)
					_ = cl.Close() // the client's Close has no error
				}
			}
			return showCluster(b.env.Stdout, c, silent)
		},
	}
}

// silentNodes returns the names of nodes that run and do not answer.
func silentNodes(ctx context.Context, cl *client.Client, c *provision.Cluster) map[string]bool {
	var targets []string
	for _, n := range c.Nodes {
		if n.Status == provision.Running && n.Address.IsValid() {
			targets = append(targets, n.Address.String())
		}
	}
	silent := map[string]bool{}
	for _, r := range client.Each(ctx, targets, func(ctx context.Context, node string) (*machinepb.Version, error) {
		return client.Only(cl.Machine().Version(client.WithNode(ctx, node), &emptypb.Empty{}))
	}, client.WithTimeout(showLimit)) {
		if n, err := pick(c, r.Node); err == nil && r.Err != nil {
			silent[n.Name] = true
		}
	}
	return silent
}

// showCluster prints a cluster as published (contract, section 7.4), with the status of each node as one more column.
func showCluster(w io.Writer, c *provision.Cluster, silent map[string]bool) error {
	var b strings.Builder
	for _, l := range [][2]string{
		{"PROVISIONER", c.Provisioner}, {"NAME", c.Name}, {"NETWORK NAME", c.Network.Name}, {"NETWORK CIDR", c.Network.CIDR.String()},
		{"NETWORK GATEWAY", c.Network.Gateway.String()}, {"NETWORK MTU", fmt.Sprint(c.Network.MTU)},
		{"KUBERNETES ENDPOINT", c.KubernetesEndpoint},
	} {
		fmt.Fprintf(&b, "%-19s   %s\n", l[0], dash(nodes.Clean(l[1])))
	}
	switch c.Phase {
	case provision.Creating:
		b.WriteString("\nIts create has not come to its end.\n")
	case provision.Destroying:
		b.WriteString("\nIts destroy has not come to its end: run it again.\n")
	}
	b.WriteString("\nNODES:\n\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	t := nodes.NewTable("NAME", "TYPE", "IP", "CPU", "RAM", "DISK", "STATUS")
	for _, n := range c.Nodes {
		cpu, memory, disk, status := "-", "-", "-", string(n.Status)
		if n.CPUs > 0 {
			cpu = fmt.Sprintf("%.2f", n.CPUs)
		}
		if n.Memory > 0 {
			memory = nodes.Bytes(uint64(n.Memory))
		}
		if n.Disk > 0 {
			disk = nodes.Bytes(uint64(n.Disk))
		}
		if silent[n.Name] {
			status = "silent"
		}
		address := "-"
		if n.Address.IsValid() {
			address = n.Address.String()
		}
		t.Row(n.Name, n.Type, address, cpu, memory, disk, status)
	}
	return t.Write(w)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
