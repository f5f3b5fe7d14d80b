package configctrl

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/controller/controllertest"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/resource/service"
)

const (
	partial  = "apiVersion: v1alpha1\nkind: EnvironmentConfig\nvariables:\n  A: b\n"
	partial2 = "apiVersion: v1alpha1\nkind: EnvironmentConfig\nvariables:\n  A: c\n"
	// complete is what the parser takes for one; it breaks rules, because it lacks authorities.
	complete  = "version: v1alpha1\nmachine:\n  type: worker\n"
	complete2 = complete + "---\n" + partial
	broken    = "version: v1alpha1\nmachine:\n  tipe: worker\n"
)

// node is the controllers of one machine, with what they say. The store needs the state of the harness: it is put together by start.
type node struct {
	h      *controllertest.Harness
	store  *Store
	dir    string
	events []proto.Message
	mu     sync.Mutex
}

// start begins the controllers in the middle of a test.
func start(h *controllertest.Harness, dir, userdata string) *node {
	n := &node{h: h, dir: dir, store: NewStore(h.State, dir, slog.New(slog.NewTextHandler(h.T.Output(), nil)))}
	for _, c := range Controllers(Deps{Store: n.store, Userdata: userdata, Mode: schema.Container, Publish: func(m proto.Message, _ string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, m)
	}}) {
		if err := h.Scheduler.Register(c); err != nil {
			h.T.Fatal(err)
		}
	}
	h.Settle()
	return n
}

func (n *node) file() string {
	n.h.T.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		n.h.T.Fatal(err)
	}
	return string(b)
}

func (n *node) wantConfigs(active, persistent string) {
	n.h.T.Helper()
	for id, text := range map[string]string{machineconfig.Active: active, machineconfig.Persistent: persistent} {
		if text == "" {
			controllertest.WantNever[machineconfig.Config](n.h, id)
		} else {
			controllertest.Want(n.h, id, machineconfig.Config{Text: text})
		}
	}
	if got := n.file(); got != persistent {
		n.h.T.Errorf("the file has %q; want %q", got, persistent)
	}
}

func (n *node) wantMaintenance(want bool) {
	n.h.T.Helper()
	if want {
		controllertest.Want(n.h, runtime.MaintenanceServiceID, runtime.MaintenanceServiceRequest{})
		controllertest.WantGone[service.AcquireConfigStatus](n.h, AcquiredID)
	} else {
		controllertest.Want(n.h, AcquiredID, service.AcquireConfigStatus{})
		controllertest.WantGone[runtime.MaintenanceServiceRequest](n.h, runtime.MaintenanceServiceID)
	}
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func compress(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return encode(b.String())
}

func writeFile(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// searched returns what the search ended with.
func searched(t *testing.T, sources []Source) (text, from string, wrong *problem) {
	wrong = search(t.Context(), sources, schema.Container, func(p *problem) { t.Error(p) }, func(found, name string) (bool, error) {
		text, from = found, name
		return true, nil
	})
	return text, from, wrong
}

func TestSearchStopsAtTheFirstCompleteConfig(t *testing.T) {
	const damaged = "!" // stands for a source that cannot be read
	for _, tt := range []struct {
		name            string
		state, platform string
		text, from      string
		wrong           string // a part of the problem
		invalid         bool
	}{
		{name: "nothing"},
		{name: "state", state: complete, platform: complete2, text: complete, from: "state"},
		{name: "state is not checked anew", state: complete, text: complete, from: "state"},
		{name: "a partial state ends it", state: partial, platform: complete, text: partial, from: "state"},
		{name: "a broken state ends it", state: broken, platform: complete, wrong: "tipe"},
		{name: "an unreadable state ends it", state: damaged, platform: complete, wrong: "input/output error"},
		{name: "platform, partial", platform: partial, text: partial, from: "platform"},
		{name: "platform, only white space", platform: " \n"},
		{name: "platform, broken", platform: broken, wrong: "tipe"},
		{name: "platform, against the rules", platform: complete, wrong: "machine", invalid: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func(text string) func(context.Context, func(error)) (string, error) {
				return func(context.Context, func(error)) (string, error) {
					if text == damaged {
						return "", errors.New("input/output error")
					}
					return text, nil
				}
			}
			text, from, wrong := searched(t, []Source{
				{Name: "state", Read: read(tt.state), trusted: true, final: true},
				{Name: "platform", Read: read(tt.platform)},
			})
			if text != tt.text || from != tt.from {
				t.Errorf("search = %q from %q; want %q from %q", text, from, tt.text, tt.from)
			}
			if (wrong != nil) != (tt.wrong != "") {
				t.Fatalf("search = problem %v; want one with %q", wrong, tt.wrong)
			}
			if wrong != nil && (!strings.Contains(wrong.Error(), tt.wrong) || wrong.invalid != tt.invalid) {
				t.Errorf("search = problem %v, invalid %v; want one with %q, %v", wrong, wrong.invalid, tt.wrong, tt.invalid)
			}
		})
	}
	t.Run("a later source replaces", func(t *testing.T) {
		text, from, wrong := searched(t, []Source{
			{Name: "a", Read: func(context.Context, func(error)) (string, error) { return partial, nil }},
			{Name: "b", Read: func(context.Context, func(error)) (string, error) { return partial2, nil }},
		})
		if text != partial2 || from != "b" || wrong != nil {
			t.Errorf("search = %q, %q, %v; want what b has", text, from, wrong)
		}
	})
}

func TestUserdata(t *testing.T) {
	for _, tt := range []struct{ name, in, want, err string }{
		{"none", "", "", ""},
		{"blank", " \n", "", ""},
		{"plain", encode(complete), complete, ""},
		{"lines", encode(complete)[:8] + "\n" + encode(complete)[8:] + "\n", complete, ""},
		{"compressed", compress(complete), complete, ""},
		{"no base64", complete, "", "has to be base64"},
		{"damaged", encode("\x1f\x8bxxxxxxxxxxxx"), "", "expand user data"},
		{"cut off", compress(complete)[:24], "", "expand user data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeUserdata(tt.in)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("decodeUserdata = %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestExpandIsBounded(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(compress("1234"))
	must(t, err)
	if got, err := expand(b, 4); got != "1234" || err != nil {
		t.Errorf("expand to the limit = %q, %v; want 1234", got, err)
	}
	if got, err := expand(b, 3); err == nil || !strings.Contains(err.Error(), "longer than 3 bytes") {
		t.Errorf("expand over the limit = %q, %v; want an error", got, err)
	}
}

func FuzzUserdata(f *testing.F) {
	for _, s := range []string{"", encode(complete), compress(complete), "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if text, err := decodeUserdata(s); err != nil && text != "" {
			t.Errorf("decodeUserdata(%q) = %q with an error", s, text)
		}
	})
}

func TestMachineTakesTheConfigOfItsDisk(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, complete)
	before, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		n := start(h, dir, encode(complete2))
		n.wantConfigs(complete, complete)
		n.wantMaintenance(false)
		controllertest.Want(h, machineconfig.TypeID, machineconfig.Type{Type: machineconfig.TypeWorker})
		if len(n.events) > 0 {
			t.Errorf("events %v; want none", n.events)
		}
		after, err := os.Stat(filepath.Join(dir, FileName))
		if err != nil || !os.SameFile(before, after) {
			t.Errorf("the file was written anew, %v; nothing has changed", err)
		}
	})
}

func TestMachineKeepsThePlatformsConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	controllertest.Run(t, func(h *controllertest.Harness) {
		n := start(h, dir, compress(partial))
		controllertest.Want(h, machineconfig.Active, machineconfig.Config{Text: partial}) // without a disk to keep it
		n.wantMaintenance(true)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h.Advance(time.Minute) // the controller tries again
		n.wantConfigs(partial, partial)
		if i, err := os.Stat(filepath.Join(dir, FileName)); err != nil || i.Mode() != 0o600 {
			t.Errorf("mode %v, %v; want 0600: the config has secrets", i.Mode(), err)
		}
		controllertest.WantNever[machineconfig.Type](h, machineconfig.TypeID)
	})
}

func TestWrongConfigIsMaintenanceWithTheReason(t *testing.T) {
	for _, tt := range []struct {
		name, userdata, detail string
		load                   bool
	}{
		{"cannot be read", encode(broken), "tipe", true},
		{"breaks rules", encode(complete), "machine.", false},
		{"no base64", "%", "has to be base64", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			controllertest.Run(t, func(h *controllertest.Harness) {
				n := start(h, dir, tt.userdata)
				n.wantMaintenance(true)
				n.wantConfigs("", "")
				d := controllertest.WantThat(h, DiagnosticID, "say what is wrong", func(r *resource.Typed[runtime.Diagnostic]) bool { return len(r.Spec().Details) > 0 })
				if all := strings.Join(d.Spec().Details, "\n"); !strings.Contains(all, tt.detail) {
					t.Errorf("the diagnostic says\n%s\nwant %q in it", all, tt.detail)
				}
				if len(n.events) != 1 {
					t.Fatalf("events %v; want one", n.events)
				}
				if _, load := n.events[0].(*machinepb.ConfigLoadErrorEvent); load != tt.load {
					t.Errorf("event %T; want a load error: %v", n.events[0], tt.load)
				}
				if err := n.store.Apply(n.h.T.Context(), complete, true); err != nil {
					t.Fatal(err)
				}
				n.wantMaintenance(false)
				n.wantConfigs(complete, complete)
				controllertest.WantGone[runtime.Diagnostic](h, DiagnosticID)
			})
		})
	}
}

