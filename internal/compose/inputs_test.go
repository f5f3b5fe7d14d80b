package compose

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestInputsAreWhatTheResultDependsOn(t *testing.T) {
	files := func() fstest.MapFS {
		return fstest.MapFS{
			"main.go": {Data: []byte("main")}, "main_test.go": {Data: []byte("test")}, "sub/x.go": {Data: []byte("x")},
			"go.mod": {Data: []byte("mod")}, "go.sum": {Data: []byte("sum")},
			"v1.36.mod": {Data: []byte("mod36")}, "v1.36.sum": {Data: []byte("sum36")},
		}
	}
	c := Component{Name: "kubernetes", Version: "v1.37.2"}
	r, _ := recipe("kubernetes")
	take := func(c Component, r Recipe, f fstest.MapFS, release string, packages map[string]string) string {
		in, err := collect(c, r, f, release, packages)
		if err != nil {
			t.Fatal(err)
		}
		return string(in.text())
	}
	base := take(c, r, files(), "go1.26.8", nil)
	for _, k := range []struct {
		name   string
		change func(c *Component, r *Recipe, f fstest.MapFS, release *string, packages map[string]string)
		same   bool
	}{
		{"nothing", func(*Component, *Recipe, fstest.MapFS, *string, map[string]string) {}, true},
		{"a test", func(_ *Component, _ *Recipe, f fstest.MapFS, _ *string, _ map[string]string) {
			f["main_test.go"].Data = nil
		}, true},
		{"another version's pins", func(_ *Component, _ *Recipe, f fstest.MapFS, _ *string, _ map[string]string) {
			f["v1.36.sum"].Data = nil
		}, true},
		{"source", func(_ *Component, _ *Recipe, f fstest.MapFS, _ *string, _ map[string]string) {
			f["sub/x.go"].Data = nil
		}, false},
		{"pins", func(_ *Component, _ *Recipe, f fstest.MapFS, _ *string, _ map[string]string) { f["go.sum"].Data = nil }, false},
		{"version", func(c *Component, _ *Recipe, _ fstest.MapFS, _ *string, _ map[string]string) { c.Version = "v1.37.3" }, false},
		{"Go", func(_ *Component, _ *Recipe, _ fstest.MapFS, release *string, _ map[string]string) {
			*release = "go1.26.9"
		}, false},
		{"tags", func(_ *Component, r *Recipe, _ fstest.MapFS, _ *string, _ map[string]string) {
			r.Programs[0].Tags = []string{"x"}
		}, false},
		{"a name less", func(_ *Component, r *Recipe, _ fstest.MapFS, _ *string, _ map[string]string) {
			r.Programs[0].Links = r.Programs[0].Links[1:]
		}, false},
		{"a library", func(_ *Component, _ *Recipe, _ fstest.MapFS, _ *string, packages map[string]string) {
			packages["libseccomp-dev"] = "2.5.5"
		}, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, f, release, packages := c, files(), "go1.26.8", map[string]string{}
			r, _ := recipe("kubernetes")
			k.change(&c, &r, f, &release, packages)
			if got := take(c, r, f, release, packages); (got == base) != k.same {
				t.Errorf("inputs are the same: %v; want %v:\n%s", got == base, k.same, cmp.Diff(base, got))
			}
		})
	}
}

func TestInputsSurviveTheirFile(t *testing.T) {
	in := inputs{"a": "1", "program x": "go build -ldflags=-X a: b", "empty": ""}
	if diff := cmp.Diff(in, parseInputs(in.text())); diff != "" {
		t.Errorf("parseInputs(text()): -want +got\n%s", diff)
	}
}

func TestReasonSaysWhatChanged(t *testing.T) {
	for _, c := range []struct {
		name     string
		was, now inputs
		want     string
	}{
		{"nothing", inputs{"a": "1"}, inputs{"a": "1"}, ""},
		{"version", inputs{"version": "v1"}, inputs{"version": "v2"}, "version v1 → v2"},
		{"file", inputs{"file main.go": "aa"}, inputs{"file main.go": "bb"}, "file main.go changed"},
		{"long", inputs{"program x": strings.Repeat("a", 99)}, inputs{"program x": "b"}, "program x changed"},
		{"new and gone", inputs{"a": "1"}, inputs{"b": "1"}, "b is new, a is gone"},
		{"many", inputs{}, inputs{"a": "", "b": "", "c": "", "d": "", "e": ""}, "a is new, b is new, c is new, and 2 more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := changes(c.was, c.now); got != c.want {
				t.Errorf("changes = %q; want %q", got, c.want)
			}
		})
	}
}
