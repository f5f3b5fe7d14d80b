package hardwarectrl

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/hardware"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// uuidOverride is the value in META that replaces a UUID of the firmware which is not unique (contract.md, section 5.5).
const uuidOverride = "0x0f"

// SystemInfoController shows the machine as its maker describes it, and its processors. A machine whose firmware says nothing has no
// hardware.SystemInformation, unless META gives it a UUID.
type SystemInfoController struct{ Proc proc.Reader }

// Name implements [controller.Controller].
func (SystemInfoController) Name() string { return "hardware.SystemInfoController" }

// Inputs implements [controller.Controller].
func (SystemInfoController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[runtime.MetaKey]().Named(uuidOverride)}
}

// Outputs implements [controller.Controller].
func (SystemInfoController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[hardware.SystemInformation](), controller.Exclusive[hardware.Processor]()}
}

// Run implements [controller.Controller].
func (c SystemInfoController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		dmi, err := c.Proc.DMI()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		override, err := state.Get[runtime.MetaKey](ctx, rt, uuidOverride)
		if err != nil && !errors.Is(err, state.NotFound) {
			return err
		}
		cpus, err := c.Proc.CPUInfo()
		if err != nil {
			return err
		}
		freqs, err := c.Proc.CPUFreq()
		if err != nil {
			return err
		}
		rt.TrackOutputs()
		if info := systemInformation(dmi, override); info != (hardware.SystemInformation{}) {
			if err := state.Put(ctx, rt, hardware.SystemInformationID, info); err != nil {
				return err
			}
		}
		for _, p := range processorsOf(cpus, freqs) {
			if err := state.Put(ctx, rt, p.Socket, p); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// systemInformation returns what the firmware says; override may be nil.
func systemInformation(d proc.DMI, override *resource.Typed[runtime.MetaKey]) hardware.SystemInformation {
	out := hardware.SystemInformation{
		Manufacturer: d.Manufacturer, ProductName: d.Product, Version: d.Version, BIOSVersion: d.BIOSVersion,
		SerialNumber: d.Serial, UUID: d.UUID, SKUNumber: d.SKU,
	}
	if override != nil && override.Spec().Value != "" {
		out.UUID = override.Spec().Value
	}
	return out
}
