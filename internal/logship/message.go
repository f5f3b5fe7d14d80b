package logship

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Level is how much a message matters.
type Level string

// The levels, as receivers see them.
const (
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
	Fatal Level = "fatal"
)

// Message is one message of a log.
type Message struct {
	Service string
	Level   Level
	Time    time.Time
	Text    string
	// Fields are what else the message says, by name; each value is JSON.
	Fields map[string]json.RawMessage
}

// The names that every message has. A field or a tag with one of them is left out.
const (
	keyText    = "msg"
	keyService = "talos-service"
	keyLevel   = "talos-level"
	keyTime    = "talos-time"
)

func reserved(name string) bool {
	return name == keyText || name == keyService || name == keyLevel || name == keyTime
}

// Append appends the message as one JSON object without a newline: the four keys that every message has, fields, and tags, which win over
// fields. Its keys are in alphabetical order.
func (m Message) Append(b []byte, tags map[string]string) []byte {
	all := map[string]json.RawMessage{
		keyText: text(m.Text), keyService: text(m.Service), keyLevel: text(string(m.Level)),
		keyTime: text(m.Time.UTC().Format(time.RFC3339Nano)),
	}
	for name, value := range m.Fields {
		if !reserved(name) {
			all[name] = value
		}
	}
	for name, value := range tags {
		if !reserved(name) {
			all[name] = text(value)
		}
	}
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(all)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, text(name)...)
		b = append(b, ':')
		b = append(b, all[name]...)
	}
	return append(b, '}')
}

// text returns s as JSON. Bytes that are no UTF-8 become the replacement character.
func text(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A string is always encoded.
	_ = enc.Encode(strings.ToValidUTF8(s, string(utf8.RuneError)))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// ParseLine makes a message of a line of a service's log, without its newline. now is the time of a line that has none.
func ParseLine(service string, line []byte, now time.Time) Message {
	m := Message{Service: service, Level: Info, Time: now, Text: string(bytes.TrimRight(line, "\r\n"))}
	switch {
	case len(line) > 0 && line[0] == '{':
		m.json(line)
	case len(line) > 5 && strings.IndexByte("IWEF", line[0]) >= 0 && digits(line[1:5]):
		// klog: Lmmdd hh:mm:ss.uuuuuu pid file:line] text. Its time has neither year nor zone: now is better.
		m.Level = map[byte]Level{'I': Info, 'W': Warn, 'E': Error, 'F': Fatal}[line[0]]
	default:
		m.pairs(m.Text)
	}
	return m
}

func digits(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c < '0' || c > '9' })
}

// json takes an object: zap's, klog's, slog's. Anything else stays the text that it is.
func (m *Message) json(line []byte) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil {
		return
	}
	fields := map[string]json.RawMessage{}
	found := false
	for name, value := range object {
		var s string
		isText := json.Unmarshal(value, &s) == nil
		switch {
		case isText && (name == "msg" || name == "message") && !found:
			m.Text, found = s, true
		case isText && (name == "level" || name == "lvl" || name == "severity"):
			if l, ok := levelOf(s); ok {
				m.Level = l
				continue
			}
			fields[name] = value
		case name == "time" || name == "ts" || name == "timestamp":
			if t, ok := timeOf(s, value); ok {
				m.Time = t
				continue
			}
			fields[name] = value
		default:
			fields[name] = value
		}
	}
	if !found {
		// Without a message the whole line is it.
		return
	}
	for name, value := range fields {
		m.field(name, value)
	}
}

func (m *Message) field(name string, value json.RawMessage) {
	if m.Fields == nil {
		m.Fields = map[string]json.RawMessage{}
	}
	var compact bytes.Buffer
	if json.Compact(&compact, value) == nil {
		m.Fields[name] = compact.Bytes()
	}
}

// pairs takes a line of NAME=VALUE, values in double quotes where needed, as slog's text handler and logfmt write it. Only a line that has a msg,
// and is well formed to its end, is one.
func (m *Message) pairs(line string) {
	type pair struct{ name, value string }
	var all []pair
	rest := line
	for rest != "" {
		name, after, ok := strings.Cut(rest, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \"\t") {
			return
		}
		var value string
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return
			}
			rest = after[len(quoted):]
		} else {
			value, _, _ = strings.Cut(after, " ")
			rest = after[len(value):]
		}
		if rest != "" && rest[0] != ' ' {
			return
		}
		rest = strings.TrimLeft(rest, " ")
		all = append(all, pair{name, value})
	}
	if !slices.ContainsFunc(all, func(p pair) bool { return p.name == "msg" }) {
		return
	}
	for _, p := range all {
		switch p.name {
		case "msg":
			m.Text = p.value
		case "level":
			if l, ok := levelOf(p.value); ok {
				m.Level = l
			}
		case "time":
			if t, ok := timeOf(p.value, nil); ok {
				m.Time = t
			}
		default:
			m.field(p.name, text(p.value))
		}
	}
}

// levelOf knows the words for levels.
func levelOf(s string) (Level, bool) {
	// slog writes what lies between two levels as INFO+2.
	word, _, _ := strings.Cut(strings.ToLower(s), "+")
	switch word {
	case "trace", "debug":
		return Debug, true
	case "info", "notice", "information":
		return Info, true
	case "warn", "warning":
		return Warn, true
	case "error", "err":
		return Error, true
	case "fatal", "panic", "dpanic", "critical", "alert", "emergency":
		return Fatal, true
	}
	return "", false
}

// timeOf reads a time as text by RFC 3339, or as a number: seconds or milliseconds since 1970.
func timeOf(s string, number json.RawMessage) (time.Time, bool) {
	if s != "" {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
			if t, err := time.Parse(layout, s); err == nil {
				return t, true
			}
		}
		return time.Time{}, false
	}
	n, err := strconv.ParseFloat(string(number), 64)
	if err != nil || math.IsNaN(n) || n < 1e8 || n > 1e14 {
		return time.Time{}, false
	}
	if n > 1e11 {
		n /= 1000
	}
	sec, part := math.Modf(n)
	return time.Unix(int64(sec), int64(part*1e9)), true
}

// Record is one record of the kernel's log.
type Record struct {
	Facility, Priority string
	Severity           int // 0 the most severe, to 7
	Sequence           uint64
	Clock              time.Duration // since the start of the kernel
	Text               string
}

// FromKernel makes a message of a record. boot is when the kernel started.
func FromKernel(r Record, boot time.Time) Message {
	level := Debug
	switch {
	case r.Severity <= 2:
		level = Fatal
	case r.Severity == 3:
		level = Error
	case r.Severity == 4:
		level = Warn
	case r.Severity <= 6:
		level = Info
	}
	return Message{
		Service: "kernel", Level: level, Time: boot.Add(r.Clock), Text: r.Text,
		Fields: map[string]json.RawMessage{
			"facility": text(r.Facility), "priority": text(r.Priority),
			"seq": json.RawMessage(strconv.FormatUint(r.Sequence, 10)), "clock": json.RawMessage(fmt.Sprint(r.Clock.Microseconds())),
		},
	}
}
