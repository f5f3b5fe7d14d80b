package sbom

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spdx/tools-golang/json"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() Item {
	module := Item{Name: "example.org/Mod", Version: "v1.0.0+incompatible", Purpose: Library,
		PURL: Module("example.org/Mod", "v1.0.0+incompatible"), Licence: "MIT"}
	return Item{
		Name: "registry.example/program:v1", Version: "v1", Purpose: Container,
		Parts: []Item{
			{Name: "program", Version: "v1", Purpose: Application, SHA256: strings.Repeat("ab", 32), Parts: []Item{module}},
			{Name: "other", Version: "v1", Purpose: Application, Parts: []Item{module}},
			{Name: "libx", Version: "1:2+b1", Purpose: Library, PURL: Debian("libx", "1:2+b1", "amd64"), From: "Debian",
				Licence: "LicenseRef-Debian-x-own", Texts: []Text{{"LicenseRef-Debian-x-own", "own", "do <what> you like"}}},
			{Name: "libx", Version: "1:2-b1", Purpose: Library, PURL: Debian("libx", "1:2-b1", "amd64")},
		},
	}
}

func TestBillIsAsCommitted(t *testing.T) {
	got, err := Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "sample.spdx.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("Marshal (-want +got):\n%s", diff)
	}
}

func TestBillDoesNotDependOnTheOrderOfItems(t *testing.T) {
	a, b := sample(), sample()
	slices.Reverse(b.Parts)
	first, err := Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("reversed parts (-first +second):\n%s", cmp.Diff(string(first), string(second)))
	}
	b.Parts[0].Licence = "ISC"
	if third, _ := Marshal(b); bytes.Equal(first, third) {
		t.Error("another licence gave the same bill")
	}
}

func TestBillIsSPDX(t *testing.T) {
	text, err := Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{"DOCUMENT": true}
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if ids[id] {
			t.Errorf("%s is there twice", id)
		}
		ids[id] = true
	}
	// The shared module is one package; the container and four parts are five more.
	if len(doc.Packages) != 6 {
		t.Errorf("%d packages; want 6", len(doc.Packages))
	}
	for _, r := range doc.Relationships {
		if !ids[string(r.RefA.ElementRefID)] || !ids[string(r.RefB.ElementRefID)] {
			t.Errorf("%s %s %s: no such element", r.RefA.ElementRefID, r.Relationship, r.RefB.ElementRefID)
		}
	}
	if len(doc.OtherLicenses) != 1 || doc.OtherLicenses[0].ExtractedText != "do <what> you like" {
		t.Errorf("licence texts %v; want the one", doc.OtherLicenses)
	}
}

func TestModulesAreWhatTheProgramWasLinkedFrom(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.8 X:nodwarf5", Main: debug.Module{Path: "example.org/main"}, Deps: []*debug.Module{
		{Path: "example.org/A", Version: "v1.0.0"},
		{Path: "example.org/old", Version: "v0.0.0", Replace: &debug.Module{Path: "example.org/new", Version: "v2.0.0+incompatible"}},
		{Path: "example.org/local", Version: "v3.0.0", Replace: &debug.Module{Path: "./local"}},
	}}
	want := []Item{
		{Name: "stdlib", Version: "1.26.8", Purpose: Library, PURL: "pkg:golang/stdlib@1.26.8", Licence: "BSD-3-Clause", From: "The Go Authors"},
		{Name: "example.org/A", Version: "v1.0.0", Purpose: Library, PURL: "pkg:golang/example.org/a@v1.0.0", Licence: "MIT"},
		{Name: "example.org/new", Version: "v2.0.0+incompatible", Purpose: Library, PURL: "pkg:golang/example.org/new@v2.0.0+incompatible"},
		{Name: "example.org/local", Version: "v3.0.0", Purpose: Library, PURL: "pkg:golang/example.org/local@v3.0.0"},
	}
	if diff := cmp.Diff(want, modules(info, map[string]string{"example.org/A": "MIT"})); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
}

func TestModulesReadsPrograms(t *testing.T) {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	items, err := Modules(self, nil)
	if err != nil || len(items) == 0 || !strings.HasPrefix(items[0].PURL, "pkg:golang/stdlib@1.") {
		t.Errorf("Modules of this test = %v, %v; want the standard library's release", items, err)
	}
	if _, err := Modules(strings.NewReader("#!/bin/sh"), nil); err == nil {
		t.Error("Modules of a script = nil; want an error")
	}
}

func TestParseLicences(t *testing.T) {
	got, err := ParseLicences(strings.NewReader("MIT example.org/a v1\n\nApache-2.0 AND ISC  example.org/b v2\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"example.org/a": "MIT", "example.org/b": "Apache-2.0 AND ISC"}, got); diff != "" {
		t.Errorf("ParseLicences (-want +got):\n%s", diff)
	}
	if _, err := ParseLicences(strings.NewReader("MIT a\n")); err == nil {
		t.Error("ParseLicences of two fields = nil; want an error")
	}
}
