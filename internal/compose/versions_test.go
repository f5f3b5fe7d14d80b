package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseVersions(t *testing.T) {
	const good = "a v1.2.3 MIT example.com/a  what for\n"
	for _, c := range []struct {
		name, text string
		want       []Component
		fails      string
	}{
		{"empty", "\n# comment\n   # another\n", nil, ""},
		{"one", good, []Component{{"a", "v1.2.3", "MIT", "example.com/a", "what for"}}, ""},
		{"prerelease", strings.Replace(good, "v1.2.3", "v1.2.3-rc.1", 1), []Component{{"a", "v1.2.3-rc.1", "MIT", "example.com/a", "what for"}}, ""},
		{"no purpose", "a v1.2.3 MIT example.com/a\n", nil, "line 1: 4 fields"},
		{"name", "A v1.2.3 MIT example.com/a x\n", nil, `name "A"`},
		{"version", "\na 1.2.3 MIT example.com/a x\n", nil, `line 2: version "1.2.3"`},
		{"path in name", "../a v1.2.3 MIT example.com/a x\n", nil, "name"},
		{"licence", "a v1.2.3 MIT/X11 example.com/a x\n", nil, "licence"},
		{"twice", good + good, nil, "line 2: a is there twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseVersions(strings.NewReader(c.text))
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("ParseVersions(%q) = %v; want error %q", c.text, err, c.fails)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("ParseVersions(%q): -want +got\n%s", c.text, diff)
			}
		})
	}
}

func FuzzParseVersions(f *testing.F) {
	f.Add("a v1.2.3 MIT example.com/a what for\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseVersions(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, c := range list {
			if strings.ContainsAny(c.Name+c.Version, "/\\ \x00") || c.Name == "" || c.Purpose == "" {
				t.Errorf("ParseVersions(%q) gives %+v; want a name and version that are good file names", text, c)
			}
		}
	})
}

func TestSetVersionKeepsTheColumns(t *testing.T) {
	const text = "# etcd v0.0.0 in a comment\netcd-x  v1.0.0  MIT\netcd    v3.7.1  Apache-2.0  m  p\n"
	for _, c := range []struct{ name, component, version, want string }{
		{"same length", "etcd", "v3.7.3", strings.Replace(text, "v3.7.1", "v3.7.3", 1)},
		{"longer", "etcd", "v3.7.10", strings.Replace(text, "v3.7.1  A", "v3.7.10 A", 1)},
		{"longer than the column", "etcd", "v3.17.100", strings.Replace(text, "v3.7.1  A", "v3.17.100 A", 1)},
		{"first of two", "etcd-x", "v2.0.0", strings.Replace(text, "v1.0.0", "v2.0.0", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := setVersion([]byte(text), c.component, c.version)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Errorf("setVersion: -want +got\n%s", diff)
			}
		})
	}
	if _, err := setVersion([]byte(text), "runc", "v1.0.0"); err == nil {
		t.Error("setVersion of a component that is not there = no error; want one")
	}
}

func TestPinned(t *testing.T) {
	const text = "module m\n\nrequire example.com/a v1.0.0\n\nrequire (\n\texample.com/b v1.1.0 // indirect\n\texample.com/bb v1.2.0\n)\n\nreplace example.com/b => example.com/b v9.0.0\n"
	for module, want := range map[string]string{
		"example.com/a": "v1.0.0", "example.com/b": "v1.1.0", "example.com/bb": "v1.2.0", "example.com/c": "",
	} {
		if got := pinned([]byte(text), module); got != want {
			t.Errorf("pinned(%s) = %q; want %q", module, got, want)
		}
	}
}

// tree is the real components/.
const tree = "../../components"

func TestVersionsGoModFilesAndRecipesAgree(t *testing.T) {
	b := Builder{Source: tree}
	components, err := b.Components()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(components), len(Recipes()); got != want {
		t.Errorf("components/versions has %d components; want %d, one for each recipe", got, want)
	}
	for _, c := range components {
		if c.Module != "k8s.io/kubernetes" {
			continue
		}
		r, _ := recipe(c.Name)
		text, err := os.ReadFile(filepath.Join(tree, r.dir(), r.modfile()))
		if err != nil {
			t.Fatal(err)
		}
		replaced := 0
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[1] != "=>" {
				continue
			}
			replaced++
			if want := strings.Replace(c.Version, "v1.", "v0.", 1); f[0] != f[2] || f[3] != want {
				t.Errorf("%s replaces %s by %s %s; want the same module at %s", r.modfile(), f[0], f[2], f[3], want)
			}
		}
		if replaced < 25 {
			t.Errorf("%s replaces %d modules; want all of Kubernetes' staging folder", r.modfile(), replaced)
		}
	}
}

func TestVersionThatIsNotPinnedIsRefused(t *testing.T) {
	source := t.TempDir()
	if err := os.CopyFS(source, os.DirFS(tree)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(source, "versions")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err = setVersion(text, "etcd", "v3.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	b := Builder{Source: source}
	if _, err := b.Components(); err == nil || !strings.Contains(err.Error(), "components upgrade etcd v3.0.0") {
		t.Errorf("Components() = %v; want an error that says how to make them agree", err)
	}
}
