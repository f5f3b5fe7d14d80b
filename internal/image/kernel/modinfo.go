package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ulikunitz/xz"
)

// ErrFormat is the error for what is no kernel package, or no module.
var ErrFormat = errors.New("not a sound kernel module or package")

// Info is what a module says of itself.
type Info struct {
	Name    string   // as the kernel has it, with _
	Depends []string // names of modules that it cannot be loaded without, the direct ones
	Soft    []string // its soft dependencies, as they are written: "pre: crc32c"
	Aliases []string // in the order of the file
}

// maxModule bounds an unpacked module, in bytes. The largest of Debian's has 12 MiB.
const maxModule = 64 << 20

// readInfo reads the section .modinfo of a module that is compressed by xz.
func readInfo(r io.Reader) (Info, error) {
	plain, err := xz.NewReader(r)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	data, err := io.ReadAll(io.LimitReader(plain, maxModule))
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return Info{}, fmt.Errorf("it has no section .modinfo: %w", ErrFormat)
	}
	text, err := section.Data()
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return parseInfo(text), nil
}

// parseInfo reads the section's content: KEY=VALUE, each ended by zeros. Keys that say nothing about loading are passed over.
func parseInfo(text []byte) (info Info) {
	for field := range bytes.SplitSeq(text, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "name":
			info.Name = plainName(value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					info.Depends = append(info.Depends, plainName(name))
				}
			}
		case "softdep":
			info.Soft = append(info.Soft, value)
		case "alias":
			info.Aliases = append(info.Aliases, value)
		}
	}
	return info
}

// plainName is a module's name as the kernel has it.
func plainName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// softNames are the names and aliases in a soft dependency, those of "pre:" and of "post:".
func softNames(soft string) []string {
	var names []string
	for word := range strings.FieldsSeq(soft) {
		if !strings.HasSuffix(word, ":") {
			names = append(names, word)
		}
	}
	return names
}
