package compose

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// format is part of every inputs: raise it when what a result holds changes.
const format = "1"

// inputs is everything that decides what a build gives, by name. It is what inputs.txt holds.
type inputs map[string]string

// collect makes the inputs of a component: the files of its folder (but for tests and the pins
// of another recipe), the commands that build it, the Go release, and the versions of the host's
// packages that are linked into it.
func collect(c Component, r Recipe, folder fs.FS, goVersion string, packages map[string]string) (inputs, error) {
	in := inputs{"format": format, "go": goVersion, "version": c.Version}
	for _, p := range r.Programs {
		line := "CGO_ENABLED=" + p.cgo() + " go " + strings.Join(r.buildArgs(p, c.Version), " ")
		in["program "+p.Name] = strings.Join(append([]string{line}, p.Links...), " ")
	}
	for name, version := range packages {
		in["package "+name] = version
	}
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		if ext := path.Ext(name); (ext == ".mod" || ext == ".sum") && name != r.modfile() && name != r.sumfile() {
			// Another recipe's, except that go wants a go.mod to be there at all.
			return nil
		}
		text, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		in["file "+name] = hex.EncodeToString(sum[:])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("inputs of %s: %w", c.Name, err)
	}
	return in, nil
}

// text is the content of inputs.txt: a line "name: value" for each, sorted.
func (in inputs) text() []byte {
	var b bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(in)) {
		fmt.Fprintf(&b, "%s: %s\n", key, in[key])
	}
	return b.Bytes()
}

// parseInputs reads the content of inputs.txt. What is no such line is left out: the result then
// differs from what is wanted, and the component is built.
func parseInputs(text []byte) inputs {
	in := make(inputs)
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ": "); ok {
			in[key] = value
		}
	}
	return in
}

// changes says in a few words what differs between the inputs of a result and those of now,
// or "" when nothing does.
func changes(was, now inputs) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(now)) {
		switch old, there := was[key]; {
		case !there:
			words = append(words, key+" is new")
		case old != now[key] && len(old)+len(now[key]) < 80 && !strings.HasPrefix(key, "file "):
			words = append(words, key+" "+old+" → "+now[key])
		case old != now[key]:
			words = append(words, key+" changed")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, there := now[key]; !there {
			words = append(words, key+" is gone")
		}
	}
	const most = 3
	if len(words) > most {
		words = append(words[:most], fmt.Sprintf("and %d more", len(words)-most))
	}
	return strings.Join(words, ", ")
}
