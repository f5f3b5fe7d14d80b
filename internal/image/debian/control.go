package debian

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Stanza is one paragraph of a control file: values by field name, as the file spells it. A value of several lines
// has them joined by newlines, without the blank that marks them.
type Stanza map[string]string

// maxLine is the longest line that is read. Packages files have Provides fields of many kilobytes.
const maxLine = 1 << 20

// ParseControl reads the paragraphs of a control file, deb-control(5), or of the output of apt-cache show.
// Comment lines are left out. It fails with ErrFormat for anything else that is no field and continues none, and when
// a paragraph has a field twice.
func ParseControl(r io.Reader) ([]Stanza, error) {
	var all []Stanza
	var now Stanza
	last := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "":
			now, last = nil, ""
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, fmt.Errorf("line %d continues nothing: %w", n, ErrFormat)
			}
			now[last] += "\n" + line[1:]
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || !fieldName.MatchString(name) {
				return nil, fmt.Errorf("line %d is no field: %w", n, ErrFormat)
			}
			if now == nil {
				now = Stanza{}
				all = append(all, now)
			}
			if _, twice := now[name]; twice {
				return nil, fmt.Errorf("line %d: %s is there twice: %w", n, name, ErrFormat)
			}
			now[name], last = strings.TrimLeft(value, " \t"), name
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read control file: %w", err)
	}
	return all, nil
}

var fieldName = regexp.MustCompile(`^[!-,.-9;-~][!-9;-~]*$`) // printable, no colon; no # or - in front

// needs returns the names of the packages that s depends on, in the order of its fields and without repetition. Of
// alternatives it is the first.
func (s Stanza) needs() []string {
	var names []string
	seen := map[string]bool{}
	for _, field := range []string{"Pre-Depends", "Depends"} {
		for clause := range strings.SplitSeq(s[field], ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(clause), "|")
			if i := strings.IndexAny(name, " (:[<\n"); i >= 0 {
				name = name[:i]
			}
			if name != "" && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// source returns the name of the source package.
func (s Stanza) source() string {
	name, _, _ := strings.Cut(s["Source"], " ")
	if name == "" {
		name = s["Package"]
	}
	return name
}
