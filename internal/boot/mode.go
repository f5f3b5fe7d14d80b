package boot

import (
	"errors"
	"fmt"
)

// Mode is what kind of machine this is. The names are those of the environment variable PLATFORM and of the API.
type Mode string

// The modes.
const (
	Container Mode = "container" // a lab node: kernel, disks and clock are the host's
	Metal     Mode = "metal"     // a machine, or a VM
)

// Capability is something that a machine can do in one mode and not in another.
type Capability string

// The capabilities.
const (
	CanReboot        Capability = "reboot"
	CanShutdown      Capability = "shutdown" // through the API; a container is stopped by its runtime
	CanReset         Capability = "reset"
	CanUpgrade       Capability = "upgrade"
	CanRollback      Capability = "rollback"
	CanMeta          Capability = "meta"
	CanDisks         Capability = "disks"
	CanKernelParams  Capability = "kernel parameters"
	CanKernelModules Capability = "kernel modules"
	CanKernelLog     Capability = "kernel log" // to take it for the machine's own
	CanUdev          Capability = "udev"
	CanBootloader    Capability = "boot loader"
	CanTimeSync      Capability = "time sync"
	CanSetHostname   Capability = "host name"
)

// Capabilities returns every capability, in the order in which they are shown.
func Capabilities() []Capability {
	return []Capability{
		CanReboot, CanShutdown, CanReset, CanUpgrade, CanRollback, CanMeta, CanDisks, CanKernelParams, CanKernelModules,
		CanKernelLog, CanUdev, CanBootloader, CanTimeSync, CanSetHostname,
	}
}

// lack is why a mode cannot do something, and whether it could not even if the machine were in another state.
type lack struct {
	reason        string
	unimplemented bool
}

// lacks is the table of what modes cannot do. What is not in it, a mode can.
var lacks = map[Mode]map[Capability]lack{
	Container: {
		CanReboot:        {"a container cannot start itself again; restart it with its container runtime", false},
		CanShutdown:      {"a container is stopped by its container runtime", false},
		CanUpgrade:       {"a container is upgraded by starting one from another image", false},
		CanRollback:      {"a container has no other version of the system to go back to", false},
		CanMeta:          {"a container has no META partition", true},
		CanDisks:         {"the disks belong to the host of the container", false},
		CanKernelParams:  {"the parameters of the kernel belong to the host of the container", false},
		CanKernelModules: {"the kernel belongs to the host of the container", false},
		CanKernelLog:     {"the log of the kernel belongs to the host of the container", false},
		CanUdev:          {"the devices belong to the host of the container", false},
		CanBootloader:    {"a container has no boot loader", false},
		CanTimeSync:      {"the clock belongs to the host of the container", false},
	},
	Metal: {},
}

// ErrLacks is wrapped by the error of [Mode.Check].
var ErrLacks = errors.New("not supported in this mode")

// LackError says that a mode cannot do something, and why. It wraps ErrLacks.
type LackError struct {
	Mode       Mode
	Capability Capability
	Reason     string // for people
	// Unimplemented means that the API answers Unimplemented; otherwise it is FailedPrecondition.
	Unimplemented bool
}

// Error returns the reason with what it is about.
func (e *LackError) Error() string {
	return fmt.Sprintf("%s is not supported in %s mode: %s", e.Capability, e.Mode, e.Reason)
}

// Unwrap returns ErrLacks.
func (e *LackError) Unwrap() error { return ErrLacks }

// Can reports whether the machine can do something in this mode.
func (m Mode) Can(c Capability) bool { return m.Check(c) == nil }

// Check returns nil if the machine can do something in this mode, and otherwise a *[LackError]. A mode that is not known can
// do nothing.
func (m Mode) Check(c Capability) error {
	table, ok := lacks[m]
	if !ok {
		return &LackError{m, c, "the mode is not known", false}
	}
	if l, ok := table[c]; ok {
		return &LackError{m, c, l.reason, l.unimplemented}
	}
	return nil
}
