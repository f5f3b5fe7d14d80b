package nodes

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// gap is between two columns.
const gap = 3

// Table prints rows under headings, the columns aligned.
type Table struct {
	rows [][]string
}

// NewTable returns a table with these headings.
func NewTable(headings ...string) *Table { return &Table{rows: [][]string{headings}} }

// Row adds a row. Strings and numbers are printed as they are; what could disturb a terminal is made visible.
func (t *Table) Row(cells ...any) { t.rows = append(t.rows, texts(cells)) }

// Write prints the table. Without rows it has its headings only.
func (t *Table) Write(w io.Writer) error {
	var widths []int
	for _, row := range t.rows {
		widths = widen(widths, row)
	}
	var b strings.Builder
	for _, row := range t.rows {
		line(&b, widths, row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// LiveTable prints rows as they come. A column is as wide as the widest cell that it has had.
type LiveTable struct {
	w        io.Writer
	headings []string
	widths   []int
	begun    bool
}

// NewLiveTable returns a table with these headings, each of which has at least the width of its example.
func NewLiveTable(w io.Writer, headings []string, examples ...string) *LiveTable {
	return &LiveTable{w: w, headings: headings, widths: widen(widen(nil, headings), examples)}
}

// Row prints a row, and before the first one the headings.
func (t *LiveTable) Row(cells ...any) error {
	row := texts(cells)
	t.widths = widen(t.widths, row)
	var b strings.Builder
	if !t.begun {
		line(&b, t.widths, t.headings)
		t.begun = true
	}
	line(&b, t.widths, row)
	_, err := io.WriteString(t.w, b.String())
	return err
}

func texts(cells []any) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = Clean(fmt.Sprint(c))
	}
	return out
}

func widen(widths []int, row []string) []int {
	for len(widths) < len(row) {
		widths = append(widths, 0)
	}
	for i, cell := range row {
		widths[i] = max(widths[i], utf8.RuneCountInString(cell))
	}
	return widths
}

func line(b *strings.Builder, widths []int, row []string) {
	var l strings.Builder
	for i, cell := range row {
		l.WriteString(cell)
		if i < len(row)-1 {
			l.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+gap))
		}
	}
	b.WriteString(strings.TrimRight(l.String(), " "))
	b.WriteByte('\n')
}

// Clean returns text with what could disturb a terminal made visible: line breaks and tabs become spaces, other control
// characters and broken UTF-8 become U+FFFD. Texts come from machines, and what they print comes from anywhere.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return utf8.RuneError
		}
		return r
	}, text)
}

// Fit makes the columns wide enough for rows that are to come.
func (t *LiveTable) Fit(rows [][]any) {
	for _, r := range rows {
		t.widths = widen(t.widths, texts(r))
	}
}
