package machine

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

func memoryCommand(env command.Env) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:               "memory",
		Aliases:           []string{"m", "free"},
		Short:             "Show how the memory of machines is used, in MiB",
		Example:           "  talosctl -n 10.5.0.2 memory\n  talosctl -n 10.5.0.2 memory --verbose",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show all that the kernel tells, as in its file meminfo")
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			answers := nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Memory, error) {
				return client.Only(c.Machine().Memory(ctx, &emptypb.Empty{}))
			})
			if verbose {
				return writeMeminfo(env, answers)
			}
			t := nodes.NewTable("NODE", "TOTAL", "USED", "FREE", "SHARED", "BUFFERS", "CACHE", "AVAILABLE")
			for _, r := range answers {
				m := r.Value.GetMeminfo()
				// What free(1) calls used; the kernel counts what it may drop at once with the buffers and the cache.
				used := m.GetMemtotal() - min(m.GetMemtotal(), m.GetMemfree()+m.GetCached()+m.GetBuffers())
				t.Row(r.Node, m.GetMemtotal()>>10, used>>10, m.GetMemfree()>>10, m.GetShmem()>>10, m.GetBuffers()>>10, m.GetCached()>>10, m.GetMemavailable()>>10)
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

// kernelNames are the names that the kernel gives to the fields of MemInfo, in the order of their numbers (proc_meminfo(5)).
var kernelNames = [...]string{
	"MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapCached", "Active", "Inactive", "Active(anon)",
	"Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "SwapTotal", "SwapFree", "Dirty", "Writeback",
	"AnonPages", "Mapped", "Shmem", "Slab", "SReclaimable", "SUnreclaim", "KernelStack", "PageTables", "NFS_Unstable", "Bounce",
	"WritebackTmp", "CommitLimit", "Committed_AS", "VmallocTotal", "VmallocUsed", "VmallocChunk", "HardwareCorrupted",
	"AnonHugePages", "ShmemHugePages", "ShmemPmdMapped", "CmaTotal", "CmaFree", "HugePages_Total", "HugePages_Free",
	"HugePages_Rsvd", "HugePages_Surp", "Hugepagesize", "DirectMap4k", "DirectMap2M", "DirectMap1G",
}

func writeMeminfo(env command.Env, answers []client.Result[*machinepb.Memory]) error {
	t := nodes.NewTable("NODE", "FIELD", "VALUE")
	for _, r := range answers {
		m := r.Value.GetMeminfo().ProtoReflect()
		for i, name := range kernelNames {
			text := fmt.Sprint(m.Get(m.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(i + 1))).Uint())
			if !strings.HasPrefix(name, "HugePages_") { // those are numbers of pages
				text += " kB"
			}
			t.Row(r.Node, name, text)
		}
	}
	return t.Write(env.Stdout)
}
