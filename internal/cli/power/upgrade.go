package power

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource/runtime"
)

// upgrading is what is done to each node.
type upgrading struct {
	waiting
	image, file string
	reboot      machinepb.RebootRequest_Mode
	noReboot    bool
	legacy      bool
	stage       bool
	force       bool
	where       *commonpb.ContainerdInstance
}

func upgradeCommand(env command.Env) *cobra.Command {
	var (
		u               upgrading
		mode, namespace string
		drain           bool
		limit           time.Duration
	)
	modes := []string{"default", "powercycle"}
	namespaces := []string{"system", "cri", "inmem"}
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Put another version of the system on machines",
		Long: "Brings an installer to each machine, has it written to the place of the system that does not run, drains the Node,\n" +
			"reboots, and waits until the new version has proved itself. One that does not is left by the machine itself: the version\n" +
			"from before runs again, and the command ends with the reason.\n\n" +
			"The machine fetches the image itself, from its mirrors or a registry; with --file the installer is sent from here. With\n" +
			"--stage nothing is rebooted: the new version is tried at the next start, whoever causes it.",
		Example: "  talosctl -n 10.5.0.2 upgrade --image talos.internal/installer:v1.2.0\n" +
			"  talosctl -n 10.5.0.2 upgrade --file installer.tar --stage",
		Args: command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVarP(&u.image, "image", "i", "", "the installer's image")
	fl.StringVar(&u.file, "file", "", "the installer as it is here: an archive of its image, or a folder with its OCI layout")
	fl.StringVarP(&mode, "reboot-mode", "m", "default", "default; powercycle goes through the firmware")
	fl.BoolVar(&drain, "drain", true, "have the pods of the Kubernetes node go elsewhere first")
	fl.DurationVar(&limit, "drain-timeout", 5*time.Minute, "how long the pods may take to go")
	fl.BoolVar(&u.noReboot, "no-reboot", false, "do not reboot: the next start tries the new version")
	fl.BoolVarP(&u.stage, "stage", "s", false, "the same as --no-reboot")
	fl.BoolVar(&u.legacy, "legacy", false, "use the older call, with which the machine does everything itself")
	fl.BoolVarP(&u.force, "force", "f", false, "with --legacy: do not ask whether etcd keeps its quorum, and take a version of which no more than the API answers")
	fl.StringVar(&namespace, "namespace", "system", "where the machine keeps the image: system, cri or inmem")
	command.Complete(cmd, "reboot-mode", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp))
	command.Complete(cmd, "namespace", cobra.FixedCompletions(namespaces, cobra.ShellCompDirectiveNoFileComp))
	u.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		u.noReboot = u.noReboot || u.stage
		switch {
		case (u.image == "") == (u.file == ""):
			return command.Usagef(cmd, "expected one of --image and --file")
		case !slices.Contains(modes, mode):
			return command.Usagef(cmd, "expected --reboot-mode to be one of %s, got %q", strings.Join(modes, ", "), mode)
		case !slices.Contains(namespaces, namespace):
			return command.Usagef(cmd, "expected --namespace to be one of %s, got %q", strings.Join(namespaces, ", "), namespace)
		case drain && limit <= 0:
			return command.Usagef(cmd, "expected --drain-timeout to be more than zero, got %s", limit)
		case u.legacy && u.file != "":
			return command.Usagef(cmd, "--legacy takes an image that the machine can fetch, no --file")
		case u.legacy && u.noReboot:
			return command.Usagef(cmd, "--legacy always reboots; leave it out with --stage and --no-reboot")
		case u.force && !u.legacy:
			return command.Usagef(cmd, "--force is for --legacy")
		}
		if err := u.check(cmd); err != nil {
			return err
		}
		if mode == "powercycle" {
			u.reboot = machinepb.RebootRequest_POWERCYCLE
		}
		// Who does not wait cannot let pods come again.
		if drain && !u.noReboot && !u.legacy && u.wait {
			u.drain = limit
		}
		u.where = &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CONTAINERD, Namespace: commonpb.ContainerdNamespace_NS_SYSTEM}
		if namespace == "cri" {
			u.where = &commonpb.ContainerdInstance{Driver: commonpb.ContainerDriver_CRI, Namespace: commonpb.ContainerdNamespace_NS_CRI}
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error { return u.each(ctx, s) })
	}
	return cmd
}

