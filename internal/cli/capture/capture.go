// Package capture has the command that records the traffic of a machine's network interface, and prints or saves it.
package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// pcapFlags are the flags of pcap.
type pcapFlags struct {
	network, filter, output string
	promiscuous             bool
	duration                time.Duration
	snap                    uint32
}

// New returns the command.
func New(env command.Env) *cobra.Command {
	var p pcapFlags
	cmd := &cobra.Command{
		Use:     "pcap",
		Aliases: []string{"tcpdump"},
		Short:   "Record the traffic of a machine's network interface",
		Long: "Prints a line for each packet that passes an interface, or with --output saves the packets, in the form that\n" +
			"tcpdump and Wireshark read. A filter is the program that 'tcpdump -dd EXPRESSION' prints.",
		Example: "  talosctl -n 10.5.0.2 pcap --interface eth0 --duration 10s\n" +
			"  talosctl -n 10.5.0.2 pcap -i eth0 -o eth0.pcap",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVarP(&p.network, "interface", "i", "eth0", "the interface")
	fl.DurationVar(&p.duration, "duration", 0, "how long to record; 0 is until it is interrupted")
	fl.BoolVar(&p.promiscuous, "promiscuous", false, "record packets for other machines, too")
	fl.Uint32VarP(&p.snap, "snaplen", "s", 65536, "how many bytes of a packet to record")
	fl.StringVar(&p.filter, "bpf-filter", "", "the program of a filter; @FILE reads it from a file")
	fl.StringVarP(&p.output, "output", "o", "", "save the packets in this file; - is standard output")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := p.request(cmd, env)
		if err != nil {
			return err
		}
		return f.RunOne(cmd, func(ctx context.Context, s *nodes.Session, node string) error {
			if p.duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, p.duration)
				defer cancel()
			}
			r := nodes.NewReader(ctx, s, node, 0, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
				return c.Machine().PacketCapture(ctx, req)
			})
			defer r.Close()
			if err := p.consume(env, r); err != nil && ctx.Err() == nil {
				return fmt.Errorf("record %s of %s: %w", p.network, node, err)
			}
			return nil // its time was over, or it was interrupted: both are ends that were asked for
		})
	}
	return cmd
}

func (p pcapFlags) request(cmd *cobra.Command, env command.Env) (*machinepb.PacketCaptureRequest, error) {
	if p.duration < 0 {
		return nil, command.Usagef(cmd, "expected --duration not to be negative, got %s", p.duration)
	}
	text := p.filter
	if file, ok := strings.CutPrefix(text, "@"); ok {
		data, err := env.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the filter: %w", err)
		}
		text = string(data)
	}
	filter, err := parseFilter(text)
	if err != nil {
		return nil, command.Usagef(cmd, "--bpf-filter: %w", err)
	}
	return &machinepb.PacketCaptureRequest{Interface: p.network, Promiscuous: p.promiscuous, SnapLen: p.snap, BpfFilter: filter}, nil
}

func (p pcapFlags) consume(env command.Env, r io.Reader) error {
	switch p.output {
	case "":
		return printPackets(env.Stdout, r)
	case "-":
		_, err := io.Copy(env.Stdout, r)
		return err
	}
	f, err := os.OpenFile(p.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// parseFilter reads a program of classic BPF as tcpdump -dd prints it: a line { 0x28, 0, 0, 0x0000000c }, for each
// instruction. An empty text is no program, which lets everything pass.
func parseFilter(text string) ([]*machinepb.BPFInstruction, error) {
	var program []*machinepb.BPFInstruction
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.Trim(strings.TrimSpace(lines.Text()), "{}, ")
		if line == "" {
			continue
		}
		parts := strings.Split(line, ",")
		if len(parts) != 4 {
			return nil, fmt.Errorf("line %d: expected { code, jump if true, jump if false, operand }, got %q", n, lines.Text())
		}
		var numbers [4]uint32
		for i, bits := range [4]int{16, 8, 8, 32} { // struct sock_filter of linux/filter.h
			v, err := strconv.ParseUint(strings.TrimSpace(parts[i]), 0, bits)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			numbers[i] = uint32(v)
		}
		program = append(program, &machinepb.BPFInstruction{Op: numbers[0], Jt: numbers[1], Jf: numbers[2], K: numbers[3]})
	}
	return program, lines.Err()
}
