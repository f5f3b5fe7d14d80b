package reference_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"talos.internal/config/blockdoc"
	"talos.internal/config/reference"
	"talos.internal/internal/golden"
)

func TestPagesGolden(t *testing.T) {
	pages, err := reference.Pages(blockdoc.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "FilesystemTrimConfig.md", "LVMLogicalVolumeConfig.md", "VolumeConfig.md"} {
		t.Run(name, func(t *testing.T) { golden.Check(t, name, pages[name]) })
	}
}

func TestPagesAreDeterministic(t *testing.T) {
	kinds := documented()
	first, err := reference.Pages(kinds)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(kinds)
	second, err := reference.Pages(kinds)
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range first {
		if !bytes.Equal(page, second[name]) {
			t.Errorf("%s depends on the order of kinds", name)
		}
	}
	one, _ := reference.JSONSchema(documented())
	two, _ := reference.JSONSchema(kinds)
	if !bytes.Equal(one, two) {
		t.Error("the JSON Schema depends on the order of kinds")
	}
}

var (
	links    = regexp.MustCompile(`\]\(#([^)]*)\)`)
	headings = regexp.MustCompile("(?m)^## Object `(.*)`$")
	fences   = regexp.MustCompile("(?m)^```")
)

func TestPagesAreWellFormed(t *testing.T) {
	pages, err := reference.Pages(documented())
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			targets := map[string]bool{}
			for _, m := range headings.FindAllSubmatch(page, -1) {
				target := "object-" + strings.NewReplacer(".", "", "[", "", "]", "", "*", "").Replace(strings.ToLower(string(m[1])))
				if targets[target] {
					t.Errorf("two headings are #%s", target)
				}
				targets[target] = true
			}
			for _, m := range links.FindAllSubmatch(page, -1) {
				if !targets[string(m[1])] {
					t.Errorf("the link to #%s leads nowhere; there are %s", m[1], fmt.Sprint(targets))
				}
			}
			if n := len(fences.FindAll(page, -1)); n%2 != 0 {
				t.Errorf("%d fences; want pairs", n)
			}
		})
	}
}

func TestDefault(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "Name is the name.", ""},
		{"colon", "MTU is the MTU. Default: 1420. More.", "1420"},
		{"colon at the end", "MTU is the MTU. Default: 1420.", "1420"},
		{"with a dot inside", "Metadata is it. The default is 1.0.", "1.0"},
		{"with a remark", "Interval is it. The default is 168h, a week.", "168h"},
		{"a list", "PCRs are them. The default is [0, 7], or so.", "[0, 7]"},
		{"words", "Name is it. Left out, it is the host name; always.", "the host name"},
		{"a domain", "Domain is it. Left out, it is cluster.local.", "cluster.local"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (reference.Comment{Text: tc.text}).Default(); got != tc.want {
				t.Errorf("Default(%q) = %q; want %q", tc.text, got, tc.want)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"one sentence", "It is so.", "It is so."},
		{"two", "It is so. It is not.", "It is so."},
		{"dots inside", "DHCPv4 (RFC 2131 v1.2) is so, e.g. this. More.", "DHCPv4 (RFC 2131 v1.2) is so, e.g. this."},
		{"first paragraph", "It is so\n\nMore.", "It is so"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (reference.Comment{Text: tc.text}).Summary(); got != tc.want {
				t.Errorf("Summary(%q) = %q; want %q", tc.text, got, tc.want)
			}
		})
	}
}
