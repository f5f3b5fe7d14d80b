package debian

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrFormat is the error for a file that is no Debian package, or a broken one.
var ErrFormat = errors.New("not a sound Debian package")

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// eachMember calls f with every member of an ar archive, in order. What f leaves of content is skipped.
// Long names, in either of their two forms, do not exist in Debian packages and are refused.
func eachMember(r io.Reader, f func(name string, content io.Reader) error) error {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != arMagic {
		return fmt.Errorf("no ar archive: %w", ErrFormat)
	}
	for {
		header := make([]byte, arHeader)
		if _, err := io.ReadFull(r, header); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("ar member cut short: %w", ErrFormat)
		}
		name := strings.TrimSuffix(strings.TrimRight(string(header[:16]), " "), "/")
		size, err := strconv.ParseUint(strings.TrimRight(string(header[48:58]), " "), 10, 62)
		if err != nil || name == "" || strings.HasPrefix(name, "#1/") || string(header[58:]) != "`\n" {
			return fmt.Errorf("ar header %q: %w", header, ErrFormat)
		}
		content := &io.LimitedReader{R: r, N: int64(size)} // at most 62 bits
		if err := f(name, content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		if content.N > 0 {
			return fmt.Errorf("%s: cut short by %d bytes: %w", name, content.N, ErrFormat)
		}
		if size%2 == 1 { // members start at even offsets; the last one may go without the pad
			if _, err := io.CopyN(io.Discard, r, 1); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
	}
}