// each upgrades the nodes one after the other: each of a control plane has to be back before the next one goes.
func (u *upgrading) each(ctx context.Context, s *nodes.Session) error {
	for i, node := range s.Nodes() {
		var failed error
		t := &tracker{s: s, node: node, end: backAgain, last: "nothing", say: func(text string) {
			if _, err := fmt.Fprintf(s.Env().Stdout, "%s: %s\n", node, nodes.Clean(text)); err != nil && failed == nil {
				failed = err
			}
		}}
		within, cancel := context.WithTimeout(ctx, u.timeout)
		err := u.one(within, t)
		if err != nil && ctx.Err() == nil && within.Err() != nil {
			err = fmt.Errorf("gave up after %s, and last saw: %s: %w", u.timeout, t.last, err)
		}
		cancel()
		if failed != nil {
			return failed
		}
		if err == nil {
			continue
		}
		s.Fail(node, err)
		if rest := s.Nodes()[i+1:]; len(rest) > 0 {
			s.Warn(node, "not upgraded: %s, since one before did not work", strings.Join(rest, ", "))
		}
		return nil
	}
	return nil
}

// phase tells how long a part of the work took.
func (t *tracker) phase(name string, f func() error) error {
	began := t.s.Env().Now()
	t.tell("%s", name)
	err := f()
	if err == nil {
		t.tell("%s: done in %s", name, t.s.Env().Now().Sub(began).Round(100*time.Millisecond))
	}
	return err
}

func (u *upgrading) one(ctx context.Context, t *tracker) error {
	before, err := t.bootID(ctx)
	if err != nil {
		return fmt.Errorf("read the boot ID: %w", err)
	}
	old, err := spec[runtime.UpgradeStatus](ctx, t, runtime.UpgradeStatusID)
	if err != nil {
		return fmt.Errorf("read what came of the last upgrade: %w", err)
	}
	if u.debug {
		stop := t.debug(ctx)
		defer stop()
	}
	if u.legacy {
		return u.older(ctx, t, before, old)
	}
	image := u.image
	if u.file != "" {
		err = t.phase("send the installer", func() error { image, err = u.send(ctx, t); return err })
	} else {
		err = t.phase("fetch the installer", func() error { image, err = u.fetch(ctx, t); return err })
	}
	if err != nil {
		return err
	}
	if err := t.phase("write the new version", func() error { return u.write(ctx, t, image) }); err != nil {
		return err
	}
	if u.noReboot {
		t.tell("the new version is tried at the next start")
		return nil
	}
	d := &door{tell: t.tell}
	if u.drain > 0 {
		if d, err = t.door(ctx, u.drain); err != nil {
			return err
		}
		if err := t.phase("drain", func() error { return d.shut(ctx) }); err != nil {
			return fmt.Errorf("it goes on as it was; the new version is tried at its next start: %w", err)
		}
	}
	err = t.phase("reboot", func() error {
		ask := func(ctx context.Context, c *client.Client) (string, error) {
			r, err := client.Only(c.Machine().Reboot(ctx, &machinepb.RebootRequest{Mode: u.reboot}))
			return r.GetActorId(), err
		}
		if !u.wait {
			_, err := nodes.One(ctx, t.s, t.node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) { return ask(ctx, c) })
			return err
		}
		return t.away(ctx, before, ask)
	})
	if err == nil && u.wait {
		err = t.phase("prove itself", func() error { return t.outcome(ctx, old) })
	}
	return errors.Join(err, d.open(ctx))
}

// older has the machine do everything.
func (u *upgrading) older(ctx context.Context, t *tracker, before string, old runtime.UpgradeStatus) error {
	ask := func(ctx context.Context, c *client.Client) (string, error) {
		mode := machinepb.UpgradeRequest_DEFAULT
		if u.reboot == machinepb.RebootRequest_POWERCYCLE {
			mode = machinepb.UpgradeRequest_POWERCYCLE
		}
		r, err := client.Only(c.Machine().Upgrade(ctx, &machinepb.UpgradeRequest{Image: u.image, Stage: u.stage, Force: u.force, RebootMode: mode}))
		return r.GetActorId(), err
	}
	if !u.wait {
		actor, err := nodes.One(ctx, t.s, t.node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) { return ask(ctx, c) })
		if err == nil {
			t.tell("begun%s", actorText(actor))
		}
		return err
	}
	if err := t.phase("upgrade", func() error { return t.away(ctx, before, ask) }); err != nil {
		return err
	}
	return t.phase("prove itself", func() error { return t.outcome(ctx, old) })
}

