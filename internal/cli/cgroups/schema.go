package cgroups

import (
	"bytes"
	"embed"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Schema says which values of a group are shown.
type Schema struct {
	Columns []Column `yaml:"columns"`
}

// Column is one value of a group.
type Column struct {
	// Name is the heading.
	Name string `yaml:"name"`
	// File is the file of the group that has it, such as memory.current.
	File string `yaml:"file"`
	// Key is which value of the file: empty for its only line; "user_usec" of lines "KEY VALUE"; "some.avg10" of lines "KEY NAME=VALUE…"; "*.rbytes" is the
	// sum of NAME over all lines.
	Key string `yaml:"key"`
	// As is how it is shown: text (or empty) as it is, bytes, percent, microseconds as a time, quota "MAX PERIOD" as a share of one CPU, lines as their number.
	As string `yaml:"as"`
}

// Unset is shown for a value that a group does not have.
const Unset = "unset"

//go:embed presets/*.yaml
var presets embed.FS

// Presets returns the names of the presets.
func Presets() []string {
	return []string{"cpu", "cpuset", "io", "memory", "process", "psi", "swap"}
}

// Preset returns a schema by its name.
func Preset(name string) (Schema, error) {
	if !slices.Contains(Presets(), name) {
		return Schema{}, fmt.Errorf("there is no preset %q; there are %s", name, strings.Join(Presets(), ", "))
	}
	b, err := presets.ReadFile(path.Join("presets", name+".yaml"))
	if err != nil {
		return Schema{}, err
	}
	return ParseSchema(b)
}

var forms = []string{"", "text", "bytes", "percent", "microseconds", "quota", "lines"}

// ParseSchema reads a schema from YAML.
func ParseSchema(b []byte) (Schema, error) {
	var s Schema
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return Schema{}, fmt.Errorf("read the schema: %w", err)
	}
	if len(s.Columns) == 0 {
		return Schema{}, fmt.Errorf("read the schema: it has no columns")
	}
	for i, c := range s.Columns {
		switch {
		case c.Name == "" || c.File == "":
			return Schema{}, fmt.Errorf("read the schema: column %d has no name or no file", i+1)
		case !slices.Contains(forms, c.As):
			return Schema{}, fmt.Errorf("read the schema: column %s: as: %q is none of %s", c.Name, c.As, strings.Join(forms[1:], ", "))
		}
	}
	return s, nil
}

// cell returns the value as it is shown.
func (c Column) cell(files map[string]string) string {
	text, ok := files[c.File]
	if !ok {
		return Unset
	}
	if c.As == "lines" {
		return strconv.Itoa(strings.Count(strings.TrimRight(text, "\n")+"\n", "\n") - emptyLine(text))
	}
	value, ok := find(text, c.Key)
	if !ok {
		return Unset
	}
	return show(value, c.As)
}

func emptyLine(text string) int {
	if strings.TrimSpace(text) == "" {
		return 1
	}
	return 0
}

// find looks for a value in the formats of the kernel's Documentation/admin-guide/cgroup-v2.rst, "Format".
func find(text, key string) (string, bool) {
	if key == "" {
		return strings.TrimSpace(text), true
	}
	first, second, nested := strings.Cut(key, ".")
	sum, found := uint64(0), false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) < 2:
		case !nested && f[0] == first:
			return f[1], true
		case nested && (first == "*" || f[0] == first):
			for _, pair := range f[1:] {
				name, value, _ := strings.Cut(pair, "=")
				if name != second {
					continue
				}
				if first != "*" {
					return value, true
				}
				if n, err := strconv.ParseUint(value, 10, 64); err == nil {
					sum, found = sum+n, true
				}
			}
		}
	}
	return strconv.FormatUint(sum, 10), found
}

// show returns a value for people. What is not in the form that is expected, such as "max", is shown as it is.
func show(value, as string) string {
	switch as {
	case "bytes":
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			return size(n)
		}
	case "percent":
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			return value + "%"
		}
	case "microseconds":
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && n < math.MaxInt64/1000 {
			return (time.Duration(n) * time.Microsecond).Round(time.Millisecond).String()
		}
	case "quota":
		f := strings.Fields(value)
		if len(f) == 2 {
			quota, err1 := strconv.ParseFloat(f[0], 64)
			period, err2 := strconv.ParseFloat(f[1], 64)
			if err1 == nil && err2 == nil && period > 0 {
				return strconv.FormatFloat(100*quota/period, 'f', -1, 64) + "%"
			}
			return f[0]
		}
	}
	if value == "" {
		return Unset
	}
	return value
}

// size returns a number of bytes as limits of memory are written.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
