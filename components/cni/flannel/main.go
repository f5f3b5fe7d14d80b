// Command flannel is the CNI plugin that gives a pod an address of the node's flannel subnet.
//
// It makes no interface itself: it reads the subnet that flanneld wrote, completes the network
// configuration with it, and hands that to another plugin, bridge unless the configuration says
// otherwise. What it handed over for a container is kept in a file, so that DEL undoes the same,
// whatever the subnet is by then.
//
// It follows the CNI specification 1.1 and reads the same configuration as flannel's own plugin,
// which cannot be used here: the module proxy does not serve it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// programVersion is set by the build.
var programVersion = "unknown"

// delegateTimeout bounds one call of another plugin. A container runtime waits longer.
const delegateTimeout = 3 * time.Minute

// unavailable is the specification's error code for STATUS when ADD is sure to fail.
const unavailable = types.ErrPluginNotAvailable

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Check: check, Del: del, GC: collect, Status: status},
		version.All, "CNI flannel plugin "+programVersion)
}

func add(args *skel.CmdArgs) error {
	conf, delegate, err := prepare(args.StdinData)
	if err != nil {
		return err
	}
	text, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	// Kept before the call: a plugin that dies half-way leaves something that DEL has to undo.
	if err := save(conf.DataDir, args.ContainerID, text); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), delegateTimeout)
	defer cancel()
	result, err := invoke.DelegateAdd(ctx, delegate.kind(), text, nil)
	if err != nil {
		return fmt.Errorf("delegate to %s: %w", delegate.kind(), err)
	}
	return types.PrintResult(result, conf.CNIVersion)
}

func check(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	delegate, err := load(conf.DataDir, args.ContainerID)
	if err != nil {
		return err
	}
	if conf.PrevResult != nil {
		delegate["prevResult"] = conf.PrevResult
	}
	text, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), delegateTimeout)
	defer cancel()
	return invoke.DelegateCheck(ctx, delegate.kind(), text, nil)
}

// del is done when nothing is known of the container: the specification wants DEL to succeed
// again, and for a container that was never added.
func del(args *skel.CmdArgs) error {
	conf, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	delegate, err := load(conf.DataDir, args.ContainerID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), delegateTimeout)
	defer cancel()
	if err := invoke.DelegateDel(ctx, delegate.kind(), text, nil); err != nil {
		return fmt.Errorf("delegate to %s: %w", delegate.kind(), err)
	}
	if err := os.Remove(filepath.Join(conf.DataDir, args.ContainerID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// status says whether flanneld has written a subnet yet. Until then the runtime reports the node's
// network as not ready, and no pod is started to fail.
func status(args *skel.CmdArgs) error {
	_, delegate, err := prepare(args.StdinData)
	if err != nil {
		return types.NewError(unavailable, "flannel has no subnet for this node yet", err.Error())
	}
	text, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), delegateTimeout)
	defer cancel()
	return invoke.DelegateStatus(ctx, delegate.kind(), text, nil)
}

// collect passes the garbage collection on and forgets this network's containers that are no
// longer valid.
func collect(args *skel.CmdArgs) error {
	conf, delegate, err := prepare(args.StdinData)
	if err != nil {
		return err
	}
	delegate["cni.dev/valid-attachments"] = conf.ValidAttachments
	text, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), delegateTimeout)
	defer cancel()
	if err := invoke.DelegateGC(ctx, delegate.kind(), text, nil); err != nil {
		return fmt.Errorf("delegate to %s: %w", delegate.kind(), err)
	}
	return forget(conf)
}

// prepare reads the configuration and the subnet file and makes the delegate's configuration.
func prepare(stdin []byte) (config, delegation, error) {
	conf, err := parseConfig(stdin)
	if err != nil {
		return conf, nil, err
	}
	file, err := os.Open(conf.SubnetFile)
	if err != nil {
		return conf, nil, fmt.Errorf("flanneld has not written its subnet: %w", err)
	}
	defer file.Close()
	subnet, err := parseSubnet(file)
	if err != nil {
		return conf, nil, fmt.Errorf("subnet file %s: %w", conf.SubnetFile, err)
	}
	delegate, err := delegateFor(conf, subnet)
	return conf, delegate, err
}
