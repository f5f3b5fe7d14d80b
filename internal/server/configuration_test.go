package server

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/machinepb"
	"talos.internal/config/schema"
)

func TestPlanApply(t *testing.T) {
	worker, other, cp := configText(t, "worker", "lab"), configText(t, "worker", "other"), configText(t, "controlplane", "lab")
	for _, tc := range []struct {
		name    string
		in      *machinepb.ApplyConfigurationRequest
		f       applyFacts
		code    codes.Code
		mode    machinepb.ApplyConfigurationRequest_Mode
		details string // a part of them, or of the error
	}{
		{"auto is without a reboot", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeAuto}, applyFacts{active: worker}, codes.OK, modeNoReboot, "Applied configuration without a reboot"},
		{"no-reboot", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeNoReboot}, applyFacts{active: worker}, codes.OK, modeNoReboot, "Applied configuration without a reboot"},
		{"staged", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeStaged}, applyFacts{active: worker}, codes.OK, modeStaged, "Staged configuration to be applied after the next reboot"},
		{"try", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeTry}, applyFacts{active: worker}, codes.OK, modeTry, "in 1m0s"},
		{"try for long", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeTry, TryModeTimeout: durationpb.New(time.Hour)}, applyFacts{active: worker}, codes.OK, modeTry, "in 1h0m0s"},
		{"try for no time", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeTry, TryModeTimeout: durationpb.New(0)}, applyFacts{active: worker}, codes.InvalidArgument, 0, "at most 24h"},
		{"try for ever", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeTry, TryModeTimeout: &durationpb.Duration{Seconds: 1 << 60}}, applyFacts{active: worker}, codes.InvalidArgument, 0, "at most 24h"},
		{"try without a config", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeTry}, applyFacts{}, codes.FailedPrecondition, 0, "go back"},
		{"reboot", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: modeReboot}, applyFacts{active: worker}, codes.Unimplemented, 0, "REBOOT"},
		{"reboot in maintenance", &machinepb.ApplyConfigurationRequest{Data: []byte(cp), Mode: modeReboot}, applyFacts{maintenance: true}, codes.OK, modeNoReboot, "Applied"},
		{"a mode that is none", &machinepb.ApplyConfigurationRequest{Data: []byte(other), Mode: 17}, applyFacts{active: worker}, codes.InvalidArgument, 0, "no mode 17"},
		{"nothing", &machinepb.ApplyConfigurationRequest{Data: []byte(" \n"), Mode: modeAuto}, applyFacts{active: worker}, codes.InvalidArgument, 0, "empty"},
		{"another type of machine", &machinepb.ApplyConfigurationRequest{Data: []byte(cp), Mode: modeAuto}, applyFacts{active: worker}, codes.FailedPrecondition, 0, "controlplane and this machine is a worker"},
		{"without the root document", &machinepb.ApplyConfigurationRequest{Data: []byte("apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: lab\n"), Mode: modeAuto}, applyFacts{active: worker}, codes.FailedPrecondition, 0, "no root document"},
		{"the first config", &machinepb.ApplyConfigurationRequest{Data: []byte(cp), Mode: modeAuto}, applyFacts{}, codes.OK, modeNoReboot, "Applied"},
		{"every problem", &machinepb.ApplyConfigurationRequest{Data: []byte(strings.Replace(other, "token", "tokn", 1) + "    nonsense: 1\n"), Mode: modeAuto}, applyFacts{active: worker}, codes.InvalidArgument, 0, "nonsense"},
		{"every problem, the other", &machinepb.ApplyConfigurationRequest{Data: []byte(strings.Replace(other, "token", "tokn", 1) + "    nonsense: 1\n"), Mode: modeAuto}, applyFacts{active: worker}, codes.InvalidArgument, 0, "tokn"},
		{"no YAML", &machinepb.ApplyConfigurationRequest{Data: []byte("{"), Mode: modeAuto}, applyFacts{active: worker}, codes.InvalidArgument, 0, "nothing was changed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.f.mode = schema.Container
			p, err := planApply(tc.in, tc.f)
			wantCode(t, "planApply", err, tc.code)
			got := p.details
			if err != nil {
				got = err.Error()
			} else if p.mode != tc.mode || p.text != string(tc.in.GetData()) {
				t.Errorf("mode %v, want %v; text %q", p.mode, tc.mode, p.text)
			}
			if !strings.Contains(got, tc.details) {
				t.Errorf("it says %q; want %q in it", got, tc.details)
			}
		})
	}
}

