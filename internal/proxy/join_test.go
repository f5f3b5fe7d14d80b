package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
)

// stamp does what is done to the reply of one node.
func stamp(reply []byte, host string) ([]byte, error) {
	mark := hostStamp(host)

	size, err := stampedSize(reply, mark)
	if err != nil {
		return nil, err
	}

	out := appendStamped(nil, reply, mark)
	if len(out) != size {
		return nil, fmt.Errorf("stampedSize = %d; appended %d", size, len(out))
	}

	return out, nil
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()

	return must(proto.Marshal(m))(t)
}

func TestRepliesOfManyNodesAreOneReply(t *testing.T) {
	two := &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{
		{Services: []*machinepb.ServiceInfo{{Id: "etcd"}, {Id: "kubelet"}}},
		{Services: []*machinepb.ServiceInfo{{Id: "apid"}}, Metadata: &commonpb.Metadata{Error: "half of it"}},
	}}
	empty := &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{{}}}

	var wire []byte
	for host, reply := range map[string]proto.Message{"a": two} {
		wire = append(wire, must(stamp(encode(t, reply), host))(t)...)
	}

	wire = append(wire, must(stamp(encode(t, empty), "b"))(t)...)
	wire = append(wire, must(stamp(nil, "c"))(t)...)
	wire = append(wire, asReply(failureStamp("d", status.Error(codes.Unavailable, "dial:\nrefused")))...)

	var got machinepb.ServiceListResponse
	if err := proto.Unmarshal(wire, &got); err != nil {
		t.Fatal(err)
	}

	want := &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{
		{Services: []*machinepb.ServiceInfo{{Id: "etcd"}, {Id: "kubelet"}}, Metadata: &commonpb.Metadata{Hostname: "a"}},
		{Services: []*machinepb.ServiceInfo{{Id: "apid"}}, Metadata: &commonpb.Metadata{Hostname: "a", Error: "half of it"}},
		{Metadata: &commonpb.Metadata{Hostname: "b"}},
		{Metadata: &commonpb.Metadata{Hostname: "c"}},
		{Metadata: &commonpb.Metadata{Hostname: "d", Error: "dial:; refused",
			Status: &statuspb.Status{Code: int32(codes.Unavailable), Message: "dial:\nrefused"}}},
	}}
	if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" {
		t.Errorf("joined reply (-want +got):\n%s", diff)
	}
}

// One node's garbage must not cost the others their replies.
func TestARepliesShapeIsChecked(t *testing.T) {
	good := encode(t, &machinepb.VersionResponse{Messages: []*machinepb.Version{{Version: &machinepb.VersionInfo{Tag: "v1"}}}})

	for _, tc := range []struct {
		name  string
		reply []byte
		ok    bool
	}{
		{"a reply", good, true},
		{"nothing", nil, true},
		{"another field is kept", protowire.AppendVarint(protowire.AppendTag(good[:len(good):len(good)], 9, protowire.VarintType), 5), true},
		{"cut off in the message", good[:len(good)-1], false},
		{"cut off in the length", good[:1], false},
		{"field 1 is a number", []byte{0x08, 0x01}, false},
		{"a message that is cut off inside", []byte{0x0a, 0x02, 0x12, 0x05}, false},
		{"metadata that is a number", []byte{0x0a, 0x02, 0x08, 0x05}, false},
		{"field number zero", []byte{0x02, 0x00}, false},
		{"a field number beyond the largest", []byte{0xf8, 0xf8, 0xf8, 0xf8, 0x30, 0x01}, false}, // found by FuzzJoin
		{"the end of a group that was never begun", []byte{0x0c}, false},
		{"a group", []byte{0x13, 0x14}, true},
		{"a length beyond everything", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := stamp(tc.reply, "a")
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, errShape) {
				t.Fatalf("stamp(%x) = %v; want ok %t", tc.reply, err, tc.ok)
			}

			if !tc.ok {
				return
			}

			var got machinepb.VersionResponse
			if err := proto.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}

			for _, m := range got.GetMessages() {
				if m.GetMetadata().GetHostname() != "a" {
					t.Errorf("message %v has no name", m)
				}
			}
		})
	}
}

