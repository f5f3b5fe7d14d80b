package upgradectrl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/install"
	"talos.internal/internal/upgrade"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/resource/service"
)

// disk is an Engine that keeps its record in memory.
type disk struct {
	mu      sync.Mutex
	record  upgrade.Record
	running install.Slot
	there   bool
	err     error // of Look
	failing error // of Confirm and Return
}

func (d *disk) Look(context.Context) (upgrade.Record, install.Slot, bool, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record, d.running, d.record.Phase == runtime.UpgradePrepared && d.running == d.record.To, d.there, d.err
}

func (d *disk) end(r upgrade.Record, phase runtime.UpgradePhase, reason string) (upgrade.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.Phase, r.Reason = phase, reason
	if d.failing == nil {
		d.record = r
	}
	return r, d.failing
}

func (d *disk) Confirm(_ context.Context, r upgrade.Record) (upgrade.Record, error) {
	return d.end(r, runtime.UpgradePermanent, "")
}

func (d *disk) Return(_ context.Context, r upgrade.Record, reason string) (upgrade.Record, error) {
	return d.end(r, runtime.UpgradeFailed, reason)
}

// machine is all around the gate.
type machine struct {
	disk
	mu         sync.Mutex
	etcd, api  error
	reboots    []string
	events     []string
	settled    int
	rebootTime time.Time
}

func (m *machine) deps() Deps {
	return Deps{
		Engine: &m.disk,
		Etcd:   func(context.Context) error { m.mu.Lock(); defer m.mu.Unlock(); return m.etcd },
		APIServer: func(context.Context) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.api
		},
		Settled: func(context.Context, upgrade.Record) { m.mu.Lock(); defer m.mu.Unlock(); m.settled++ },
		Reboot: func(reason string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.reboots, m.rebootTime = append(m.reboots, reason), time.Now()
		},
		Publish: func(e proto.Message, actor string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			s := e.(*machinepb.SequenceEvent)
			m.events = append(m.events, fmt.Sprintf("%s %s %s", actor, s.GetSequence(), s.GetError().GetMessage()))
		},
	}
}

// onTrial is a machine in slot B that has to prove itself.
func onTrial() *machine {
	m := &machine{}
	m.there, m.running = true, install.SlotB
	m.record = upgrade.Record{
		ID: "actor", From: install.SlotA, To: install.SlotB, FromVersion: "1.0", ToVersion: "2.0", Phase: runtime.UpgradePrepared,
	}
	return m
}

func phase(h *controllertest.Harness, want runtime.UpgradePhase, reason string) {
	controllertest.WantThat(h, runtime.UpgradeStatusID, fmt.Sprintf("is %s: %s", want, reason), func(r *resource.Typed[runtime.UpgradeStatus]) bool {
		return r.Spec().Phase == want && strings.Contains(r.Spec().Reason, reason)
	})
}

func answers(h *controllertest.Harness) {
	controllertest.Modify(h, "apid", func(s *service.Service) { s.Running, s.Healthy = true, true })
}

func healthy(h *controllertest.Harness, kind machineconfig.MachineType) {
	answers(h)
	controllertest.Modify(h, machineconfig.TypeID, func(t *machineconfig.Type) { t.Type = kind })
	controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) {
		s.Stage, s.Status = runtime.StageRunning, runtime.Readiness{Ready: true}
	})
}

func TestAHealthySystemBecomesPermanent(t *testing.T) {
	m := onTrial()
	controllertest.Run(t, func(h *controllertest.Harness) {
		began := time.Now()
		phase(h, runtime.UpgradeTrial, "the API does not answer yet")
		healthy(h, machineconfig.TypeWorker)
		phase(h, runtime.UpgradePermanent, "")
		if d := time.Since(began); d < steady || d > 2*steady {
			t.Errorf("it was made permanent after %s", d)
		}
		if len(m.reboots) > 0 || m.settled != 1 || len(m.events) != 1 || m.events[0] != "actor upgrade " {
			t.Errorf("reboots %q, events %q, settled %d", m.reboots, m.events, m.settled)
		}
	}, Controllers(m.deps())...)
}

func TestTimeServersDoNotCount(t *testing.T) {
	m := onTrial()
	controllertest.Run(t, func(h *controllertest.Harness) {
		healthy(h, machineconfig.TypeWorker)
		controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) {
			s.Status = runtime.Readiness{UnmetConditions: []runtime.UnmetCondition{{Name: "time", Reason: "time is not synced"}}}
		})
		phase(h, runtime.UpgradePermanent, "")
	}, Controllers(m.deps())...)
}

