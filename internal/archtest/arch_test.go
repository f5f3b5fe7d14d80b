package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lattice says what each part of the tree may import, apart from itself. Order: the leaves first.
var lattice = []struct {
	part string
	may  []string
}{
	{"api", nil},
	{"internal/atomicfile", nil},
	{"internal/buildinfo", nil},
	{"internal/archtest", nil},
	{"internal/compose", nil},
	{"internal/sys", nil},
	{"internal/gpt", nil},
	{"internal/fat32", nil},
	{"internal/metastore", nil},
	{"internal/superblock", []string{"internal/gpt"}},
	{"internal/pe", nil},
	{"internal/pkcs7", nil},
	{"internal/pcrsig", []string{"internal/sys"}},
	{"internal/uefi", []string{"internal/gpt", "internal/pkcs7"}},
	{"internal/authenticode", []string{"internal/pe", "internal/pkcs7"}},
	{"internal/install", []string{"internal/buildinfo", "internal/pe", "internal/uefi", "internal/authenticode", "internal/gpt", "internal/fat32", "internal/metastore", "internal/superblock", "internal/sys"}},
	{"resource", []string{"api"}},
	{"internal/luks", nil},
	{"internal/partition", []string{"internal/gpt", "internal/install", "internal/superblock"}},
	{"internal/eventlog", nil},
	{"internal/golden", nil}, // for tests
	{"internal/diskkey", []string{"internal/eventlog", "internal/luks", "internal/pcrsig", "internal/sys", "resource"}},
	{"secret", nil},
	{"config", []string{"secret"}},
	{"state", []string{"resource", "api"}},
	{"controller", []string{"state", "resource"}},
	{"internal/upgrade", []string{"internal/install", "internal/metastore", "resource"}},
	{"internal/volume", []string{"controller", "state", "resource"}},
	{"internal/docgen", []string{"config"}},
	{"internal/boot", []string{"internal/pcrsig", "internal/sys", "resource"}},
	{"internal/supervise", []string{"internal/sys", "resource"}},
	{"internal/image", []string{"internal/extservice", "internal/pe", "internal/pcrsig", "internal/uefi", "internal/authenticode", "internal/install", "internal/fat32", "internal/gpt", "internal/metastore", "internal/sys", "internal/buildinfo", "resource"}},
	{"internal/discovery", []string{"api", "secret"}},
	{"internal/proxy", []string{"api", "secret"}},
	{"internal/event", []string{"api"}},
	{"internal/trust", []string{"api", "secret"}},
	{"internal/effective", []string{"config", "resource", "state", "controller"}},
	{"internal/signature", nil},
	{"internal/container", []string{"internal/signature", "internal/sys", "internal/supervise", "resource"}},
	{"internal/registryd", nil},
	{"internal/imagecache", []string{"internal/registryd"}},
	{"internal/etcdop", nil},
	{"internal/kubeapi", []string{"secret"}},
	{"internal/drain", []string{"internal/kubeapi"}},
	{"internal/manifest", []string{"internal/kubeapi", "internal/server/textdiff", "resource"}},
	{"internal/netconf", []string{"resource"}},
	{"internal/logship", nil},
	{"internal/extservice", nil},
	{"internal/platform", []string{"internal/sys", "internal/netconf", "resource"}},
	{"internal/ctrl", []string{"internal/partition", "internal/logship", "internal/extservice", "internal/upgrade", "internal/diskkey", "internal/luks", "internal/pe", "internal/pcrsig", "internal/uefi", "internal/authenticode", "internal/signature", "internal/volume", "internal/gpt", "internal/metastore", "internal/superblock", "internal/install", "internal/effective", "internal/event", "internal/trust", "internal/container", "internal/registryd", "internal/etcdop", "internal/kubeapi", "internal/drain", "internal/manifest", "internal/netconf", "internal/atomicfile", "client/talosconfig", "api", "controller", "state", "resource", "config", "secret",
		"internal/sys", "internal/boot", "internal/supervise", "internal/discovery"}},
	{"internal/server", []string{"api", "controller", "state", "resource", "config", "secret",
		"internal/sys", "internal/boot", "internal/supervise", "internal/ctrl", "internal/buildinfo", "internal/proxy", "internal/event", "internal/effective", "internal/container", "internal/etcdop", "internal/discovery", "client/talosconfig"}}, // proxy: the table of roles, which machined checks again
	{"internal/containerapi", []string{"internal/server", "internal/container", "api"}},
	{"client", []string{"api", "resource", "config", "secret", "state", "internal/atomicfile"}},
	{"internal/vitals", []string{"client", "api", "resource", "secret"}},
	{"internal/provision", []string{"client", "api", "resource", "config", "secret", "internal/sys", "internal/image", "internal/atomicfile"}},
	{"internal/cli", []string{"client", "api", "resource", "config", "secret", "internal/provision", "internal/image", "internal/imagecache", "internal/registryd", "internal/vitals", "internal/kubeapi", "internal/drain", "internal/manifest",
		"internal/atomicfile", "internal/buildinfo"}},
	{"internal/daemon", []string{"api", "resource", "secret", "state", "internal/proxy", "internal/trust", "internal/discovery"}},
	{"internal/node", []string{"internal", "api", "client", "config", "controller", "resource", "secret", "state"}}, // the composition root
	{"cmd", []string{"internal", "api", "client", "config", "controller", "resource", "secret", "state"}},
	{"e2e", []string{"internal", "api", "client", "config", "resource", "secret", "state"}},
}

