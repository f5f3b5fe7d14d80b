package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

const (
	noReboot = machinepb.ApplyConfigurationRequest_NO_REBOOT
	staged   = machinepb.ApplyConfigurationRequest_STAGED
	try      = machinepb.ApplyConfigurationRequest_TRY
)

// named is the control plane's config with a host name, by whose change the effect of a config is seen.
func (l *lab) named(name string) []byte {
	l.t.Helper()
	return l.config(schema.ControlPlane, "https://"+l.control().Endpoint+":6443",
		"apiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: "+name+"\n")
}

// isCalled waits for the control plane to have a name.
func (l *lab) isCalled(c *client.Client, name string) {
	l.t.Helper()
	l.until("the name "+name, func(ctx context.Context) error {
		r, err := client.Only(c.Machine().Hostname(ctx, &emptypb.Empty{}))
		if err == nil && r.GetHostname() != name {
			err = fmt.Errorf("the node is called %s", r.GetHostname())
		}
		return err
	})
}

// kept is the config that the node starts with the next time.
func (l *lab) kept(c *client.Client) string {
	l.t.Helper()
	got, err := text(c.Machine().Read(l.context(), &machinepb.ReadRequest{Path: "/system/state/config.yaml"}))
	if err != nil {
		l.t.Fatal(err)
	}
	return got
}

// apply applies a config; the details say what became of it.
func (l *lab) apply(c *client.Client, in *machinepb.ApplyConfigurationRequest) string {
	l.t.Helper()
	r, err := client.Only(c.Machine().ApplyConfiguration(l.context(), in))
	if err != nil {
		l.t.Fatal(err)
	}
	return r.GetModeDetails()
}

func TestConfigChanges(t *testing.T) {
	l := newLab(t, "e2e-config", 56, options{}).ready()
	admin := l.as(l.control(), secret.RoleAdmin)
	l.isCalled(admin, l.control().Name)

	t.Run("a change takes effect at once and stays", func(t *testing.T) {
		l := l.on(t)
		init := l.process(l.control(), "init")
		details := l.apply(admin, &machinepb.ApplyConfigurationRequest{Data: l.named("first"), Mode: noReboot})
		if details != "Applied configuration without a reboot" {
			t.Errorf("details = %q", details)
		}
		l.isCalled(admin, "first")
		if !strings.Contains(l.kept(admin), "hostname: first") {
			t.Error("the config is not kept")
		}
		if now := l.process(l.control(), "init"); now != init {
			t.Errorf("PID 1 is process %d; it was %d: the node started again", now, init)
		}
	})
	t.Run("a dry run says what would change, and changes nothing", func(t *testing.T) {
		l := l.on(t)
		details := l.apply(admin, &machinepb.ApplyConfigurationRequest{Data: l.named("dry"), Mode: noReboot, DryRun: true})
		if !strings.Contains(details, "-hostname: first") || !strings.Contains(details, "+hostname: dry") || strings.Contains(details, "PRIVATE KEY") {
			t.Errorf("details = %q; want the difference without keys", details)
		}
		l.unchanged(admin, "first")
	})
	t.Run("a broken config changes nothing", func(t *testing.T) {
		l := l.on(t)
		good := string(l.named("broken"))
		for name, tc := range map[string]struct {
			data string
			want codes.Code
		}{
			"no config":            {"", codes.InvalidArgument},
			"no YAML":              {"\t{", codes.InvalidArgument},
			"cut off":              {good[:len(good)/2], codes.InvalidArgument},
			"an unknown key":       {good + "---\napiVersion: v1alpha1\nkind: TimeSyncConfig\nenable: true\n", codes.InvalidArgument},
			"an unknown kind":      {good + "---\napiVersion: v1alpha1\nkind: NoSuchConfig\n", codes.InvalidArgument},
			"a name that is none":  {strings.ReplaceAll(good, "hostname: broken", "hostname: -broken-"), codes.InvalidArgument},
			"a worker's":           {string(l.config(schema.Worker, "https://10.56.0.2:6443")), codes.FailedPrecondition},
			"no root document":     {"apiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: broken\n", codes.FailedPrecondition},
			"bytes that are wrong": {string(random(5000)), codes.InvalidArgument},
		} {
			for _, mode := range []machinepb.ApplyConfigurationRequest_Mode{noReboot, staged, try} {
				_, err := admin.Machine().ApplyConfiguration(l.context(), &machinepb.ApplyConfigurationRequest{Data: []byte(tc.data), Mode: mode})
				if status.Code(err) != tc.want {
					t.Errorf("%s, %v: %v; want %v", name, mode, err, tc.want)
				}
				if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
					t.Errorf("%s, %v: the error has a key", name, mode)
				}
			}
		}
		l.unchanged(admin, "first")
	})
	t.Run("one that is tried goes when its time is over", func(t *testing.T) {
		l := l.on(t)
		const trial = 3 * time.Second
		start := time.Now()
		l.apply(admin, &machinepb.ApplyConfigurationRequest{Data: l.named("tried"), Mode: try, TryModeTimeout: durationpb.New(trial)})
		l.isCalled(admin, "tried")
		if !strings.Contains(l.kept(admin), "hostname: first") {
			t.Error("the config on trial is kept")
		}
		l.isCalled(admin, "first")
		if took := time.Since(start); took < trial {
			t.Errorf("it was tried for %v; want %v", took, trial)
		}
	})
	t.Run("one that is applied while it is tried stays", func(t *testing.T) {
		l := l.on(t)
		l.apply(admin, &machinepb.ApplyConfigurationRequest{Data: l.named("second"), Mode: try, TryModeTimeout: durationpb.New(2 * time.Second)})
		l.apply(admin, &machinepb.ApplyConfigurationRequest{Data: l.named("second"), Mode: noReboot})
		time.Sleep(3 * time.Second)
		l.unchanged(admin, "second")
	})
	t.Run("one that is staged takes effect after a restart", func(t *testing.T) {
		l := l.on(t)
		details := l.apply(admin, &machinepb.ApplyConfigurationRequest{Data: l.named("third"), Mode: staged})
		if !strings.Contains(details, "after the next reboot") {
			t.Errorf("details = %q", details)
		}
		r, err := client.Only(admin.Machine().Hostname(l.context(), &emptypb.Empty{}))
		if err != nil || r.GetHostname() != "second" {
			t.Errorf("Hostname = %v, %v; want second", r, err)
		}
		if err := l.p.StopNode(l.context(), l.name, l.control().Name); err != nil {
			t.Fatal(err)
		}
		if err := l.p.StartNode(l.context(), l.name, l.control().Name); err != nil {
			t.Fatal(err)
		}
		l.reflect()
		admin := l.as(l.control(), secret.RoleAdmin)
		l.answers(l.control(), admin)
		l.isCalled(admin, "third")
	})
}

