package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
)

// rawCodec sends and takes bytes as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = b
	return nil
}

type methodInfo struct {
	full          string
	client, serve bool // streams
	input         protoreflect.MessageDescriptor
}

// methods lists all that a server offers, with what they take.
func methods(s *grpc.Server) []methodInfo {
	var out []methodInfo
	for service, info := range s.GetServiceInfo() {
		for _, m := range info.Methods {
			i := methodInfo{full: "/" + service + "/" + m.Name, client: m.IsClientStream, serve: m.IsServerStream}
			if d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + m.Name)); err == nil {
				i.input = d.(protoreflect.MethodDescriptor).Input()
			}
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b methodInfo) int {
		if a.full < b.full {
			return -1
		}
		return 1
	})
	return out
}

// message makes a random message of a type. Texts are such as somebody may have a reason to try.
func message(r *rand.Rand, d protoreflect.MessageDescriptor, depth int) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return &emptypb.Empty{}
	}
	m := t.New()
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if r.IntN(3) == 0 || f.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case f.IsMap():
			continue
		case f.IsList():
			l := m.Mutable(f).List()
			for range r.IntN(4) {
				l.Append(value(r, f, depth))
			}
		default:
			m.Set(f, value(r, f, depth))
		}
	}
	return m.Interface()
}

var texts = []string{
	"", "/", "/etc", "/../../etc/passwd", "a\x00b", "kubelet", "machined", "ext-lab", "system", "k8s.io", "..", "/fifo", "os:admin",
	"MachineConfigs.config.talos.dev", "config", "secrets", "OSRootSecrets.secrets.talos.dev", "v1alpha1", "(", "%s%n", "lo-none",
	"00000000000000000000", "\u202e", string(make([]byte, 5000)), "version: v1alpha1\n", "{", "host",
}

func value(r *rand.Rand, f protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	numbers := []int64{0, 1, -1, 2, 255, 256, 1 << 31, -1 << 31, 1<<63 - 1, -1 << 63, r.Int64()}
	n := numbers[r.IntN(len(numbers))]
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(r.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber([]int32{0, 1, 2, 3, 4, 99, -1}[r.IntN(7)]))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(texts[r.IntN(len(texts))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(texts[r.IntN(len(texts))]))
	}
	return protoreflect.ValueOfMessage(message(r, f.Message(), depth-1).ProtoReflect())
}

// request makes the n-th request: random bytes, a message that was cut or changed, or one that is whole.
func request(r *rand.Rand, n int, d protoreflect.MessageDescriptor) []byte {
	if n%4 == 0 {
		b := make([]byte, r.IntN(64))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	b, err := proto.Marshal(message(r, d, 3))
	if err != nil || len(b) == 0 {
		return nil
	}
	switch n % 4 {
	case 1:
		return b[:r.IntN(len(b))]
	case 2:
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
	return b
}

// send makes one call and returns its error; a stream is left after a few messages, or after the time patience.
func send(ctx context.Context, conn *grpc.ClientConn, m methodInfo, in []byte, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if !m.client && !m.serve {
		var out []byte
		return conn.Invoke(ctx, m.full, &in, &out, grpc.ForceCodec(rawCodec{}))
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: m.client, ServerStreams: m.serve}, m.full, grpc.ForceCodec(rawCodec{}))
	if err != nil {
		return err
	}
	if err := s.SendMsg(&in); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if m.client {
		if err := s.SendMsg(&in); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	// What follows never ends: leave it.
	leave := time.AfterFunc(patience, cancel)
	defer leave.Stop()
	for range 5 {
		var out []byte
		if err := s.RecvMsg(&out); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	return nil
}

func TestRandomAndTruncatedRequests(t *testing.T) {
	const atOnce = 16
	r := newRig(t, func(r *rig) {
		full(r)
		controlPlane(t)(r)
	})
	conns := make([]*grpc.ClientConn, 4)
	for i := range conns {
		conns[i] = r.dial(t)
	}
	ctx := with(t.Context(), admin)
	type job struct {
		m  methodInfo
		in []byte
		n  int
	}
	jobs := make(chan job)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for j := range jobs {
				err := send(ctx, conns[j.n%len(conns)], j.m, j.in, 2*time.Millisecond)
				switch status.Code(err) {
				case codes.Internal, codes.Unknown, codes.Unavailable, codes.DeadlineExceeded:
					if j.m.full == "/time.TimeService/TimeCheck" {
						continue // no time server of that name answers
					}
					t.Errorf("%s, request %d %q: %v", j.m.full, j.n, j.in, err)
				}
			}
		})
	}
	for i, m := range methods(r.server) {
		if m.input == nil {
			t.Errorf("%s: what it takes is not known", m.full)
			continue
		}
		random := rand.New(rand.NewPCG(uint64(i), 42))
		for n := range onTheWire {
			jobs <- job{m, request(random, n, m.input), n}
		}
	}
	close(jobs)
	wg.Wait()
	wantCode(t, "the call after all that", version(as(t, reader), machinepb.NewMachineServiceClient(r.conn)), codes.OK)
}