func part(dir string) (name string, may []string, ok bool) {
	for _, l := range lattice {
		if below(dir, l.part) {
			return l.part, l.may, true
		}
	}
	return "", nil, false
}

// checkLattice returns the imports of non-test files that the lattice does not allow.
func checkLattice(t *tree) []string {
	var bad []string
	for _, f := range t.files {
		if f.test {
			continue
		}
		name, may, ok := part(f.dir)
		if !ok {
			bad = append(bad, fmt.Sprintf("%s: the folder is in no part of the lattice; give it a place there", f.path))
			continue
		}
		for _, imp := range f.imports() {
			if below(imp, name) && !siblings(f.dir, imp) {
				continue
			}
			if !slices.ContainsFunc(may, func(m string) bool { return below(imp, m) }) {
				bad = append(bad, fmt.Sprintf("%s: %s must not import %s", f.path, f.dir, imp))
			}
		}
	}
	return bad
}

// siblings reports whether two folders are different subjects of internal/ctrl, which meet only in the state.
func siblings(a, b string) bool {
	const ctrl = "internal/ctrl/"
	return strings.HasPrefix(a, ctrl) && strings.HasPrefix(b, ctrl) &&
		strings.Split(a[len(ctrl):], "/")[0] != strings.Split(b[len(ctrl):], "/")[0]
}

func TestImportsFollowTheLattice(t *testing.T) { fail(t, checkLattice(repository(t))) }

// checkBudgets returns files of more than 800 lines, packages of more than 3,000, folders more than three deep. Generated
// code and tests do not count towards a package.
func checkBudgets(t *tree) []string {
	const fileLines, packageLines, depth = 800, 3000, 3
	var bad []string
	size := map[string]int{}
	for _, f := range t.files {
		if f.generated {
			continue
		}
		if f.lines > fileLines {
			bad = append(bad, fmt.Sprintf("%s: %d lines; a file has at most %d", f.path, f.lines, fileLines))
		}
		if !f.test {
			size[f.dir] += f.lines
		}
		if n := strings.Count(f.dir, "/") + 1; n > depth {
			bad = append(bad, fmt.Sprintf("%s: %d folders deep; at most %d", f.path, n, depth))
		}
		if below(f.dir, "cmd") && path.Base(f.path) == "main.go" && f.lines > 100 {
			bad = append(bad, fmt.Sprintf("%s: %d lines; a main.go has at most 100", f.path, f.lines))
		}
	}
	for dir, n := range size {
		if n > packageLines {
			bad = append(bad, fmt.Sprintf("%s: %d lines; a package has at most %d: its subject was two subjects", dir, n, packageLines))
		}
	}
	slices.Sort(bad)
	return bad
}

