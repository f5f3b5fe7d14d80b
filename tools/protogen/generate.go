// Package protogen makes the Go code of the project's .proto files: the files that are committed beside their sources.
//
// Generate is pure but for the plugins that it runs: the same sources and the same plugins give the same bytes. The
// compiler is a library and the plugins are tools that go.mod of this module pins, so nothing has to be installed.
//
// Besides what the plugins write, each directory gets a doc.go with the package comment: the comment that stands
// before the package statement of exactly one .proto file of the directory.
//
// It is no general compiler: it knows the layout of the api directory and no options. Only cmd/protogen and the tests
// import it.
package protogen

import (
	"context"
	"fmt"
	"go/format"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	// Sources may import these; their descriptors come from the packages that the generated code imports as well.
	_ "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	_ "google.golang.org/genproto/googleapis/rpc/status"
)

// Dir is the directory below the root of the repository that holds all .proto files.
const Dir = "api"

// Module is the path of the Go module that the generated code belongs to.
const Module = "talos.internal"

// Plugin turns compiled files into source code, as protoc's plugins do.
type Plugin func(context.Context, *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error)

// Files maps slash-separated paths below the root of the repository to contents.
type Files map[string][]byte

// Generate compiles every .proto file below Dir of root and returns the files that belong beside them.
// The error names the file and the line for a source that does not compile.
func Generate(ctx context.Context, root fs.FS, plugins []Plugin) (Files, error) {
	names, err := sources(root)
	if err != nil {
		return nil, err
	}
	all, err := compile(ctx, root, names)
	if err != nil {
		return nil, err
	}

	out := Files{}
	req := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      all,
	}
	for _, plugin := range plugins {
		resp, err := plugin(ctx, req)
		if err != nil {
			return nil, err
		}
		if resp.Error != nil {
			return nil, fmt.Errorf("generate: %s", resp.GetError())
		}
		for _, f := range resp.GetFile() {
			if _, ok := out[f.GetName()]; ok {
				return nil, fmt.Errorf("generate %s: two plugins write it", f.GetName())
			}
			out[f.GetName()] = []byte(f.GetContent())
		}
	}

	docs, err := packageDocs(names, all)
	if err != nil {
		return nil, err
	}
	for name, content := range docs {
		out[name] = content
	}
	return out, nil
}

// sources lists the .proto files below Dir in lexical order.
func sources(root fs.FS) ([]string, error) {
	var names []string
	err := fs.WalkDir(root, Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && path.Ext(name) == ".proto" {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("list sources: no .proto file below %s", Dir)
	}
	return names, nil
}

// compile returns the descriptors of names and of all that they import, each after its imports.
func compile(ctx context.Context, root fs.FS, names []string) ([]*descriptorpb.FileDescriptorProto, error) {
	linked := protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
		fd, err := protoregistry.GlobalFiles.FindFileByPath(name)
		return protocompile.SearchResult{Desc: fd}, err
	})
	source := &protocompile.SourceResolver{
		Accessor: func(name string) (io.ReadCloser, error) { return root.Open(name) },
	}
	c := protocompile.Compiler{
		Resolver:       protocompile.CompositeResolver{source, linked},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := c.Compile(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}

	var all []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var add func(fd protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		all = append(all, protodesc.ToFileDescriptorProto(fd))
	}
	for _, fd := range compiled {
		add(fd)
	}
	return all, nil
}

// packageDocs returns a doc.go for each directory, made from the comment before the package statement.
func packageDocs(names []string, all []*descriptorpb.FileDescriptorProto) (Files, error) {
	byDir := map[string]*descriptorpb.FileDescriptorProto{}
	dirs := map[string]bool{}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
		dirs[path.Dir(name)] = true
	}
	for _, fd := range all {
		if !wanted[fd.GetName()] {
			continue
		}
		dir := path.Dir(fd.GetName())
		if got, want := fd.GetOptions().GetGoPackage(), Module+"/"+dir; got != want {
			return nil, fmt.Errorf("%s: go_package is %q; want %q", fd.GetName(), got, want)
		}
		if packageComment(fd) == "" {
			continue
		}
		if other := byDir[dir]; other != nil {
			return nil, fmt.Errorf("%s: a second package comment; the first is in %s", fd.GetName(), other.GetName())
		}
		byDir[dir] = fd
	}

	out := Files{}
	for _, dir := range sortedKeys(dirs) {
		fd := byDir[dir]
		if fd == nil {
			return nil, fmt.Errorf("%s: no .proto file has a package comment", dir)
		}
		comment := packageComment(fd)
		if want := "Package " + path.Base(dir) + " "; !strings.HasPrefix(comment, want) {
			return nil, fmt.Errorf("%s: the package comment does not start with %q", fd.GetName(), want)
		}
		var b strings.Builder
		fmt.Fprintf(&b, "// Code generated by protogen. DO NOT EDIT.\n// source: %s\n\n", fd.GetName())
		for line := range strings.SplitSeq(comment, "\n") {
			b.WriteString(strings.TrimRight("// "+line, " ") + "\n")
		}
		fmt.Fprintf(&b, "package %s\n", path.Base(dir))
		text, err := format.Source([]byte(b.String()))
		if err != nil {
			return nil, fmt.Errorf("format the package comment of %s: %w", dir, err)
		}
		out[path.Join(dir, "doc.go")] = text
	}
	return out, nil
}

// packageComment returns the comment right before the package statement, without comment marks.
func packageComment(fd *descriptorpb.FileDescriptorProto) string {
	const packageField = 2 // descriptor.proto: FileDescriptorProto.package
	for _, loc := range fd.GetSourceCodeInfo().GetLocation() {
		if len(loc.GetPath()) != 1 || loc.GetPath()[0] != packageField {
			continue
		}
		lines := strings.Split(strings.TrimRight(loc.GetLeadingComments(), "\n"), "\n")
		for i := range lines {
			lines[i] = strings.TrimPrefix(lines[i], " ")
		}
		return strings.Join(lines, "\n")
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
