package nodes

import (
	"bytes"
	"io"
)

// longest is how many bytes of an unfinished line are kept.
const longest = 64 << 10

// Lines prints the text of several nodes line by line, each with the name of its node before it. A line that comes in parts
// is printed when it is whole. What the lines have in them is not changed: logs may be coloured on purpose.
type Lines struct {
	w       io.Writer
	partial map[string][]byte
}

// NewLines returns a printer to w.
func NewLines(w io.Writer) *Lines { return &Lines{w: w, partial: map[string][]byte{}} }

// Write prints the whole lines of what has come from node.
func (l *Lines) Write(node string, data []byte) error {
	data = append(l.partial[node], data...)
	var out bytes.Buffer
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 && len(data) >= longest {
			i = len(data)
		}
		if i < 0 {
			break
		}
		out.WriteString(node + ": ")
		out.Write(data[:i])
		out.WriteByte('\n')
		data = data[min(i+1, len(data)):]
	}
	l.partial[node] = bytes.Clone(data)
	_, err := l.w.Write(out.Bytes())
	return err
}

// Flush prints the unfinished last lines, those of nodes in the given order.
func (l *Lines) Flush(nodes []string) error {
	for _, n := range nodes {
		if len(l.partial[n]) > 0 {
			if err := l.Write(n, []byte{'\n'}); err != nil {
				return err
			}
		}
	}
	return nil
}