func TestFilesAndPackagesStayWithinBudget(t *testing.T) { fail(t, checkBudgets(repository(t))) }

// checkNames returns packages with a name that another one has, that says nothing, or that differs from its folder's; and
// imports of our own packages under another name.
func checkNames(t *tree) []string {
	empty := []string{"util", "utils", "common", "helper", "helpers", "base", "misc", "types", "v1alpha1"}
	var bad []string
	dirOf := map[string]string{}
	for _, f := range t.files {
		name := strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if name == "main" {
			continue
		}
		if dir, ok := dirOf[name]; ok && dir != f.dir {
			bad = append(bad, fmt.Sprintf("%s: package %s is in %s too", f.path, name, dir))
		}
		dirOf[name] = f.dir
		if slices.Contains(empty, name) {
			bad = append(bad, fmt.Sprintf("%s: the package name %s says nothing", f.path, name))
		}
		if name != path.Base(f.dir) {
			bad = append(bad, fmt.Sprintf("%s: package %s is in a folder of another name", f.path, name))
		}
		for _, spec := range f.syntax.Imports {
			if f.generated {
				continue
			}
			if spec.Name != nil && spec.Name.Name != "_" && strings.HasPrefix(spec.Path.Value, strconv.Quote(module + "/")[:len(module)+2]) {
				bad = append(bad, fmt.Sprintf("%s:%d: our own packages are imported under their own names", f.path, t.line(spec.Pos())))
			}
		}
	}
	return bad
}

func TestPackageNamesAreUniqueAndMeanSomething(t *testing.T) { fail(t, checkNames(repository(t))) }

// checkComments returns packages that have no package comment, or several, or one that starts with something else.
func checkComments(t *tree) []string {
	comments := map[string][]string{}
	dirs := map[string]bool{}
	var bad []string
	for _, f := range t.files {
		if f.test {
			continue
		}
		dirs[f.dir] = true
		if f.syntax.Doc == nil {
			continue
		}
		comments[f.dir] = append(comments[f.dir], f.path)
		name := f.syntax.Name.Name
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + path.Base(f.dir) + " "
		}
		if text := f.syntax.Doc.Text(); !strings.HasPrefix(text, want) {
			bad = append(bad, fmt.Sprintf("%s: the package comment starts with %q, not with %q", f.path, first(text), want))
		}
	}
	for dir := range dirs {
		if n := len(comments[dir]); n != 1 {
			bad = append(bad, fmt.Sprintf("%s: %d package comments %v; a package has one", dir, n, comments[dir]))
		}
	}
	slices.Sort(bad)
	return bad
}

func first(s string) string {
	if len(s) > 30 {
		s = s[:30]
	}
	return s
}

func TestEachPackageHasOneComment(t *testing.T) { fail(t, checkComments(repository(t))) }

// mayPanic are the functions outside cmd that may call panic: each for a mistake in the program that a test finds.
var mayPanic = map[string]string{
	"config/schema/plan.go": "a document type that cannot be decoded; every kind's test builds its plan",
	"config/schema/kind.go": "two kinds of one name; the registry is built in every test",
}

// checkCalls returns calls that end a process from outside cmd, kernel access outside internal/sys, and error texts that
// say "failed to".
func checkCalls(t *tree) []string {
	var bad []string
	for _, f := range t.files {
		if f.test || f.generated {
			continue
		}
		report := func(pos token.Pos, format string, args ...any) {
			bad = append(bad, fmt.Sprintf("%s:%d: ", f.path, t.line(pos))+fmt.Sprintf(format, args...))
		}
		for _, spec := range f.syntax.Imports {
			if p, _ := strconv.Unquote(spec.Path.Value); strings.HasPrefix(p, "golang.org/x/sys") && !below(f.dir, "internal/sys") {
				report(spec.Pos(), "%s is for internal/sys alone", p)
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				name := callee(n)
				ends := name == "panic" || name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic")
				if ends && !below(f.dir, "cmd") && f.syntax.Name.Name != "main" && mayPanic[f.path] == "" {
					report(n.Pos(), "%s ends the process; return an error", name)
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					checkString(f, n, report)
				}
			}
			return true
		})
	}
	return bad
}

