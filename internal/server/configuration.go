package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/machinepb"
	"talos.internal/config"
	"talos.internal/config/schema"
	"talos.internal/internal/server/textdiff"
)

// The modes of ApplyConfiguration, by short names.
const (
	modeReboot   = machinepb.ApplyConfigurationRequest_REBOOT
	modeAuto     = machinepb.ApplyConfigurationRequest_AUTO
	modeNoReboot = machinepb.ApplyConfigurationRequest_NO_REBOOT
	modeStaged   = machinepb.ApplyConfigurationRequest_STAGED
	modeTry      = machinepb.ApplyConfigurationRequest_TRY
)

const (
	// defaultTry is how long a config is tried if the caller does not say.
	defaultTry = time.Minute
	// maxTry keeps a try from being forgotten.
	maxTry = 24 * time.Hour
)

// applyFacts are what the decision about a new config depends on.
type applyFacts struct {
	active      string // empty if there is none
	mode        schema.Mode
	maintenance bool
}

// applyPlan is what becomes of a new config.
type applyPlan struct {
	text string
	// mode is what is done: NO_REBOOT, STAGED or TRY.
	mode machinepb.ApplyConfigurationRequest_Mode
	// try is how long it is tried.
	try time.Duration
	// details say what is done; in a dry run, what would be, with the differences.
	details  string
	warnings []string
	dryRun   bool
}

// planApply decides about a new config. It is pure. The error is a status; then nothing is to be changed.
func planApply(in *machinepb.ApplyConfigurationRequest, f applyFacts) (applyPlan, error) {
	p := applyPlan{text: string(in.GetData()), dryRun: in.GetDryRun()}
	switch in.GetMode() {
	case modeReboot:
		if !f.maintenance {
			return p, status.Error(codes.Unimplemented, "apply configuration in mode REBOOT is not supported any more: every change is applied at once; use AUTO, or STAGED and a reboot")
		}
		p.mode = modeNoReboot
	case modeAuto, modeNoReboot:
		p.mode = modeNoReboot
	case modeStaged:
		p.mode = modeStaged
	case modeTry:
		p.mode, p.try = modeTry, defaultTry
		if d := in.GetTryModeTimeout(); d != nil {
			if p.try = d.AsDuration(); !d.IsValid() || p.try <= 0 || p.try > maxTry {
				return p, invalid("a config can be tried for more than nothing and at most %v", maxTry)
			}
		}
		if f.active == "" {
			return p, status.Error(codes.FailedPrecondition, "a config cannot be tried on a machine that has none to go back to; use AUTO")
		}
	default:
		return p, invalid("there is no mode %d of applying a config", in.GetMode())
	}
	if len(strings.TrimSpace(p.text)) == 0 {
		return p, invalid("the config is empty")
	}

	report := config.Examine("", in.GetData(), f.mode)
	if bad := report.Of(schema.Error); len(bad) > 0 {
		return p, invalid("the config is not valid, and nothing was changed; %d problems:\n%s", len(bad), problems(bad))
	}
	for _, w := range report.Of(schema.Warning) {
		p.warnings = append(p.warnings, w.String())
	}
	next, err := config.Load("", in.GetData())
	if err != nil {
		return p, invalid("the config is not valid, and nothing was changed: %v", err)
	}
	if err := checkRole(next, f.active); err != nil {
		return p, err
	}

	switch p.mode {
	case modeStaged:
		p.details = "Staged configuration to be applied after the next reboot"
	case modeTry:
		p.details = fmt.Sprintf("Applied configuration without a reboot; it will be reverted automatically in %v", p.try)
	default:
		p.details = "Applied configuration without a reboot"
	}
	if p.dryRun {
		p.details = dryRun(p.details, f.active, p.text)
	}
	return p, nil
}

// maxProblems bounds the text of an error, which travels in a header. A person mends the first hundred first.
const maxProblems = 100

func problems(list schema.Report) string {
	var lines []string
	for i, p := range list {
		if i == maxProblems {
			lines = append(lines, fmt.Sprintf("… and %d more", len(list)-i))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// checkRole refuses a config that makes another kind of machine of this one: etcd and certificates would be left behind.
func checkRole(next *config.Config, active string) error {
	if active == "" {
		return nil
	}
	now, err := config.Load("", []byte(active))
	if err != nil || now.Role() == "" {
		return nil // whatever it was, it was not acted on
	}
	switch next.Role() {
	case now.Role():
		return nil
	case "":
		return status.Errorf(codes.FailedPrecondition, "the config has no root document (version: v1alpha1), without which this %s would lose its identity; nothing was changed", now.Role())
	}
	return status.Errorf(codes.FailedPrecondition, "the config is that of a %s and this machine is a %s; its type can be changed by a reset alone; nothing was changed",
		next.Role(), now.Role())
}

// dryRun says what would have been done.
func dryRun(details, active, next string) string {
	before, after := withoutSecrets(active, next)
	diff := textdiff.Unified("active", "new", before, after)
	if diff == "" {
		diff = "No changes.\n"
	}
	return "Dry run summary:\n" + details + " (skipped in dry-run).\nConfig diff:\n\n" + diff
}

// ApplyConfiguration implements machinepb.MachineServiceServer.
func (m *machineService) ApplyConfiguration(ctx context.Context, in *machinepb.ApplyConfigurationRequest) (*machinepb.ApplyConfigurationResponse, error) {
	// One at a time: what is decided is still so when it is done.
	select {
	case m.applying <- struct{}{}:
		defer func() { <-m.applying }()
	case <-ctx.Done():
		return nil, fmt.Errorf("apply configuration: wait for another change of it: %w", context.Cause(ctx))
	}
	f := applyFacts{mode: m.d.Mode, maintenance: m.d.Maintenance()}
	if text, ok := m.d.Configs.Active(ctx); ok {
		f.active = text
	}
	p, err := planApply(in, f)
	if err != nil {
		return nil, err
	}
	if !p.dryRun {
		switch p.mode {
		case modeStaged:
			err = m.d.Configs.Stage(ctx, p.text)
		case modeTry:
			err = m.d.Configs.Try(ctx, p.text, p.try)
		default:
			err = m.d.Configs.Apply(ctx, p.text, true)
		}
		if err != nil {
			return nil, fmt.Errorf("apply configuration: %w", err)
		}
		m.d.Logger.Info("the config was changed through the API", "mode", p.mode.String())
	}
	return &machinepb.ApplyConfigurationResponse{Messages: []*machinepb.ApplyConfiguration{{
		Warnings: p.warnings, Mode: p.mode, ModeDetails: p.details,
	}}}, nil
}