func TestWhoIsNotHealthyInTimeGoesBack(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*machine, *controllertest.Harness)
		want   string
	}{
		{"services", func(_ *machine, h *controllertest.Harness) {
			answers(h)
			controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) {
				s.Stage = runtime.StageBooting
				s.Status = runtime.Readiness{UnmetConditions: []runtime.UnmetCondition{{Name: "services", Reason: "kubelet not healthy"}}}
			})
		}, "the stage is booting; services: kubelet not healthy"},
		{"etcd", func(m *machine, h *controllertest.Harness) {
			m.etcd = errors.New("no leader")
			healthy(h, machineconfig.TypeControlPlane)
		}, "etcd's member is not in sync: no leader"},
		{"API server", func(m *machine, h *controllertest.Harness) {
			m.api = errors.New("connection refused")
			healthy(h, machineconfig.TypeControlPlane)
		}, "the API server does not answer: connection refused"},
		{"no record can be written", func(m *machine, _ *controllertest.Harness) {
			m.failing = errors.New("input/output error")
		}, "the API does not answer yet"},
		{"falls over and over", func(_ *machine, h *controllertest.Harness) {
			for range 200 {
				healthy(h, machineconfig.TypeWorker)
				time.Sleep(time.Second)
				controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) {
					s.Status = runtime.Readiness{UnmetConditions: []runtime.UnmetCondition{{Name: "services", Reason: "apid not running"}}}
				})
				time.Sleep(time.Second)
			}
		}, "apid not running"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := onTrial()
			controllertest.Run(t, func(h *controllertest.Harness) {
				began := time.Now()
				tc.change(m, h)
				phase(h, runtime.UpgradeFailed, tc.want)
				h.Settle()
				m.mu.Lock()
				defer m.mu.Unlock()
				if len(m.reboots) != 1 || !strings.Contains(m.reboots[0], tc.want) {
					t.Errorf("reboots %q", m.reboots)
				}
				if d := m.rebootTime.Sub(began); d < DefaultLimit || d > DefaultLimit+2*between {
					t.Errorf("it went back after %s; want %s", d, DefaultLimit)
				}
				if len(m.events) != 1 || !strings.Contains(m.events[0], tc.want) {
					t.Errorf("events %q", m.events)
				}
			}, Controllers(m.deps())...)
		})
	}
}

func TestOneThatWasForcedHasToAnswer(t *testing.T) {
	m := onTrial()
	m.record.Force = true
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Modify(h, runtime.MachineStatusID, func(s *runtime.MachineStatus) { s.Stage = runtime.StageBooting })
		phase(h, runtime.UpgradeTrial, "the API does not answer yet")
		answers(h)
		phase(h, runtime.UpgradePermanent, "")
	}, Controllers(m.deps())...)
}

func TestTheSystemFromBeforeSaysWhy(t *testing.T) {
	m := onTrial()
	m.running, m.record.Phase, m.record.Reason = install.SlotA, runtime.UpgradeFailed, "kubelet is not ready"
	controllertest.Run(t, func(h *controllertest.Harness) {
		phase(h, runtime.UpgradeFailed, "kubelet is not ready")
		h.Settle()
		if len(m.events) != 1 || len(m.reboots) > 0 || m.settled != 1 {
			t.Errorf("events %q, reboots %q, settled %d", m.events, m.reboots, m.settled)
		}
	}, Controllers(m.deps())...)
}

func TestWithoutAnUpgradeThereIsNoStatus(t *testing.T) {
	for _, err := range []error{nil, fmt.Errorf("look: %w", install.ErrNotInstalled)} {
		m := &machine{}
		m.err = err
		controllertest.Run(t, func(h *controllertest.Harness) {
			controllertest.WantNever[runtime.UpgradeStatus](h, runtime.UpgradeStatusID)
			// One that is prepared meanwhile is shown.
			m.disk.mu.Lock()
			m.err, m.there, m.record, m.running = nil, true, upgrade.Record{To: install.SlotB, Phase: runtime.UpgradePrepared}, install.SlotA
			m.disk.mu.Unlock()
			controllertest.Create(h, upgrade.Key.String(), runtime.MetaKey{Value: "{}"})
			phase(h, runtime.UpgradePrepared, "")
		}, Controllers(m.deps())...)
	}
}