func TestADryRunShowsTheDifferencesWithoutSecrets(t *testing.T) {
	before := configText(t, "controlplane", "lab") + "    # a comment of ours\n    aescbcEncryptionSecret: c2VjcmV0LW9mLXRoZS1jbHVzdGVyLTMyLWJ5dGVzISE=\n"
	after := strings.Replace(strings.Replace(before, "clusterName: lab", "clusterName: big", 1), "wlzjyw.bei2zfylhs2by0wd", "abcdef.0123456789abcdef", 1)
	p, err := planApply(&machinepb.ApplyConfigurationRequest{Data: []byte(after), Mode: modeAuto, DryRun: true}, applyFacts{active: before, mode: schema.Container})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Dry run summary:\nApplied configuration without a reboot (skipped in dry-run).\nConfig diff:\n\n--- active\n+++ new\n@@ ",
		"-    token: '[redacted, before]'\n", "+    token: '[redacted, after]'\n", "-    clusterName: lab\n", "+    clusterName: big\n",
	} {
		if !strings.Contains(p.details, want) {
			t.Errorf("the details have no %q:\n%s", want, p.details)
		}
	}
	for _, never := range []string{"bei2zfylhs2by0wd", "0123456789abcdef", "uqjzh6jnn2eie9oi", "c2VjcmV0LW9m"} {
		if strings.Contains(p.details, never) {
			t.Errorf("the details show the secret %q:\n%s", never, p.details)
		}
	}
	p, err = planApply(&machinepb.ApplyConfigurationRequest{Data: []byte(before), Mode: modeAuto, DryRun: true}, applyFacts{active: before, mode: schema.Container})
	if err != nil || !strings.Contains(p.details, "No changes.") {
		t.Errorf("of the same config: %v, %q", err, p.details)
	}
}

func TestWarningsAreReturned(t *testing.T) {
	text := strings.Replace(configText(t, "worker", "lab"), "cluster:\n", "    files:\n      - path: /var/x\n        permissions: 644\n        op: create\n        content: x\ncluster:\n", 1)
	p, err := planApply(&machinepb.ApplyConfigurationRequest{Data: []byte(text), Mode: modeAuto}, applyFacts{mode: schema.Container})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.warnings) != 1 || !strings.Contains(p.warnings[0], "644 is decimal") {
		t.Errorf("warnings %q; want one about the mode of a file", p.warnings)
	}
}

func TestApplyConfigurationChangesWhatItSays(t *testing.T) {
	worker, other := configText(t, "worker", "lab"), configText(t, "worker", "other")
	for _, tc := range []struct {
		name string
		in   *machinepb.ApplyConfigurationRequest
		want string
		code codes.Code
	}{
		{"auto", &machinepb.ApplyConfigurationRequest{Mode: modeAuto}, "apply persist=true", codes.OK},
		{"staged", &machinepb.ApplyConfigurationRequest{Mode: modeStaged}, "stage", codes.OK},
		{"try", &machinepb.ApplyConfigurationRequest{Mode: modeTry, TryModeTimeout: durationpb.New(time.Minute)}, "try 1m0s", codes.OK},
		{"a dry run", &machinepb.ApplyConfigurationRequest{Mode: modeAuto, DryRun: true}, "", codes.OK},
		{"a refusal", &machinepb.ApplyConfigurationRequest{Mode: modeReboot}, "", codes.Unimplemented},
		{"a config that is not valid", &machinepb.ApplyConfigurationRequest{Mode: modeAuto, Data: []byte("a: b\n")}, "", codes.InvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, func(r *rig) { r.configs.set(t, worker) })
			if tc.in.Data == nil {
				tc.in.Data = []byte(other)
			}
			out, err := machinepb.NewMachineServiceClient(r.conn).ApplyConfiguration(as(t, admin), tc.in)
			wantCode(t, "ApplyConfiguration", err, tc.code)
			if got := strings.Join(r.configs.calls, " "); got != tc.want {
				t.Errorf("done: %q; want %q", got, tc.want)
			}
			if err == nil && out.GetMessages()[0].GetModeDetails() == "" {
				t.Error("the answer does not say what was done")
			}
			active, _ := r.configs.Active(t.Context())
			if changed := active != worker; changed != (tc.want != "" && tc.want != "stage") {
				t.Errorf("the active config was changed: %t", changed)
			}
		})
	}
}
