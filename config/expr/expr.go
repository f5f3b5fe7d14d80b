// Package expr has the expressions of the machine config: conditions in CEL (https://cel.dev) that select a disk, a
// volume or a link, and those that steer the out-of-memory handler.
//
// Each kind of expression is a type of its own with its environment: the variables that it may use, and the type of
// its result. An expression is compiled when it is read, so that a misspelt field is found with its place in the config,
// not on the machine. [Disk], [Volume] and [Link] are the facts that a machine fills in to evaluate one.
//
// Expressions have no side effects, cannot loop, and are evaluated under a cost limit.
package expr

import (
	"errors"
	"fmt"
	"net"
	"path"
	"reflect"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// maxLength bounds an expression's text in bytes; the compiler's time grows with it.
const maxLength = 4096

// costLimit bounds an evaluation, in CEL's units: about a comparison each.
const costLimit = 100_000

// Disk is what an expression sees as disk. Sizes are in bytes.
type Disk struct {
	Size            uint64   `cel:"size"`
	PrettySize      string   `cel:"pretty_size"`
	IOSize          uint64   `cel:"io_size"`
	SectorSize      uint64   `cel:"sector_size"`
	Readonly        bool     `cel:"readonly"`
	Model           string   `cel:"model"`
	Serial          string   `cel:"serial"`
	Modalias        string   `cel:"modalias"`
	WWID            string   `cel:"wwid"`
	UUID            string   `cel:"uuid"`
	BusPath         string   `cel:"bus_path"`
	SubSystem       string   `cel:"sub_system"`
	Transport       string   `cel:"transport"`
	Rotational      bool     `cel:"rotational"`
	CDROM           bool     `cel:"cdrom"`
	DevPath         string   `cel:"dev_path"`
	SecondaryDisks  []string `cel:"secondary_disks"`
	Symlinks        []string `cel:"symlinks"`
	FirmwareVersion string   `cel:"firmware_version"`
}

// Volume is what an expression sees as volume: what was found on a disk or partition. Sizes are in bytes.
type Volume struct {
	Size                uint64 `cel:"size"`
	PrettySize          string `cel:"pretty_size"`
	SectorSize          uint64 `cel:"sector_size"`
	IOSize              uint64 `cel:"io_size"`
	Name                string `cel:"name"`
	UUID                string `cel:"uuid"`
	Label               string `cel:"label"`
	BlockSize           uint32 `cel:"block_size"`
	FilesystemBlockSize uint32 `cel:"filesystem_block_size"`
	ProbedSize          uint64 `cel:"probed_size"`
	PartitionUUID       string `cel:"partition_uuid"`
	PartitionType       string `cel:"partition_type"`
	PartitionLabel      string `cel:"partition_label"`
	PartitionIndex      uint64 `cel:"partition_index"`
	Type                string `cel:"type"`
	DevicePath          string `cel:"device_path"`
	DevPath             string `cel:"dev_path"`
	Parent              string `cel:"parent"`
	ParentDevPath       string `cel:"parent_dev_path"`
	Offset              uint64 `cel:"offset"`
}

// Link is what an expression sees as link. Hardware addresses are bytes; mac() prints one.
type Link struct {
	Name            string   `cel:"name"`
	Index           uint32   `cel:"index"`
	Type            string   `cel:"type"`
	Kind            string   `cel:"kind"`
	HardwareAddr    []byte   `cel:"hardware_addr"`
	PermanentAddr   []byte   `cel:"permanent_addr"`
	BroadcastAddr   []byte   `cel:"broadcast_addr"`
	MTU             uint32   `cel:"mtu"`
	BusPath         string   `cel:"bus_path"`
	PCIID           string   `cel:"pciid"`
	Driver          string   `cel:"driver"`
	DriverVersion   string   `cel:"driver_version"`
	FirmwareVersion string   `cel:"firmware_version"`
	ProductID       string   `cel:"product_id"`
	Product         string   `cel:"product"`
	VendorID        string   `cel:"vendor_id"`
	Vendor          string   `cel:"vendor"`
	LinkState       bool     `cel:"link_state"`
	SpeedMegabits   int64    `cel:"speed_megabits"`
	Alias           string   `cel:"alias"`
	AltNames        []string `cel:"alt_names"`
}

// environment is one kind of expression: how to build its CEL environment, what it must return.
type environment struct {
	what    string // for messages
	example string
	result  []*cel.Type
	env     func() (*cel.Env, error)

	mu       sync.Mutex
	programs map[string]cel.Program // by text, since an expression is evaluated for each disk or link, and again and again
}

// maxPrograms bounds what is kept: when it is reached all are dropped, and come back as they are used.
const maxPrograms = 64

// program returns text compiled.
func (e *environment) program(text string) (cel.Program, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, ok := e.programs[text]; ok {
		return p, nil
	}
	ast, env, err := e.compile(text)
	if err != nil {
		return nil, err
	}
	p, err := env.Program(ast, cel.CostLimit(costLimit))
	if err != nil {
		return nil, err
	}
	if e.programs == nil || len(e.programs) >= maxPrograms {
		e.programs = map[string]cel.Program{}
	}
	e.programs[text] = p
	return p, nil
}

func newEnvironment(what, example string, result []*cel.Type, options func() []cel.EnvOption) *environment {
	return &environment{what: what, example: example, result: result, env: sync.OnceValues(func() (*cel.Env, error) {
		common := []cel.EnvOption{
			cel.OptionalTypes(),
			cel.CrossTypeNumericComparisons(true),
			cel.ParserExpressionSizeLimit(maxLength),
			cel.ParserRecursionLimit(50),
			ext.Strings(),
		}
		return cel.NewEnv(append(common, options()...)...)
	})}
}

// unitNames are constants of type uint, in bytes.
var unitNames = []struct {
	name  string
	bytes uint64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15},
}