func TestFailureStampIsOneShortLine(t *testing.T) {
	detailed := func(n int) error {
		st, err := status.New(codes.NotFound, "gone").WithDetails(&errdetails.ErrorInfo{Reason: strings.Repeat("r", n)})
		if err != nil {
			t.Fatal(err)
		}

		return st.Err()
	}
	long := strings.Repeat("é", maxReason)

	for _, tc := range []struct {
		name    string
		err     error
		text    string
		code    codes.Code
		details int
	}{
		{"a status", status.Error(codes.Unavailable, "dial tcp: refused"), "dial tcp: refused", codes.Unavailable, 0},
		{"one of gRPC's connection", status.Error(codes.Unavailable,
			`connection error: desc = "transport: Error while dialing: dial tcp 10.5.0.9:50000: connection \"refused\""`),
			`dial tcp 10.5.0.9:50000: connection "refused"`, codes.Unavailable, 0},
		{"several lines", errors.New("a\r\nb\nc\n"), "a; b; c", codes.Unknown, 0},
		{"control characters", errors.New("a\x1b[31mb\tc"), "a [31mb c", codes.Unknown, 0},
		{"no text", status.Error(codes.Unavailable, ""), "Unavailable", codes.Unavailable, 0},
		{"not UTF-8", status.Error(codes.Internal, "a\xffb"), "a?b", codes.Internal, 0},
		{"long", errors.New(long), long[:maxReason] + "…", codes.Unknown, 0},
		{"long, cut in a character", errors.New("x" + long), "x" + long[:maxReason-2] + "…", codes.Unknown, 0},
		{"details", detailed(10), "gone", codes.NotFound, 1},
		{"large details", detailed(maxDetails), "gone", codes.NotFound, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wire := failureStamp(strings.Repeat("h", 253), tc.err)
			if len(wire) > reserved {
				t.Errorf("failureStamp takes %d bytes; want at most %d", len(wire), reserved)
			}

			var got commonpb.Empty
			if err := proto.Unmarshal(wire, &got); err != nil {
				t.Fatal(err)
			}

			md := got.GetMetadata()
			if md.GetError() != tc.text || codes.Code(md.GetStatus().GetCode()) != tc.code || len(md.GetStatus().GetDetails()) != tc.details {
				t.Errorf("failureStamp(%.50q) = %.50q, code %v, %d details; want %.50q, %v, %d", tc.err,
					md.GetError(), codes.Code(md.GetStatus().GetCode()), len(md.GetStatus().GetDetails()), tc.text, tc.code, tc.details)
			}
		})
	}
}

// A node may send anything. What gets through the check joins with a good node's reply: that one is found again in what was
// joined, and nothing of the bad one is in it. (What is inside an X is the typed decoder's business; this decoder takes
// X for an Empty, which has no other fields.)
func FuzzJoin(f *testing.F) {
	good := must(proto.Marshal(&machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{
		{Services: []*machinepb.ServiceInfo{{Id: "etcd"}}, Metadata: &commonpb.Metadata{Error: "e"}},
		{},
	}}))(f)
	f.Add(good)
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x02, 0x12, 0x05})
	f.Add([]byte{0x13, 0x0a, 0x00, 0x14})
	f.Add(append([]byte{0x0a, 0x02, 0x0a, 0x00}, good...))
	f.Fuzz(func(t *testing.T, reply []byte) {
		out, err := stamp(reply, "node")
		if err != nil {
			if !errors.Is(err, errShape) {
				t.Fatal(err)
			}

			return
		}

		// The number of X before and after, read by another parser.
		before, after := countMessages(t, reply), countMessages(t, out)
		if after != max(before, 1) {
			t.Fatalf("%d messages became %d", before, after)
		}

		joined := append(out[:len(out):len(out)], must(stamp(good, "good"))(t)...)

		var got rawReply
		if err := got.parse(joined); err != nil {
			t.Fatalf("a checked reply spoils the joined one: %v", err)
		}

		last := got.messages[len(got.messages)-1]
		if want := hostStamp("good"); string(last) != string(want) {
			t.Errorf("the last message is %x; want %x", last, want)
		}

		for _, m := range got.messages[:after] {
			if !strings.HasSuffix(string(m), string(hostStamp("node"))) {
				t.Errorf("message %x is without its node's name", m)
			}
		}
	})
}

// rawReply is a reply as the protobuf library splits it, through a message without known fields.
type rawReply struct{ messages [][]byte }

func (r *rawReply) parse(wire []byte) error {
	var m commonpb.ContainerdInstance // its fields are numbers: field 1 as bytes stays unknown
	if err := proto.Unmarshal(wire, &m); err != nil {
		return err
	}

	for b := []byte(m.ProtoReflect().GetUnknown()); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		size := protowire.ConsumeFieldValue(num, typ, b[n:])

		if num == 1 && typ == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(b[n:])
			r.messages = append(r.messages, content)
		}

		b = b[n+size:]
	}

	return nil
}

func countMessages(t *testing.T, wire []byte) int {
	t.Helper()

	var r rawReply
	if err := r.parse(wire); err != nil {
		t.Fatalf("%x passed the check but does not decode: %v", wire, err)
	}

	return len(r.messages)
}