// fetch has the machine pull the image, and returns its full name.
func (u *upgrading) fetch(ctx context.Context, t *tracker) (string, error) {
	name := u.image
	layers := map[string]*machinepb.ImageServicePullLayerProgress{}
	for m, err := range nodes.StreamOne(ctx, t.s, t.node, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.ImageServicePullResponse], error) {
		return c.Images().Pull(ctx, &machinepb.ImageServicePullRequest{Containerd: u.where, ImageRef: u.image})
	}) {
		if err != nil {
			return "", fmt.Errorf("fetch %s: %w", u.image, err)
		}
		if m.GetName() != "" {
			name = m.GetName()
			continue
		}
		layers[m.GetPullProgress().GetLayerId()] = m.GetPullProgress().GetProgress()
		var got, all int64
		for _, l := range layers {
			got, all = got+l.GetOffset(), all+l.GetTotal()
		}
		if all > 0 {
			t.tell("fetches the installer: %d%% of %s", got*10/all*10, nodes.Bytes(uint64(all)))
		}
	}
	return name, nil
}

// chunk is how much is sent at once.
const chunk = 512 << 10

// send brings an archive to the machine, and returns the name of its image.
func (u *upgrading) send(ctx context.Context, t *tracker) (string, error) {
	f, size, err := archive(u.file)
	if err != nil {
		return "", fmt.Errorf("send the installer: %w", err)
	}
	defer f.Close()
	r, err := nodes.One(ctx, t.s, t.node, u.timeout, func(ctx context.Context, c *client.Client, _ string) (*machinepb.ImageServiceImportResponse, error) {
		stream, err := c.Images().Import(ctx)
		if err != nil {
			return nil, err
		}
		if err := stream.Send(&machinepb.ImageServiceImportRequest{Request: &machinepb.ImageServiceImportRequest_Containerd{Containerd: u.where}}); err != nil {
			return stream.CloseAndRecv() // which has the reason
		}
		buf, sent := make([]byte, chunk), int64(0)
		for {
			n, err := io.ReadFull(f, buf)
			if n > 0 {
				if stream.Send(&machinepb.ImageServiceImportRequest{Request: &machinepb.ImageServiceImportRequest_ImageChunk{ImageChunk: &commonpb.Data{Bytes: buf[:n]}}}) != nil {
					return stream.CloseAndRecv()
				}
				sent += int64(n)
				t.tell("sends the installer: %d%% of %s", min(sent*10/max(size, 1)*10, 100), nodes.Bytes(uint64(size)))
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				t.tell("unpacks the installer")
				return stream.CloseAndRecv()
			}
			if err != nil {
				return nil, err
			}
		}
	})
	if err != nil {
		return "", fmt.Errorf("send %s: %w", u.file, err)
	}
	return r.GetName(), nil
}

// write has the machine write the new version, and tells of it.
func (u *upgrading) write(ctx context.Context, t *tracker, image string) error {
	for m, err := range nodes.StreamOne(ctx, t.s, t.node, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.LifecycleServiceUpgradeResponse], error) {
		return c.Lifecycle().Upgrade(ctx, &machinepb.LifecycleServiceUpgradeRequest{
			Containerd: u.where, Source: &machinepb.InstallArtifactsSource{ImageName: image},
		})
	}) {
		switch p := m.GetProgress().GetResponse().(type) {
		case *machinepb.LifecycleServiceInstallProgress_Message:
			t.tell("%s", p.Message)
		case *machinepb.LifecycleServiceInstallProgress_ExitCode:
			if p.ExitCode != 0 {
				return fmt.Errorf("the installer ended with code %d: %s", p.ExitCode, t.last)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outcome waits until it is decided what came of an upgrade. old is what a machine said before it; one that still says so does not tell.
func (t *tracker) outcome(ctx context.Context, old runtime.UpgradeStatus) error {
	for {
		s, err := spec[runtime.UpgradeStatus](ctx, t, runtime.UpgradeStatusID)
		switch {
		case err != nil:
			t.tell("does not answer: %s", client.Explain(err))
		case s == old, s == runtime.UpgradeStatus{}:
			t.tell("is back; it does not say whether the version is on trial")
			return nil
		case s.Phase == runtime.UpgradePermanent:
			t.tell("runs %s, which has proved itself", s.To)
			return nil
		case s.Phase == runtime.UpgradeFailed && s.Running != "":
			return fmt.Errorf("%s did not prove itself, and %s runs or is about to: %s", s.To, s.From, s.Reason)
		case s.Phase == runtime.UpgradePrepared:
			return fmt.Errorf("%s runs still; %s is tried at the next start", s.From, s.To)
		default:
			t.tell("%s is on trial until %s: %s", s.To, s.Deadline.UTC().Format(time.TimeOnly), s.Reason)
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
