package proc

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// maxLine bounds one line. The longest known is intr in stat, with some ten bytes for each interrupt number.
const maxLine = 4 << 20

// lines walks the lines of a file and counts them.
type lines struct {
	s    *bufio.Scanner
	n    int
	text string
}

func newLines(r io.Reader) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4096), maxLine)
	return &lines{s: s}
}

func (l *lines) next() bool {
	if !l.s.Scan() {
		return false
	}
	l.n++
	l.text = l.s.Text()
	return true
}

// end returns the error that ended the walk, if one did.
func (l *lines) end() error {
	if err := l.s.Err(); err != nil {
		return &ParseError{Line: l.n + 1, Err: err}
	}
	return nil
}

func (l *lines) errorf(format string, args ...any) error {
	return &ParseError{Line: l.n, Err: fmt.Errorf(format, args...)}
}

// numbers parses decimal numbers into the places given, until either runs out.
func (l *lines) numbers(fields []string, into ...*uint64) error {
	for i, p := range into {
		if i >= len(fields) {
			return nil
		}
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return l.errorf("%q is no number", fields[i])
		}
		*p = n
	}
	return nil
}

func (l *lines) float(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, l.errorf("%q is no number", s)
	}
	return f, nil
}
