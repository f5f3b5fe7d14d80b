package talosconfig

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}

		return value
	}
}

// wantError checks that an error has all the texts; no text at all means no error.
func wantError(t *testing.T, call string, err error, texts ...string) {
	t.Helper()

	if len(texts) == 0 && err != nil {
		t.Errorf("%s: error = %v; want none", call, err)
	}

	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error = %v; want it to contain %q", call, err, text)
		}
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()

	return must(os.ReadFile(filepath.Join("testdata", name)))(t)
}

// load reads a talosconfig without minding its warnings.
func load(t testing.TB, data string) *Config {
	t.Helper()

	c, _, err := Load([]byte(data))

	return must(c, err)(t)
}

func TestFilesOfThePublicClientStayAsTheyAre(t *testing.T) {
	for _, name := range []string{"v1.6.talosconfig", "v1.14.talosconfig"} {
		t.Run(name, func(t *testing.T) {
			data := read(t, name)

			c, warnings, err := Load(data)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("Load: warnings %v, error %v", warnings, err)
			}

			if diff := cmp.Diff(string(data), string(must(c.Marshal())(t))); diff != "" {
				t.Errorf("the file (-read +written):\n%s", diff)
			}
		})
	}
}

func TestLoadFull(t *testing.T) {
	c, warnings, err := Load(read(t, "full.talosconfig"))
	if err != nil {
		t.Fatal(err)
	}

	if got, want := c.Names(), []string{"123", "lab", "old", "omni"}; !slices.Equal(got, want) || c.Context != "lab" {
		t.Errorf("contexts = %q, current %q; want %q, lab", got, c.Context, want)
	}

	lab := c.Contexts["lab"]
	if diff := cmp.Diff([]string{"10.5.0.2", "fd00::2", "cp-1.example:50000"}, lab.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}

	if lab.CA != "Y2E=" || lab.Crt != "Y3J0" || lab.Key.Reveal() != "a2V5" || lab.ProxyURL != "socks5://127.0.0.1:1080" || len(lab.Nodes) != 2 {
		t.Errorf("context lab = %+v", lab)
	}

	omni := c.Contexts["omni"]
	if omni.Cluster != "production" || omni.Auth.SideroV1.Identity != "me@example.com" || omni.Auth.HasBasic() {
		t.Errorf("context omni = %+v, auth %+v", omni, omni.Auth)
	}

	if !c.Contexts["old"].Auth.HasBasic() || c.Contexts["lab"].Auth.HasBasic() {
		t.Error("HasBasic is not true for the context old alone")
	}

	want := []Warning{
		{"contexts.omni.auth.siderov1.region", 10}, {"contexts.lab.colour", 21}, {"schema", 29},
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	if got, want := warnings[1].String(), "line 21: contexts.lab.colour: unknown key, kept as it is"; got != want {
		t.Errorf("Warning = %q; want %q", got, want)
	}
}

func TestMarshalKeepsUnknownKeys(t *testing.T) {
	c := load(t, string(read(t, "full.talosconfig")))
	got := must(c.Marshal())(t)

	path := filepath.Join("testdata", "full.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if diff := cmp.Diff(string(read(t, "full.golden")), string(got)); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}

	if again := must(load(t, string(got)).Marshal())(t); string(again) != string(got) {
		t.Errorf("written once more it differs:\n%s", cmp.Diff(string(got), string(again)))
	}

	_, err := (&Config{Contexts: map[string]*Context{"x": nil}}).Marshal()
	wantError(t, "Marshal of a nil context", err, `context "x" is nil`)
}

func TestLoad(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       string // all of the error
	}{
		{"nothing", "", ""},
		{"comment", "# empty\n", ""},
		{"null", "null\n", ""},
		{"no contexts", "context: x\ncontexts:\n", ""},
		{"JSON", `{"context": "a", "contexts": {"a": {"endpoints": ["x"]}}}`, ""},
		{"broken credentials are for later", "contexts: {a: {ca: '!', key: '!'}}", ""},
		{"list", "- a\n", "line 1: want a mapping; found a list"},
		{"text", "hello\n", "line 1: want a mapping; found a string"},
		{"two documents", "context: a\n---\ncontext: b\n", "want one YAML document; found more"},
		{"the same key twice", "context: a\ncontext: b\n", "line 2: context: the same key is on line 1"},
		{"the same context twice", "contexts:\n  a: {}\n  a: {}\n", "line 3: contexts.a: the same key is on line 2"},
		{"contexts as a list", "contexts: [a]\n", "line 1: contexts: want a mapping; found a list"},
		{"string for a list", "contexts: {a: {endpoints: 10.0.0.1}}", "line 1: contexts.a.endpoints: want a list; found a string"},
		{"number for a string", "contexts: {a: {cluster: 7}}", "line 1: contexts.a.cluster: want a string; found a number, which needs quotes to be a string"},
		{"boolean for a string", "contexts: {a: {cluster: true}}", "line 1: contexts.a.cluster: want a string; found true or false, which needs quotes to be a string"},
		{"date for a string", "contexts: {a: {cluster: 2027-01-01}}", "line 1: contexts.a.cluster: want a string; found a date, which needs quotes to be a string"},
		{"list for a string", "contexts: {a: {cluster: []}}", "line 1: contexts.a.cluster: want a string; found a list"},
		{"number in a list", "contexts: {a: {nodes: [x, 10.5]}}", "line 1: contexts.a.nodes[1]: want a string; found a number, which needs quotes to be a string"},
		{"empty in a list", "contexts:\n  a:\n    nodes:\n    -\n    - ''\n", "line 4: contexts.a.nodes[0]: it is empty\nline 5: contexts.a.nodes[1]: it is empty"},
		{"text for auth", "contexts: {a: {auth: x}}", "line 1: contexts.a.auth: want a mapping; found a string"},
		{"number for an identity", "contexts: {a: {auth: {siderov1: {identity: 1}}}}", "line 1: contexts.a.auth.siderov1.identity: want a string; found a number, which needs quotes to be a string"},
		{"list for a key", "? [a]\n: b\n", "line 1: want names for keys; found a list"},
		{"merge key", "contexts: {a: {<<: {cluster: x}}}", "line 1: contexts.a: want names for keys; found another kind of value"},
		{"anchor in use", "contexts:\n  a: &x {}\n  b: *x\n", "line 3: YAML anchors are not supported"},
		{"value with a star", "contexts: {a: {key: *opensesame }}", "a value that starts with * refers to a YAML anchor that is not there"},
		{"several", "context: 1\ncontexts:\n  a: 2\n", "line 1: context: want a string; found a number, which needs quotes to be a string\nline 3: contexts.a: want a mapping; found a number, which needs quotes to be a string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := Load([]byte(tt.data))

			got := ""
			if err != nil {
				got = err.Error()
			} else if c == nil || c.Contexts == nil {
				t.Fatal("Load = nil without an error")
			}

			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Load: error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()

	_, _, err := Open(filepath.Join(dir, "config"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: error = %v; want fs.ErrNotExist", err)
	}

	path := filepath.Join(dir, "bad")
	if err := os.WriteFile(path, []byte("- a"), 0o600); err != nil {
		t.Fatal(err)
	}

	_, _, err = Open(path)
	wantError(t, "Open", err, "read talosconfig "+path+": line 1: want a mapping")
}

func TestLookup(t *testing.T) {
	c := load(t, "context: a\ncontexts: {a: {cluster: one}, b: {cluster: two}}")

	for _, tt := range []struct {
		name, current, ask, want string
		errs                     []string
	}{
		{"current", "a", "", "a one", nil},
		{"named", "a", "b", "b two", nil},
		{"unknown", "a", "c", "", []string{`no such context: "c"; there are a, b`}},
		{"current is unknown", "c", "", "", []string{`"c"; there are a, b`}},
		{"none is current", "", "", "", []string{"none is current; there are a, b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.Context = tt.current

			name, found, err := c.Lookup(tt.ask)
			wantError(t, "Lookup", err, tt.errs...)

			if err != nil {
				if !errors.Is(err, ErrNoContext) {
					t.Errorf("Lookup: %v does not wrap ErrNoContext", err)
				}

				return
			}

			if got := name + " " + found.Cluster; got != tt.want {
				t.Errorf("Lookup(%q) = %s; want %s", tt.ask, got, tt.want)
			}
		})
	}

	_, _, err := (&Config{}).Lookup("")
	wantError(t, "Lookup in an empty Config", err, "the talosconfig is empty")
}

// summary is "current: name=cluster …".
func summary(c *Config) string {
	out := c.Context + ":"
	for _, name := range c.Names() {
		out += " " + name + "=" + c.Contexts[name].Cluster
	}

	return out
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct {
		name, into, from string
		want, renames    string
	}{
		{"into nothing", "", "context: a\ncontexts: {a: {cluster: 'x'}}", "a: a=x", "[]"},
		{"others", "context: b\ncontexts: {b: {cluster: 'y'}}", "context: a\ncontexts: {a: {cluster: x}}", "a: a=x b=y", "[]"},
		{"the same is not renamed", "context: b\ncontexts: {a: {cluster: x, endpoints: []}, b: {}}", "context: a\ncontexts: {a: {cluster: x}}", "a: a=x b=", "[]"},
		{"conflict", "context: a\ncontexts: {a: {cluster: one}}", "context: a\ncontexts: {a: {cluster: two}}", "a-1: a=one a-1=two", "[{a a-1}]"},
		{"two conflicts in order", "contexts: {a: {cluster: one}, b: {}}", "contexts: {b: {cluster: x}, a: {cluster: two}}", ": a=one a-1=two b= b-1=x", "[{a a-1} {b b-1}]"},
		{"new name is taken by another", "contexts: {a: {cluster: one}, a-1: {cluster: two}}", "context: a\ncontexts: {a: {cluster: three}}", "a-2: a=one a-1=two a-2=three", "[{a a-2}]"},
		{"new name is taken by the same", "contexts: {a: {cluster: one}, a-1: {cluster: two}}", "context: a\ncontexts: {a: {cluster: two}}", "a-1: a=one a-1=two", "[{a a-1}]"},
		{"nothing is current in the other", "context: a\ncontexts: {a: {}}", "contexts: {b: {}}", "a: a= b=", "[]"},
		{"unknown is current in the other", "context: a\ncontexts: {a: {}}", "context: z\ncontexts: {b: {}}", "a: a= b=", "[]"},
		{"they differ in the endpoints", "contexts: {a: {endpoints: [x]}}", "contexts: {a: {endpoints: [y]}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in the nodes", "contexts: {a: {nodes: [x]}}", "contexts: {a: {}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in the key", "contexts: {a: {key: x}}", "contexts: {a: {key: y}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in the proxy", "contexts: {a: {proxy-url: x}}", "contexts: {a: {}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in the identity", "contexts: {a: {auth: {siderov1: {identity: x}}}}", "contexts: {a: {auth: {siderov1: {identity: y}}}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in basic", "contexts: {a: {auth: {basic: {password: x}}}}", "contexts: {a: {auth: {basic: {password: y}}}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in the kind of auth", "contexts: {a: {auth: {}}}", "contexts: {a: {}}", ": a= a-1=", "[{a a-1}]"},
		{"they differ in an unknown key", "contexts: {a: {colour: red}}", "contexts: {a: {colour: blue}}", ": a= a-1=", "[{a a-1}]"},
		{"unknown keys in another style are the same", "contexts: {a: {colour: {r: 1, g: 2}}}", "contexts:\n  a:\n    colour:\n      g: 2 # green\n      r: 1\n", ": a=", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, tt.into)
			if tt.into == "" {
				c = &Config{}
			}

			renames := c.Merge(load(t, tt.from))
			if got := summary(c); got != tt.want {
				t.Errorf("Merge = %s; want %s", got, tt.want)
			}

			if got := fmt.Sprint(renames); got != tt.renames {
				t.Errorf("renames = %s; want %s", got, tt.renames)
			}

			before := string(must(c.Marshal())(t))
			c.Merge(load(t, tt.from))

			if diff := cmp.Diff(before, string(must(c.Marshal())(t))); diff != "" {
				t.Errorf("merging once more changes the file (-once +twice):\n%s", diff)
			}
		})
	}
}

func TestMergeKeepsUnknownKeysAtTheTop(t *testing.T) {
	c := load(t, "mine: 1\nboth: 2\n")
	c.Merge(load(t, "both: 3\ntheirs: 4\n"))

	const want = "context: \"\"\ncontexts: {}\nboth: 2\nmine: 1\ntheirs: 4\n"
	if diff := cmp.Diff(want, string(must(c.Marshal())(t))); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
}

func TestPrivateValuesDoNotPrint(t *testing.T) {
	c := load(t, string(read(t, "full.talosconfig")))
	key := c.Contexts["lab"].Key.Reveal()

	for name, v := range map[string]any{
		"Config": c, "value of Config": *c, "Context": c.Contexts["lab"], "value of Context": *c.Contexts["lab"],
		"Auth": c.Contexts["old"].Auth, "value of Auth": *c.Contexts["old"].Auth, "Contexts": c.Contexts,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, key) || strings.Contains(text, "opensesame") {
				t.Errorf("%s of %s shows a secret: %s", verb, name, text)
			}
		}

		var out strings.Builder

		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)

		if text := out.String(); strings.Contains(text, key) || strings.Contains(text, "opensesame") {
			t.Errorf("slog of %s shows a secret: %s", name, text)
		}
	}
}

// FuzzLoad: what is accepted can be written, and read again to the same; a merge with itself does nothing.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"v1.6.talosconfig", "v1.14.talosconfig", "full.talosconfig"} {
		f.Add(read(f, name))
	}

	f.Add([]byte("contexts: {a: &x {b: [1, {c: d}]}, 7: , '': {}}\n? |\n  long\n: !!binary aGk=\n"))

	f.Fuzz(func(t *testing.T, data []byte) {
		c, warnings, err := Load(data)
		if err != nil {
			return
		}

		out, err := c.Marshal()
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}

		again, warningsAgain, err := Load(out)
		if err != nil || len(warningsAgain) != len(warnings) {
			t.Fatalf("Load of what was written: %d warnings, error %v; want %d\n%s", len(warningsAgain), err, len(warnings), out)
		}

		if second, err := again.Marshal(); err != nil || string(second) != string(out) {
			t.Errorf("the second Marshal differs: %v\n%s\n%s", err, out, second)
		}

		for _, context := range c.Contexts {
			_, _ = context.Material()
			_, _ = context.Identity()
		}
	})
}
