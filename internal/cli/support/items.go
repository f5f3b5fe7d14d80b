package support

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/resources"
	"talos.internal/resource"
	"talos.internal/resource/meta"
)

// most is how much of one thing is taken, in bytes: what is at the end of a log that is longer is not in the bundle.
const most = 64 << 20

// item is one file of the bundle. get may return a part together with an error.
type item struct {
	name string
	get  func(ctx context.Context) ([]byte, error)
}

func explain(err error) string { return nodes.OneLine(client.Explain(err)) }

// plan returns what there is to ask a node for. The error is that it does not answer.
func plan(ctx context.Context, s *nodes.Session, node string) ([]item, error) {
	call := func(name string, ask func(ctx context.Context, c *client.Client) (proto.Message, error)) item {
		return item{name, func(ctx context.Context) ([]byte, error) {
			m, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (proto.Message, error) { return ask(ctx, c) })
			if err != nil {
				return nil, err
			}
			return protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(m)
		}}
	}
	text := func(name string, open nodes.Open[commonpb.Data]) item {
		return item{name, func(ctx context.Context) ([]byte, error) {
			r := nodes.NewReader(ctx, s, node, nodes.Idle, open)
			defer r.Close()
			var b bytes.Buffer
			n, err := io.Copy(&b, io.LimitReader(r, most+1))
			if err == nil && n > most {
				err = fmt.Errorf("it has more than %s, the rest of which is left out", nodes.Bytes(most))
			}
			return b.Bytes(), err
		}}
	}
	containers := func(namespace string, driver commonpb.ContainerDriver) func(ctx context.Context, c *client.Client) (proto.Message, error) {
		return func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().Containers(ctx, &machinepb.ContainersRequest{Namespace: namespace, Driver: driver})
		}
	}
	// The first question is also whether the node is there at all.
	if _, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (proto.Message, error) {
		return c.Machine().Version(ctx, &emptypb.Empty{})
	}); err != nil {
		return nil, err
	}
	empty := &emptypb.Empty{}
	all := []item{
		call("version.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().Version(ctx, empty)
		}),
		call("services.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().ServiceList(ctx, empty)
		}),
		call("memory.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().Memory(ctx, empty)
		}),
		call("mounts.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().Mounts(ctx, empty)
		}),
		call("load.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().LoadAvg(ctx, empty)
		}),
		call("disks.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().DiskStats(ctx, empty)
		}),
		call("processes.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().Processes(ctx, empty)
		}),
		call("connections.json", func(ctx context.Context, c *client.Client) (proto.Message, error) {
			return c.Machine().Netstat(ctx, &machinepb.NetstatRequest{
				Feature: &machinepb.NetstatRequest_Feature{Pid: true},
				L4Proto: &machinepb.NetstatRequest_L4Proto{Tcp: true, Tcp6: true, Udp: true, Udp6: true},
				Netns:   &machinepb.NetstatRequest_NetNS{Hostnetwork: true},
			})
		}),
		call("containers-system.json", containers("system", commonpb.ContainerDriver_CONTAINERD)),
		call("containers-k8s.json", containers("k8s.io", commonpb.ContainerDriver_CRI)),
		text("dmesg.log", func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
			return c.Machine().Dmesg(ctx, &machinepb.DmesgRequest{})
		}),
		{"controllers.dot", func(ctx context.Context) ([]byte, error) {
			dot, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) {
				return resources.Graph(ctx, c, false)
			})
			return []byte(dot), err
		}},
	}
	logs := func(folder, namespace string, driver commonpb.ContainerDriver, id string) item {
		return text(folder+"/"+clean(id)+".log", func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
			return c.Machine().Logs(ctx, &machinepb.LogsRequest{Namespace: namespace, Driver: driver, Id: id, TailLines: -1})
		})
	}
	all = append(all, services(ctx, s, node, logs)...)
	all = append(all, pods(ctx, s, node, logs)...)
	return append(all, types(ctx, s, node)...), nil
}

// lost is an item in place of those whose names could not be had.
func lost(name string, err error) []item {
	return []item{{name, func(context.Context) ([]byte, error) { return nil, err }}}
}

type logItem func(folder, namespace string, driver commonpb.ContainerDriver, id string) item

func services(ctx context.Context, s *nodes.Session, node string, logs logItem) []item {
	ids, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.LogsContainer, error) {
		return client.Only(c.Machine().LogsContainers(ctx, &emptypb.Empty{}))
	})
	if err != nil {
		return lost("service-logs", err)
	}
	var all []item
	for _, id := range ids.GetIds() {
		all = append(all, logs("service-logs", "system", commonpb.ContainerDriver_CONTAINERD, id))
	}
	return all
}

// pods are the containers of the control plane and its companions. Those of users are not for others to read.
func pods(ctx context.Context, s *nodes.Session, node string, logs logItem) []item {
	list, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Container, error) {
		return client.Only(c.Machine().Containers(ctx, &machinepb.ContainersRequest{Namespace: "k8s.io", Driver: commonpb.ContainerDriver_CRI}))
	})
	if err != nil {
		return lost("pod-logs", err)
	}
	var all []item
	for _, c := range list.GetContainers() {
		if c.GetId() != c.GetPodId() && strings.HasPrefix(c.GetPodId(), "kube-system/") {
			all = append(all, logs("pod-logs", "k8s.io", commonpb.ContainerDriver_CRI, c.GetId()))
		}
	}
	return all
}

// types are the resources of a node, a file for each type that everybody may read.
func types(ctx context.Context, s *nodes.Session, node string) []item {
	defs, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]meta.DefinitionSpec, error) {
		return resources.Definitions(ctx, c)
	})
	if err != nil {
		return lost("resources", err)
	}
	var all []item
	for _, d := range defs {
		if d.Sensitivity != meta.NonSensitive {
			continue
		}
		all = append(all, item{"resources/" + clean(strings.ToLower(d.Type)) + ".yaml", func(ctx context.Context) ([]byte, error) {
			return nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]byte, error) {
				return resourcesYAML(ctx, c, resource.Kind{Namespace: d.DefaultNamespace, Type: d.Type})
			})
		}})
	}
	return all
}

func resourcesYAML(ctx context.Context, c *client.Client, kind resource.Kind) ([]byte, error) {
	list, err := resources.List(ctx, c, kind)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	for _, r := range list {
		doc, err := resources.Document("", r)
		if err == nil {
			err = enc.Encode(doc)
		}
		if err != nil {
			return b.Bytes(), errors.Join(err, enc.Close())
		}
	}
	return b.Bytes(), enc.Close()
}
