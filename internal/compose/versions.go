package compose

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Component is a line of components/versions.
type Component struct {
	Name    string // of the recipe and the result
	Version string // of the module, with its v
	Licence string // of the module itself, as an SPDX expression without spaces
	Module  string
	Purpose string // one line for people
}

// Own says that the source is in this repository, so that no go.mod pins its version.
func (c Component) Own() bool { return strings.HasPrefix(c.Module, "talos.internal/") }

var (
	nameForm    = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)
	versionForm = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	licenceForm = regexp.MustCompile(`^[A-Za-z0-9.+-]+$`)
)

// ParseVersions reads components/versions: a component a line, its fields in the order of
// [Component] and separated by blanks, the last with blanks in it; # starts a comment line.
// Names are unique. The error names the line.
func ParseVersions(r io.Reader) ([]Component, error) {
	var list []Component
	seen := make(map[string]bool)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 5 {
			return nil, fmt.Errorf("line %d: %d fields; want name, version, licence, module, purpose", n, len(fields))
		}
		c := Component{fields[0], fields[1], fields[2], fields[3], strings.Join(fields[4:], " ")}
		switch {
		case !nameForm.MatchString(c.Name):
			return nil, fmt.Errorf("line %d: name %q", n, c.Name)
		case !versionForm.MatchString(c.Version):
			return nil, fmt.Errorf("line %d: version %q; want v1.2.3", n, c.Version)
		case !licenceForm.MatchString(c.Licence):
			return nil, fmt.Errorf("line %d: licence %q; want an SPDX identifier", n, c.Licence)
		case seen[c.Name]:
			return nil, fmt.Errorf("line %d: %s is there twice", n, c.Name)
		}
		seen[c.Name] = true
		list = append(list, c)
	}
	return list, lines.Err()
}

// setVersion returns the text of components/versions with the version of one component replaced
// and the columns kept where there is room. It fails when no line is about name.
func setVersion(text []byte, name, version string) ([]byte, error) {
	// Name, blanks, version, blanks: the blanks after the version give or take what its length does.
	form := regexp.MustCompile(`(?m)^(` + regexp.QuoteMeta(name) + `[ \t]+)(\S+)([ \t]+)`)
	m := form.FindSubmatchIndex(text)
	if m == nil {
		return nil, fmt.Errorf("no line for %s", name)
	}
	old, blanks := m[5]-m[4], m[7]-m[6]
	pad := max(1, old+blanks-len(version))
	var out bytes.Buffer
	out.Write(text[:m[4]])
	out.WriteString(version + strings.Repeat(" ", pad))
	out.Write(text[m[7]:])
	return out.Bytes(), nil
}

// pinned returns the version that the text of a go.mod requires of module, "" when it does not.
func pinned(gomod []byte, module string) string {
	lines := bufio.NewScanner(bytes.NewReader(gomod))
	for lines.Scan() {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1]
		}
	}
	return ""
}