// unchanged fails unless the node has a name and keeps the config with it.
func (l *lab) unchanged(c *client.Client, name string) {
	l.t.Helper()
	r, err := client.Only(c.Machine().Hostname(l.context(), &emptypb.Empty{}))
	if err != nil || r.GetHostname() != name {
		l.t.Errorf("Hostname = %v, %v; want %s", r, err, name)
	}
	if !strings.Contains(l.kept(c), "hostname: "+name) {
		l.t.Errorf("the config that is kept has not the name %s", name)
	}
}

func TestMaintenance(t *testing.T) {
	l := newLab(t, "e2e-maint", 57, options{blank: true})
	anonymous := l.anonymous(l.control())
	l.answers(l.control(), anonymous)

	t.Run("strangers are readers", func(t *testing.T) {
		l := l.on(t)
		if got, err := text(anonymous.Machine().Dmesg(l.context(), &machinepb.DmesgRequest{})); err != nil || got == "" {
			t.Errorf("Dmesg = %d bytes, %v", len(got), err)
		}
		if _, err := services(l.context(), anonymous); err != nil {
			t.Errorf("ServiceList: %v", err)
		}
		for name, call := range map[string]func() error{
			"Read": func() error {
				_, err := text(anonymous.Machine().Read(l.context(), &machinepb.ReadRequest{Path: "/etc/os-release"}))
				return err
			},
			"Bootstrap": func() error {
				_, err := anonymous.Machine().Bootstrap(l.context(), &machinepb.BootstrapRequest{})
				return err
			},
			"State of secrets": func() error {
				_, err := list(l.context(), anonymous, "secrets", "MaintenanceRootSecrets.secrets.talos.dev")
				return err
			},
		} {
			if err := call(); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s: %v; want PermissionDenied", name, err)
			}
		}
	})
	t.Run("a config that is wrong leaves it in maintenance", func(t *testing.T) {
		l := l.on(t)
		_, err := anonymous.Machine().ApplyConfiguration(l.context(), &machinepb.ApplyConfigurationRequest{Data: []byte("machine: {}")})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("ApplyConfiguration: %v; want InvalidArgument", err)
		}
		l.answers(l.control(), anonymous)
	})
	t.Run("the first config ends it", func(t *testing.T) {
		l := l.on(t)
		l.apply(anonymous, &machinepb.ApplyConfigurationRequest{Data: l.named("configured")})
		admin := l.as(l.control(), secret.RoleAdmin)
		l.answers(l.control(), admin)
		l.isCalled(admin, "configured")
		err := version(l.context(), l.anonymous(l.control()))
		if status.Code(err) != codes.Unavailable {
			t.Errorf("an anonymous Version: %v; want Unavailable: refused", err)
		}
	})
	t.Run("and it stays so after a restart", func(t *testing.T) {
		l := l.on(t)
		if err := l.p.KillNode(l.context(), l.name, l.control().Name); err != nil {
			t.Fatal(err)
		}
		if err := l.p.StartNode(l.context(), l.name, l.control().Name); err != nil {
			t.Fatal(err)
		}
		l.reflect()
		admin := l.as(l.control(), secret.RoleAdmin)
		l.answers(l.control(), admin)
		l.isCalled(admin, "configured")
		if err := version(l.context(), l.anonymous(l.control())); err == nil {
			t.Error("an anonymous Version was answered")
		}
	})
}
