package hostinfo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/internal/sys/kmsg"
	"talos.internal/internal/sys/pcap"
)

// Dmesg implements machinepb.MachineServiceServer. Each message has one line.
func (h *Host) Dmesg(in *machinepb.DmesgRequest, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	up, err := h.proc.Uptime()
	if err != nil {
		return err
	}
	boot := time.Now().Add(-time.Duration(up.Up * float64(time.Second)))
	err = kmsg.Read(stream.Context(), h.root, kmsg.Options{Follow: in.GetFollow(), Tail: in.GetTail()}, func(r kmsg.Record) error {
		return stream.Send(&commonpb.Data{Bytes: []byte(r.Line(boot) + "\n")})
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return status.Errorf(codes.FailedPrecondition, "read the log of the kernel: %v; in a container it may be that of the host alone", err)
	}
	return err
}

// PacketCapture implements machinepb.MachineServiceServer: it streams a capture file, until the context of the call ends.
func (h *Host) PacketCapture(in *machinepb.PacketCaptureRequest, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	filter := make([]pcap.Instruction, 0, len(in.GetBpfFilter()))
	for n, i := range in.GetBpfFilter() {
		if i.GetOp() > 0xffff || i.GetJt() > 0xff || i.GetJf() > 0xff {
			return fmt.Errorf("capture on %q: instruction %d of the filter has a number that is too large: %w", in.GetInterface(), n, syscall.EINVAL)
		}
		filter = append(filter, pcap.Instruction{Op: uint16(i.GetOp()), JT: uint8(i.GetJt()), JF: uint8(i.GetJf()), K: i.GetK()})
	}
	source, err := pcap.Open(pcap.Options{
		Interface: in.GetInterface(), Promiscuous: in.GetPromiscuous(), SnapLength: in.GetSnapLen(), Filter: filter,
	})
	if err != nil {
		return err
	}
	defer source.Close()

	// Packets go together in messages as long as there are more at once.
	out := bufio.NewWriterSize(Chunks{stream}, ChunkSize)
	file, err := pcap.NewWriter(out, source.LinkType(), source.SnapLength())
	if err != nil {
		return err
	}
	for {
		p, err := source.Next(stream.Context(), out.Flush)
		if err != nil {
			return err
		}
		if err := file.Write(p); err != nil {
			return err
		}
	}
}