func unitConstants() []cel.EnvOption {
	var out []cel.EnvOption
	for _, u := range unitNames {
		out = append(out, cel.Constant(u.name, types.UintType, types.Uint(u.bytes)))
	}
	return out
}

func native(values ...any) cel.EnvOption {
	args := []any{ext.ParseStructTags(true)}
	for _, v := range values {
		args = append(args, reflect.TypeOf(v))
	}
	return ext.NativeTypes(args...)
}

var (
	diskEnv = newEnvironment("disk selector", `disk.size > 100u * GiB && !disk.rotational`, boolean, func() []cel.EnvOption {
		return append(unitConstants(), native(Disk{}),
			cel.Variable("disk", cel.ObjectType("expr.Disk")),
			cel.Variable("system_disk", cel.BoolType))
	})
	volumeEnv = newEnvironment("volume selector", `volume.partition_label == "DATA"`, boolean, func() []cel.EnvOption {
		return append(unitConstants(), native(Disk{}, Volume{}),
			cel.Variable("volume", cel.ObjectType("expr.Volume")),
			cel.Variable("disk", cel.ObjectType("expr.Disk")),
			cel.Variable("system_disk", cel.BoolType))
	})
	linkEnv = newEnvironment("link selector", `mac(link.permanent_addr) == "2e:3c:4d:5e:6f:70"`, boolean, func() []cel.EnvOption {
		return []cel.EnvOption{native(Link{}), cel.Variable("link", cel.ObjectType("expr.Link")),
			cel.Function("mac", cel.Overload("mac_bytes", []*cel.Type{cel.BytesType}, cel.StringType, cel.UnaryBinding(mac))),
			cel.Function("glob", cel.Overload("glob_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
				cel.BinaryBinding(glob)))}
	})
	triggerEnv = newEnvironment("out-of-memory trigger", `memory_full_avg10 > 12.0 && time_since_trigger > duration("500ms")`, boolean,
		func() []cel.EnvOption {
			out := append(unitConstants(), cel.Variable("time_since_trigger", cel.DurationType))
			for _, prefix := range []string{"", "d_", "qos_"} {
				for _, kind := range []string{"some", "full"} {
					for _, window := range []string{"avg10", "avg60", "avg300", "total"} {
						out = append(out, cel.Variable(prefix+"memory_"+kind+"_"+window, cel.DoubleType))
					}
				}
			}
			return out
		})
	rankingEnv = newEnvironment("cgroup ranking", `memory_max.hasValue() ? 0.0 : double(memory_current.orValue(0u))`,
		[]*cel.Type{cel.DoubleType, cel.IntType, cel.UintType}, func() []cel.EnvOption {
			out := append(unitConstants(), cel.Variable("path", cel.StringType), cel.Variable("class", cel.IntType))
			for i, name := range Classes {
				out = append(out, cel.Constant(name, types.IntType, types.Int(i)))
			}
			for _, name := range []string{"memory_current", "memory_peak", "memory_max"} {
				out = append(out, cel.Variable(name, cel.OptionalType(cel.UintType)))
			}
			return out
		})

	boolean = []*cel.Type{cel.BoolType}
)

// Classes are the constants that class may be in a cgroup ranking, by value: the one most easily killed first.
var Classes = []string{"Besteffort", "Burstable", "Guaranteed", "Podruntime", "System"}

func mac(v ref.Val) ref.Val {
	b, ok := v.(types.Bytes)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	return types.String(net.HardwareAddr(b).String())
}

func glob(pattern, name ref.Val) ref.Val {
	p, ok1 := pattern.(types.String)
	n, ok2 := name.(types.String)
	if !ok1 || !ok2 {
		return types.MaybeNoSuchOverloadErr(pattern)
	}
	match, err := path.Match(string(p), string(n))
	if err != nil {
		return types.WrapErr(fmt.Errorf("glob pattern %q: %w", string(p), err))
	}
	return types.Bool(match)
}

