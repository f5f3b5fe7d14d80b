package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	mit    = "MIT License\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy of this software"
	bsd2   = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted"
	bsd3   = bsd2 + "\n * Neither the name of Google Inc. nor the names of its contributors may be used to endorse or promote products"
	apache = "\n                                 Apache License\n                           Version 2.0, January 2004\n"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"Apache", []string{apache}, "Apache-2.0"},
		{"MIT, lines broken", []string{mit}, "MIT"},
		{"BSD of two clauses", []string{bsd2}, "BSD-2-Clause"},
		{"BSD of three clauses", []string{bsd3}, "BSD-3-Clause"},
		{"MPL", []string{"Mozilla Public License, version 2.0; GNU Lesser General Public License, Version 2.1"}, "MPL-2.0"},
		{"LGPL", []string{"GNU Lesser General Public License\nVersion 2.1"}, "LGPL-2.1"},
		{"two licences in two files", []string{mit, apache}, "Apache-2.0 AND MIT"},
		{"a notice beside the licence", []string{apache, "Copyright Docker"}, "Apache-2.0"},
		{"own words", []string{"do what you want"}, "unknown"},
		{"none", nil, "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var texts [][]byte
			for _, text := range c.texts {
				texts = append(texts, []byte(text))
			}
			if got := Classify(texts...); got != c.want {
				t.Errorf("Classify = %s; want %s", got, c.want)
			}
		})
	}
}

// modules makes two modules below root: a with a licence and, in a folder that is linked, another;
// and b with the text given.
func modules(t *testing.T, root, textOfB string) []pkg {
	for name, text := range map[string]string{
		"go/LICENSE": bsd3, "go/src/fmt/print.go": "",
		"a/LICENSE": apache, "a/NOTICE": "a notice", "a/p/q/LICENSE.txt": mit, "a/p/licence.go": "package p", "a/unused/LICENSE": bsd2,
		"b/LICENSE.md": textOfB, "b/README": "",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			continue
		}
		write(t, name, text)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	return []pkg{
		{"fmt", at("go/src/fmt"), "", "", ""},
		{"talos.internal/x", at("x"), "main", "", ""},
		{"example.com/a/p/q", at("a/p/q"), "example.com/a", "v1.0.0", at("a")},
		{"example.com/a", at("a"), "example.com/a", "v1.0.0", at("a")},
		{"example.com/b", at("b"), "example.com/b", "v2.0.0", at("b")},
	}
}

func TestResultHasTheLicencesOfAllThatIsLinked(t *testing.T) {
	dir := t.TempDir()
	if err := writeLicences(dir, Component{Name: "x", Module: "example.com/a"}, modules(t, t.TempDir(), apache)); err != nil {
		t.Fatal(err)
	}
	list := read(t, filepath.Join(dir, "modules.txt"))
	for _, want := range []string{"Apache-2.0 AND MIT example.com/a v1.0.0\n", "Apache-2.0     example.com/b v2.0.0\n", "BSD-3-Clause   std go"} {
		if !strings.Contains(list, want) {
			t.Errorf("modules.txt is %q; want %q in it", list, want)
		}
	}
	if got := read(t, filepath.Join(dir, "LICENSE")) + read(t, filepath.Join(dir, "NOTICE")); got != apache+"a notice" {
		t.Errorf("LICENSE and NOTICE are %q; want those of the component's module", got)
	}
	all := read(t, filepath.Join(dir, "NOTICES.txt"))
	if got := strings.Count(all, strings.TrimSpace(apache)); got != 1 {
		t.Errorf("NOTICES.txt has the text of two modules %d times; want it once", got)
	}
	for _, want := range []string{"example.com/a v1.0.0 LICENSE\nexample.com/b v2.0.0 LICENSE.md\n", "a/p/q", "a notice", mit, bsd3} {
		if want == "a/p/q" {
			want = "example.com/a v1.0.0 p/q/LICENSE.txt"
		}
		if !strings.Contains(all, want) {
			t.Errorf("NOTICES.txt has no %q:\n%s", want, all)
		}
	}
	if strings.Contains(all, "unused") || strings.Contains(all, "licence.go") {
		t.Error("NOTICES.txt has what is not linked, or source")
	}
}

func TestModuleWithoutLicenceIsRefused(t *testing.T) {
	err := writeLicences(t.TempDir(), Component{Name: "x", Module: "example.com/a"}, modules(t, t.TempDir(), ""))
	if err == nil || !strings.Contains(err.Error(), "no licence text in example.com/b") {
		t.Errorf("writeLicences = %v; want an error that names the module", err)
	}
}