func TestStore(t *testing.T) {
	const d = time.Minute
	ctx := context.Background
	for _, tt := range []struct {
		name               string
		do                 func(t *testing.T, n *node)
		active, persistent string
	}{
		{"apply", func(t *testing.T, n *node) { must(t, n.store.Apply(ctx(), complete2, true)) }, complete2, complete2},
		{"apply, not kept", func(t *testing.T, n *node) { must(t, n.store.Apply(ctx(), complete2, false)) }, complete2, complete},
		{"stage", func(t *testing.T, n *node) { must(t, n.store.Stage(ctx(), complete2)) }, complete, complete2},
		{"try", func(t *testing.T, n *node) {
			must(t, n.store.Try(ctx(), complete2, d))
			n.h.Advance(d - 1)
			n.wantConfigs(complete2, complete)
			n.h.Advance(1)
		}, complete, complete},
		{"try, then apply the same", func(t *testing.T, n *node) {
			must(t, n.store.Try(ctx(), complete2, d))
			must(t, n.store.Apply(ctx(), complete2, true))
			n.h.Advance(2 * d)
		}, complete2, complete2},
		{"try twice", func(t *testing.T, n *node) {
			must(t, n.store.Try(ctx(), complete2, d))
			n.h.Advance(d - 1)
			must(t, n.store.Try(ctx(), complete2+"# more\n", d))
			n.h.Advance(d - 1)
			n.wantConfigs(complete2+"# more\n", complete)
			n.h.Advance(1)
		}, complete, complete},
		{"a staged config does not end a trial", func(t *testing.T, n *node) {
			must(t, n.store.Try(ctx(), complete2, d))
			must(t, n.store.Stage(ctx(), complete2))
			n.h.Advance(d)
		}, complete, complete2},
		{"what is refused changes nothing", func(t *testing.T, n *node) {
			must(t, n.store.Try(ctx(), complete2, d))
			for name, err := range map[string]error{
				"Apply": n.store.Apply(ctx(), broken, true), "Stage": n.store.Stage(ctx(), broken),
				"Try": n.store.Try(ctx(), broken, d), "Try for no time": n.store.Try(ctx(), complete, 0),
			} {
				if err == nil {
					t.Errorf("%s: no error", name)
				}
			}
			n.wantConfigs(complete2, complete)
			n.h.Advance(d)
		}, complete, complete},
		{"a disk that cannot be written", func(t *testing.T, n *node) {
			must(t, os.RemoveAll(n.dir))
			if err := n.store.Apply(ctx(), complete2, true); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Apply = %v; want why the file was not written", err)
			}
			if err := n.store.Stage(ctx(), complete2); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stage = %v; want why the file was not written", err)
			}
			controllertest.Want(n.h, machineconfig.Active, machineconfig.Config{Text: complete})
			controllertest.Want(n.h, machineconfig.Persistent, machineconfig.Config{Text: complete})
			must(t, os.Mkdir(n.dir, 0o700))
			must(t, n.store.Apply(ctx(), complete, true))
		}, complete, complete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			must(t, os.Mkdir(dir, 0o700))
			writeFile(t, dir, complete)
			controllertest.Run(t, func(h *controllertest.Harness) {
				n := start(h, dir, "")
				tt.do(t, n)
				n.wantConfigs(tt.active, tt.persistent)
				if text, ok := n.store.Active(n.h.T.Context()); text != tt.active || !ok {
					t.Errorf("Active = %q, %v; want %q", text, ok, tt.active)
				}
			})
		})
	}
}

func TestTrialNeedsAConfigToReturnTo(t *testing.T) {
	dir := t.TempDir()
	controllertest.Run(t, func(h *controllertest.Harness) {
		n := start(h, dir, "")
		if err := n.store.Try(n.h.T.Context(), complete, time.Minute); !errors.Is(err, ErrNoConfig) {
			t.Errorf("Try = %v; want ErrNoConfig", err)
		}
		if text, ok := n.store.Active(n.h.T.Context()); ok {
			t.Errorf("Active = %q; want none", text)
		}
		n.wantMaintenance(true)
	})
}

func TestAcquisitionIsDoneOnce(t *testing.T) {
	dir := t.TempDir()
	controllertest.Run(t, func(h *controllertest.Harness) {
		n := start(h, dir, encode(partial))
		n.wantConfigs(partial, partial)
		must(t, n.store.Apply(n.h.T.Context(), complete, true))
		must(t, n.store.Apply(n.h.T.Context(), partial2, true)) // a person takes the rest away again
		n.wantMaintenance(true)
		n.wantConfigs(partial2, partial2)
	})
}

func TestNames(t *testing.T) {
	want := map[string]bool{"config.AcquireController": true, "config.PersistenceController": true, "config.MachineTypeController": true}
	for _, c := range Controllers(Deps{}) {
		if !want[c.Name()] {
			t.Errorf("controller %s is not in the contract", c.Name())
		}
	}
	var _ controller.Controller = MachineTypeController{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