// compile checks text against e.
func (e *environment) compile(text string) (*cel.Ast, *cel.Env, error) {
	if len(text) > maxLength {
		return nil, nil, fmt.Errorf("it has %d bytes; the limit is %d", len(text), maxLength)
	}
	env, err := e.env()
	if err != nil {
		return nil, nil, fmt.Errorf("build the environment of a %s: %w", e.what, err)
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		var messages []string
		for _, problem := range issues.Errors() {
			messages = append(messages, fmt.Sprintf("column %d: %s", problem.Location.Column()+1, problem.Message))
		}
		return nil, nil, errors.New(strings.Join(messages, "; "))
	}
	for _, t := range e.result {
		if ast.OutputType().IsExactType(t) || ast.OutputType().IsExactType(cel.DynType) {
			return ast, env, nil
		}
	}
	return nil, nil, fmt.Errorf("its result is a %s, not a %s", ast.OutputType(), e.result[0])
}

// eval evaluates text under vars.
func (e *environment) eval(text string, vars map[string]any) (ref.Val, error) {
	program, err := e.program(text)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", e.what, text, err)
	}
	v, _, err := program.Eval(vars)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", e.what, text, err)
	}
	return v, nil
}

func (e *environment) expects() string { return "a CEL " + e.what + " such as " + e.example }

func (e *environment) check(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is empty")
	}
	_, _, err := e.compile(string(text))
	return err
}

func (e *environment) match(text string, vars map[string]any) (bool, error) {
	v, err := e.eval(text, vars)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%s %q: the result is a %s, not a bool", e.what, text, v.Type())
	}
	return bool(b), nil
}

// DiskSelector is a condition on a disk.
type DiskSelector string

// Expects implements [schema.Text].
func (DiskSelector) Expects() string { return diskEnv.expects() }

// UnmarshalText compiles text.
func (s *DiskSelector) UnmarshalText(text []byte) error { return keep(s, diskEnv, text) }

// MarshalText prints s.
func (s DiskSelector) MarshalText() ([]byte, error) { return []byte(s), nil }

// Match reports whether s selects d. system is whether d is the disk that the system is installed on.
func (s DiskSelector) Match(d Disk, system bool) (bool, error) {
	return diskEnv.match(string(s), map[string]any{"disk": &d, "system_disk": system})
}

// VolumeSelector is a condition on a volume and the disk that it is on.
type VolumeSelector string

// Expects implements [schema.Text].
func (VolumeSelector) Expects() string { return volumeEnv.expects() }

// UnmarshalText compiles text.
func (s *VolumeSelector) UnmarshalText(text []byte) error { return keep(s, volumeEnv, text) }

// MarshalText prints s.
func (s VolumeSelector) MarshalText() ([]byte, error) { return []byte(s), nil }

// Match reports whether s selects v on d. system is whether d is the disk that the system is installed on.
func (s VolumeSelector) Match(v Volume, d Disk, system bool) (bool, error) {
	return volumeEnv.match(string(s), map[string]any{"volume": &v, "disk": &d, "system_disk": system})
}

// LinkSelector is a condition on a link.
type LinkSelector string

// Expects implements [schema.Text].
func (LinkSelector) Expects() string { return linkEnv.expects() }

// UnmarshalText compiles text.
func (s *LinkSelector) UnmarshalText(text []byte) error { return keep(s, linkEnv, text) }

// MarshalText prints s.
func (s LinkSelector) MarshalText() ([]byte, error) { return []byte(s), nil }

// Match reports whether s selects l.
func (s LinkSelector) Match(l Link) (bool, error) {
	return linkEnv.match(string(s), map[string]any{"link": &l})
}

// OOMTrigger is the condition under which the out-of-memory handler acts: over the pressure of the whole machine
// (memory_some_avg10 and so on, in percent; with d_ the change since the last sample; with qos_ that of pods alone)
// and time_since_trigger.
type OOMTrigger string

// Expects implements [schema.Text].
func (OOMTrigger) Expects() string { return triggerEnv.expects() }

// UnmarshalText compiles text.
func (s *OOMTrigger) UnmarshalText(text []byte) error { return keep(s, triggerEnv, text) }

// MarshalText prints s.
func (s OOMTrigger) MarshalText() ([]byte, error) { return []byte(s), nil }

// CgroupRanking is the number that orders cgroups for the out-of-memory handler, the first to be killed the highest: over
// path, class (see [Classes]) and the optional memory_current, memory_peak and memory_max in bytes.
type CgroupRanking string

// Expects implements [schema.Text].
func (CgroupRanking) Expects() string { return rankingEnv.expects() }

// UnmarshalText compiles text.
func (s *CgroupRanking) UnmarshalText(text []byte) error { return keep(s, rankingEnv, text) }

// MarshalText prints s.
func (s CgroupRanking) MarshalText() ([]byte, error) { return []byte(s), nil }

// keep sets s to text if it compiles under e.
func keep[S ~string](s *S, e *environment, text []byte) error {
	if err := e.check(text); err != nil {
		return err
	}
	*s = S(text)
	return nil
}
