package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/api/machinepb"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/boot"
	"talos.internal/internal/supervise"
	"talos.internal/internal/sys/process"
	"talos.internal/internal/volume"
	"talos.internal/resource/block"
	"talos.internal/state"
)

func TestAResetWipesWhatItNames(t *testing.T) {
	parts := func(labels ...string) (out []*machinepb.ResetPartitionSpec) {
		for _, l := range labels {
			out = append(out, &machinepb.ResetPartitionSpec{Label: l, Wipe: true})
		}
		return out
	}
	for _, tc := range []struct {
		name string
		r    *machinepb.ResetRequest
		disk string
		want []string
	}{
		{"everything of the machine", &machinepb.ResetRequest{}, "/dev/vda", []string{"wipe EPHEMERAL of /dev/vda", "wipe META of /dev/vda", "wipe STATE of /dev/vda"}},
		{"named partitions", &machinepb.ResetRequest{SystemPartitionsToWipe: parts("STATE", "EPHEMERAL", "STATE")}, "/dev/vda", []string{"wipe EPHEMERAL of /dev/vda", "wipe STATE of /dev/vda"}},
		{"a partition that is not to be wiped", &machinepb.ResetRequest{SystemPartitionsToWipe: []*machinepb.ResetPartitionSpec{{Label: "STATE"}}}, "/dev/vda", nil},
		{"user disks alone", &machinepb.ResetRequest{Mode: machinepb.ResetRequest_USER_DISKS, UserDisksToWipe: []string{"/dev/vdb", "/dev/vdc"}}, "/dev/vda", []string{"wipe /dev/vdb", "wipe /dev/vdc"}},
		{"the system's disk alone", &machinepb.ResetRequest{Mode: machinepb.ResetRequest_SYSTEM_DISK, UserDisksToWipe: []string{"/dev/vdb"}}, "/dev/vda", []string{"wipe EPHEMERAL of /dev/vda", "wipe META of /dev/vda", "wipe STATE of /dev/vda"}},
		{"a machine without a system's disk", &machinepb.ResetRequest{UserDisksToWipe: []string{"/dev/vdb"}}, "", []string{"wipe /dev/vdb"}},
	} {
		var got []string
		for _, s := range wipes(tc.r, tc.disk) {
			got = append(got, s.Name)
			if s.MayFail == "" || s.Limit == 0 {
				t.Errorf("%s: %s can keep the machine from ending", tc.name, s)
			}
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

func TestContainersWaitUntilEphemeralIsPrepared(t *testing.T) {
	controllertest.Run(t, func(h *controllertest.Harness) {
		gate := supervise.NewGate("EPHEMERAL")
		open := func() bool {
			ctx, cancel := context.WithTimeout(h.T.Context(), time.Millisecond)
			defer cancel()
			return gate.Wait(ctx) == nil
		}
		prepared := 0
		none := func(context.Context, state.Reader) (string, error) { return "", nil }
		if err := h.Scheduler.Register(ephemeralController{gate: gate, closed: none, prepare: func(context.Context) error {
			if prepared++; prepared == 1 {
				return errors.New("no space left on device")
			}
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		controllertest.Create(h, volume.Ephemeral, block.VolumeStatus{Phase: block.PhaseFailed, ErrorMessage: "no disk matches"})
		h.Advance(time.Second)
		if open() || prepared > 0 {
			t.Errorf("without the volume the gate is open: %t, and it was prepared %d times", open(), prepared)
		}
		controllertest.Create(h, volume.Ephemeral, block.MountStatus{Target: "/var"})
		h.Settle()
		if open() {
			t.Error("the gate is open although nothing could be prepared")
		}
		h.Advance(time.Minute)
		if !open() || prepared != 2 {
			t.Errorf("the gate is open: %t; it was prepared %d times; want once more after the failure", open(), prepared)
		}
	})
}

func TestThePersonIsToldWhyNoContainersRun(t *testing.T) {
	for _, tc := range []struct {
		where volume.Where
		why   string
		waits time.Duration
		want  string
	}{
		{volume.Unknown, "", time.Hour, ""},
		{volume.Unknown, "no disk matches x", time.Second, ""},
		{volume.Unknown, "no disk matches x", ephemeralPatience, "no containers can run yet: the volume EPHEMERAL waits"},
		{volume.Failed, "it is too small", 0, "no containers can run: the volume EPHEMERAL is failed"},
		{volume.Missing, "", 0, "no containers can run: the volume EPHEMERAL is missing"},
	} {
		if got := trouble(tc.where, tc.why, tc.waits); got != tc.want {
			t.Errorf("trouble(%v, %q, %v) = %q; want %q", tc.where, tc.why, tc.waits, got, tc.want)
		}
	}
}

func TestTheConsoleShowsWhatAPersonNeeds(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(console{Handler: boot.NewConsole(slog.LevelInfo, &b, &b, &b)})
	log.Info("a step of the boot")
	log.Warn("a mount failed")
	log.With("controller", "etcd.SpecController").Info("quiet")
	log.With("controller", "etcd.SpecController").Error("not quiet", "member", 1)
	log.With("controller", "runtime.MaintenanceServiceInformController").Info("give it a config")
	log.With("controller", "config.AcquireController").Debug("nothing")
	want := "talos: a mount failed\ntalos: not quiet member=1\ntalos: give it a config\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("the console (-want +got):\n%s", d)
	}
}

// reaped is a node whose reaper runs for a test.
func reaped(t *testing.T) *node {
	t.Helper()
	n := &node{reaper: process.NewReaper(nil), log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.reaper.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return n
}

func TestAProgramIsRunToItsEnd(t *testing.T) {
	n := reaped(t)
	out, err := n.program(t.Context(), "echo", "a", "b")
	if string(out) != "a b\n" || err != nil {
		t.Errorf("program(echo) = %q, %v", out, err)
	}
	_, err = n.program(t.Context(), "ls", "/nothing/there")
	if err == nil || !strings.Contains(err.Error(), "run ls: exit status") || !strings.Contains(err.Error(), "/nothing/there") {
		t.Errorf("program(ls) = %v; want its end and what it said", err)
	}
	if _, err := n.program(t.Context(), "no-such-program"); err == nil {
		t.Error("program(nothing) = nil; want an error")
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("long enough"))
	defer cancel()
	if _, err := n.program(ctx, "sleep", "60"); err == nil || !strings.Contains(err.Error(), "long enough") {
		t.Errorf("program(sleep) = %v; want the cause of its context", err)
	}
}
