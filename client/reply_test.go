package client

import (
	"context"
	"errors"
	"testing"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/google/go-cmp/cmp"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
)

func version(md *commonpb.Metadata, tag string) *machinepb.Version {
	v := &machinepb.Version{Metadata: md}
	if tag != "" {
		v.Version = &machinepb.VersionInfo{Tag: tag}
	}

	return v
}

func joined(messages ...*machinepb.Version) *machinepb.VersionResponse {
	return &machinepb.VersionResponse{Messages: messages}
}

func TestSplit(t *testing.T) {
	t.Parallel()

	got := Split(joined(
		version(&commonpb.Metadata{Hostname: "a"}, "v1"),
		nil,
		version(&commonpb.Metadata{Hostname: "b", Error: "text", Status: &spb.Status{Code: int32(codes.PermissionDenied), Message: "no"}}, ""),
		version(&commonpb.Metadata{Hostname: "c", Error: "old text"}, ""),
		version(&commonpb.Metadata{Hostname: "d", Error: "text", Status: &spb.Status{}}, ""),
		version(nil, "v2"),
	))

	type row struct {
		Node, Tag string
		Code      codes.Code
		Text      string
	}

	var rows []row
	for _, r := range got {
		rows = append(rows, row{r.Node, r.Value.GetVersion().GetTag(), status.Code(r.Err), status.Convert(r.Err).Message()})
	}

	want := []row{
		{"a", "v1", codes.OK, ""},
		{"b", "", codes.PermissionDenied, "no"},
		{"c", "", codes.Unknown, "old text"},
		{"d", "", codes.Unknown, "text"},
		{"", "v2", codes.OK, ""},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("Split differs (-want +got):\n%s", diff)
	}

	if got := Split((*machinepb.VersionResponse)(nil)); got != nil {
		t.Errorf("Split(nil) = %v; want nil", got)
	}
}

func TestOnly(t *testing.T) {
	t.Parallel()

	failed := status.Error(codes.Aborted, "call")

	if got, err := Only(joined(version(nil, "v1")), nil); err != nil || got.GetVersion().GetTag() != "v1" {
		t.Errorf("Only(one) = %v, %v; want v1", got, err)
	}

	if _, err := Only(joined(), nil); !errors.Is(err, ErrNoMessage) {
		t.Errorf("Only(none) = %v; want %v", err, ErrNoMessage)
	}

	if got, err := Only(joined(version(nil, "v1"), version(nil, "v2")), nil); err == nil {
		t.Errorf("Only(two) = %v; want an error", got)
	}

	if _, err := Only((*machinepb.VersionResponse)(nil), failed); !errors.Is(err, failed) {
		t.Errorf("Only(failed call) = %v; want %v", err, failed)
	}

	got, err := Only(joined(version(&commonpb.Metadata{Error: "inside"}, "")), nil)
	if status.Code(err) != codes.Unknown || got != nil {
		t.Errorf("Only(error inside) = %v, %v; want only the error", got, err)
	}
}

func TestNodeMetadata(t *testing.T) {
	t.Parallel()

	base := metadata.AppendToOutgoingContext(t.Context(), "other", "kept")

	for _, tt := range []struct {
		name string
		ctx  context.Context
		want metadata.MD
	}{
		{"one node", WithNode(base, "a"), metadata.MD{"other": {"kept"}, "node": {"a"}}},
		{"many nodes", WithNodes(base, "a", "b"), metadata.MD{"other": {"kept"}, "nodes": {"a", "b"}}},
		{"the last one counts", WithNode(WithNodes(WithNode(base, "x"), "y"), "a"), metadata.MD{"other": {"kept"}, "node": {"a"}}},
		{"nodes replace a node", WithNodes(WithNode(base, "x"), "a"), metadata.MD{"other": {"kept"}, "nodes": {"a"}}},
		{"the endpoint itself", WithNode(WithNode(base, "x"), ""), metadata.MD{"other": {"kept"}}},
		{"no nodes", WithNodes(WithNode(base, "x")), metadata.MD{"other": {"kept"}}},
		{"no metadata before", WithNode(t.Context(), "a"), metadata.MD{"node": {"a"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			got, _ := metadata.FromOutgoingContext(tt.ctx)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("metadata differs (-want +got):\n%s", diff)
			}
		})
	}

	if got, _ := metadata.FromOutgoingContext(base); len(got) != 1 {
		t.Errorf("metadata of the context before = %v; want it unchanged", got)
	}
}