// local collects services, to call their handlers without a connection.
type local map[string]struct {
	desc *grpc.ServiceDesc
	impl any
}

func (l local) RegisterService(d *grpc.ServiceDesc, impl any) {
	l[d.ServiceName] = struct {
		desc *grpc.ServiceDesc
		impl any
	}{d, impl}
}

// bytesStream gives one message to a handler and drops what it sends.
type bytesStream struct {
	grpc.ServerStream
	ctx  context.Context
	in   []byte
	done bool
}

func (s *bytesStream) Context() context.Context     { return s.ctx }
func (s *bytesStream) SetHeader(metadata.MD) error  { return nil }
func (s *bytesStream) SendHeader(metadata.MD) error { return nil }
func (s *bytesStream) SetTrailer(metadata.MD)       {}
func (s *bytesStream) SendMsg(m any) error          { return ctxErr(s.ctx) }
func (s *bytesStream) RecvMsg(m any) error {
	if s.done {
		return io.EOF
	}
	s.done = true
	m.(*undecoded).data = s.in
	return nil
}

func ctxErr(ctx context.Context) error { return ctx.Err() }

// FuzzRequests feeds bytes to every handler: nothing may panic, and no error may be without a code.
func FuzzRequests(f *testing.F) {
	r := newRig(f, func(r *rig) {
		full(r)
		controlPlane(f)(r)
	})
	services := localServices(r)
	all := methods(r.server)
	random := rand.New(rand.NewPCG(1, 1))
	for i, m := range all {
		b, err := proto.Marshal(message(random, m.input, 2))
		if err == nil {
			f.Add(uint8(i), b)
		}
		f.Add(uint8(i), []byte{})
	}
	base := localCaller()
	f.Fuzz(func(t *testing.T, which uint8, in []byte) {
		m := all[int(which)%len(all)]
		ctx, cancel := context.WithTimeout(base, 100*time.Millisecond)
		defer cancel()
		if err := services.call(ctx, m, in); status.Code(err) == codes.Internal || status.Code(err) == codes.Unknown {
			t.Errorf("%s: %v", m.full, err)
		}
	})
}

// localServices are the services of a machine behind their gate, without a connection.
func localServices(r *rig) local {
	r.deps.complete()
	services := local{}
	register(gated{services, &gate{log: r.deps.Logger, maintenance: r.deps.Maintenance}}, &r.deps)
	return services
}

// localCaller is an administrator who needs no connection.
func localCaller() context.Context {
	return peer.NewContext(metadata.NewIncomingContext(context.Background(), metadata.Pairs(keyRoles, admin)), &peer.Peer{AuthInfo: process{service: "apid"}})
}

// TestAThousandRandomRequestsForEachMethod gives handlers what came, without a connection.
func TestAThousandRandomRequestsForEachMethod(t *testing.T) {
	r := newRig(t, func(r *rig) {
		full(r)
		controlPlane(t)(r)
	})
	services := localServices(r)
	for i, m := range methods(r.server) {
		random := rand.New(rand.NewPCG(uint64(i), 7))
		for n := range 1000 {
			in := request(random, n, m.input)
			ctx, cancel := context.WithTimeout(localCaller(), time.Minute)
			if m.serve {
				time.AfterFunc(time.Millisecond, cancel) // some streams have no end
			}
			err := services.call(ctx, m, in)
			cancel()
			if code := status.Code(err); code == codes.Internal || code == codes.Unknown {
				t.Errorf("%s, request %d %q: %v", m.full, n, in, err)
			}
		}
	}
}

func (l local) call(ctx context.Context, m methodInfo, in []byte) error {
	for name, s := range l {
		for _, d := range s.desc.Methods {
			if "/"+name+"/"+d.MethodName == m.full {
				_, err := d.Handler(s.impl, ctx, func(v any) error {
					v.(*undecoded).data = in
					return nil
				}, nil)
				return err
			}
		}
		for _, d := range s.desc.Streams {
			if "/"+name+"/"+d.StreamName == m.full {
				return d.Handler(s.impl, &bytesStream{ctx: ctx, in: in})
			}
		}
	}
	return fmt.Errorf("%s is not registered", m.full)
}
