package protogen

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

// PinnedPlugins returns the plugins that the go.mod of this module pins: messages first, then services.
// The working directory has to be inside this module. They are built at the first use, then taken from the build cache.
func PinnedPlugins(ctx context.Context) ([]Plugin, error) {
	var plugins []Plugin
	for _, name := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		cmd := exec.CommandContext(ctx, "go", "tool", "-n", name)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("find tool %s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
		}
		plugins = append(plugins, Executable(strings.TrimSpace(string(out))))
	}
	return plugins, nil
}

// Executable returns the plugin that is the program at a path: the request goes in at its standard input and the
// answer comes out of its standard output, both in protobuf's binary form.
func Executable(program string) Plugin {
	return func(ctx context.Context, req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
		name := filepath.Base(program)
		in, err := proto.Marshal(req)
		if err != nil {
			return nil, fmt.Errorf("encode the request to %s: %w", name, err)
		}
		cmd := exec.CommandContext(ctx, program)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("run %s: %w: %s", name, err, bytes.TrimSpace(stderr.Bytes()))
		}
		resp := &pluginpb.CodeGeneratorResponse{}
		if err := proto.Unmarshal(out, resp); err != nil {
			return nil, fmt.Errorf("decode the answer of %s: %w", name, err)
		}
		return resp, nil
	}
}
