package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/client/talosconfig"
)

// machine calls the API of a machine with the credentials that the pod has been given, and prints what came of a call that a reader may
// make, and of one that he may not.
func machine(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	data, err := os.ReadFile("/var/run/secrets/talos.dev/config")
	if err != nil {
		return err
	}
	conf, _, err := talosconfig.Load(data)
	if err != nil {
		return err
	}
	_, way, err := conf.Lookup("")
	if err != nil {
		return err
	}
	c, err := client.New(client.Options{Context: way})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx = client.WithNode(ctx, node)
	v, err := client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
	if err != nil {
		return fmt.Errorf("version: %w", err)
	}
	fmt.Println("version", v.GetVersion().GetTag())
	stream, err := c.Machine().Read(ctx, &machinepb.ReadRequest{Path: "/etc/os-release"})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) == codes.OK {
		return fmt.Errorf("a reader has read a file")
	}
	fmt.Println("read", status.Code(err))
	return nil
}
