package sbom

import (
	"bufio"
	"debug/buildinfo"
	"fmt"
	"io"
	"strings"
)

// Modules lists what a Go program is linked from: its modules, but for the main one, and the standard library, each
// with its licence if licences (by module path) has it. It reads what the linker recorded in the program. It fails if
// the program has no such record.
func Modules(program io.ReaderAt, licences map[string]string) ([]Item, error) {
	info, err := buildinfo.Read(program)
	if err != nil {
		return nil, fmt.Errorf("read what a program is made of: %w", err)
	}
	return modules(info, licences), nil
}

func modules(info *buildinfo.BuildInfo, licences map[string]string) []Item {
	release, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ") // "go1.26.8 X:experiment"
	items := []Item{{
		Name: "stdlib", Version: release, Purpose: Library, PURL: Module("stdlib", release), Licence: "BSD-3-Clause",
		From: "The Go Authors",
	}}
	for _, m := range info.Deps {
		if m.Replace != nil && m.Replace.Version != "" { // without a version it is a folder
			m = m.Replace
		}
		items = append(items, Item{
			Name: m.Path, Version: m.Version, Purpose: Library, PURL: Module(m.Path, m.Version), Licence: licences[m.Path],
		})
	}
	return items
}

// ParseLicences reads a component's modules.txt: a module a line, as licence expression, path, version. The result is by path.
func ParseLicences(r io.Reader) (map[string]string, error) {
	licences := map[string]string{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) < 3:
			return nil, fmt.Errorf("line %d: %d fields; want licence, module, version", n, len(fields))
		default:
			licences[fields[len(fields)-2]] = strings.Join(fields[:len(fields)-2], " ")
		}
	}
	return licences, lines.Err()
}