func checkString(f source, n *ast.BasicLit, report func(token.Pos, string, ...any)) {
	s, err := strconv.Unquote(n.Value)
	if err != nil {
		return
	}
	kernel := strings.HasPrefix(s, "/proc/") || strings.HasPrefix(s, "/sys/") || s == "/proc" || s == "/sys"
	if kernel && !below(f.dir, "internal/sys") && !below(f.dir, "config") {
		report(n.Pos(), "%q: only internal/sys reads /proc and /sys", s)
	}
	if strings.HasPrefix(s, "failed to ") {
		report(n.Pos(), "%q: name the operation, the subject and the cause", s)
	}
}

// callee names the function of a call: f or pkg.F.
func callee(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

func TestOneDoorToTheKernelAndOnePlaceToEnd(t *testing.T) { fail(t, checkCalls(repository(t))) }

// TestEachRuleCanFail runs the rules over a small tree that breaks each of them: a check that cannot fail is none.
func TestEachRuleCanFail(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("\n", 801)
	for name, text := range map[string]string{
		"go.mod":                         "module talos.internal\n",
		"secret/a.go":                    "// Package secret is.\npackage secret\n\nimport _ \"talos.internal/state\"\n",
		"state/a.go":                     "// State.\npackage state\n\nimport r \"talos.internal/resource\"\n\nvar _ = r.X\n",
		"resource/a.go":                  "package resource\n\nimport _ \"golang.org/x/sys/unix\"\n\nfunc f() { panic(\"failed to x\"); g(\"/proc/self\") }\n",
		"resource/util/a.go":             "// Package util is.\npackage util\n",
		"other/util/a.go":                "// Package util is.\npackage util\n",
		"internal/ctrl/netctrl/a.go":     "// Package netctrl is.\npackage netctrl\n\nimport _ \"talos.internal/internal/ctrl/kubectrl\"\n",
		"internal/ctrl/kubectrl/a.go":    "// Package kubectrl is.\npackage kubectrl\n" + long,
		"internal/ctrl/kubectrl/x/y.go":  "// Package x is.\npackage x\n",
		"components/nested/go.mod":       "module nested\n",
		"components/nested/a.go":         "package wrong\n\nfunc f() { panic(1) }\n",
		"resource/testdata/ignored/x.go": "package wrong\n",
	} {
		p := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		rule string
		got  []string
		want []string
	}{
		{"lattice", checkLattice(tr), []string{
			"internal/ctrl/netctrl/a.go: internal/ctrl/netctrl must not import internal/ctrl/kubectrl",
			"other/util/a.go: the folder is in no part of the lattice; give it a place there",
			"secret/a.go: secret must not import state",
		}},
		{"budgets", checkBudgets(tr), []string{
			"internal/ctrl/kubectrl/a.go: 803 lines; a file has at most 800",
			"internal/ctrl/kubectrl/x/y.go: 4 folders deep; at most 3",
		}},
		{"names", checkNames(tr), []string{
			"other/util/a.go: the package name util says nothing",
			"resource/util/a.go: package util is in other/util too",
			"resource/util/a.go: the package name util says nothing",
			"state/a.go:4: our own packages are imported under their own names",
		}},
		{"comments", checkComments(tr), []string{
			"resource: 0 package comments []; a package has one",
			`state/a.go: the package comment starts with "State.\n", not with "Package state "`,
		}},
		{"calls", checkCalls(tr), []string{
			"resource/a.go:3: golang.org/x/sys/unix is for internal/sys alone",
			"resource/a.go:5: panic ends the process; return an error",
			`resource/a.go:5: "failed to x": name the operation, the subject and the cause`,
			`resource/a.go:5: "/proc/self": only internal/sys reads /proc and /sys`,
		}},
	} {
		if !slices.Equal(tc.got, tc.want) {
			t.Errorf("%s:\n got %s\nwant %s", tc.rule, strings.Join(tc.got, "\n     "), strings.Join(tc.want, "\n     "))
		}
	}
}

func fail(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(b)
	}
}
