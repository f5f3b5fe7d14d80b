package kmsg

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Priority is how much a record matters, from 0, the most, to 7 (syslog(3)).
type Priority uint8

// The priorities.
const (
	Emergency Priority = iota
	Alert
	Critical
	Error
	Warning
	Notice
	Info
	Debug
)

var priorities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// String returns the short name, as dmesg(1) has it.
func (p Priority) String() string {
	if int(p) < len(priorities) {
		return priorities[p]
	}
	return strconv.Itoa(int(p))
}

// Facility is who wrote a record (syslog(3)).
type Facility uint16

// The facilities of the kernel, of programs that did not say more, and of system services.
const (
	Kernel Facility = 0
	User   Facility = 1
	Daemon Facility = 3
)

var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "security", "console", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// String returns the short name, as dmesg(1) has it.
func (f Facility) String() string {
	if int(f) < len(facilities) {
		return facilities[f]
	}
	return strconv.Itoa(int(f))
}

// Record is one record of the log.
type Record struct {
	Facility Facility
	Priority Priority
	Sequence uint64        // grows by one from record to record; a gap are lost ones
	Time     time.Duration // after boot, by the kernel's monotonic clock
	Continue bool          // a part of a line that goes on with the next record
	// Message is the text. Bytes that cannot be printed stay as the kernel escapes them (\x1b), so it can be shown as
	// it is; only the newlines of a message of several lines are real.
	Message string
	// Tags are names and values that the kernel adds, such as SUBSYSTEM and DEVICE; nil without any.
	Tags map[string]string
}

// Line returns the record as one line without its end: facility, priority, the time in UTC if the machine was started at
// boot, and the message.
func (r Record) Line(boot time.Time) string {
	return fmt.Sprintf("%s: %s: [%s]: %s", r.Facility, r.Priority, boot.Add(r.Time).UTC().Format(time.RFC3339Nano), r.Message)
}

// Parse parses what one read of the device gives: "prefix;message", and lines with tags that start with a space. The
// prefix is facility and priority, sequence number, microseconds after boot, flags, and what later kernels add.
func Parse(b []byte) (Record, error) {
	prefix, rest, ok := bytes.Cut(b, []byte(";"))
	if !ok {
		return Record{}, fmt.Errorf("parse kernel log record %.40q: no prefix", b)
	}
	f := strings.Split(string(prefix), ",")
	if len(f) < 4 {
		return Record{}, fmt.Errorf("parse kernel log record %.40q: %d columns before the message; want at least 4", b, len(f))
	}
	var n [3]uint64
	for i, bits := range [3]int{16, 64, 63} {
		var err error
		if n[i], err = strconv.ParseUint(f[i], 10, bits); err != nil {
			return Record{}, fmt.Errorf("parse kernel log record %.40q: %q is no number", b, f[i])
		}
	}
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	r := Record{
		Facility: Facility(n[0] >> 3), Priority: Priority(n[0] & 7), Sequence: n[1],
		Time: time.Duration(min(n[2], most)) * time.Microsecond, Continue: strings.Contains(f[3], "c"),
	}
	lines := strings.Split(strings.TrimSuffix(string(rest), "\n"), "\n")
	r.Message = lines[0]
	for _, l := range lines[1:] {
		// A tag starts with a space; a line that does not belongs to the message.
		key, value, ok := strings.Cut(strings.TrimPrefix(l, " "), "=")
		if !strings.HasPrefix(l, " ") || !ok {
			r.Message += "\n" + l
			continue
		}
		if r.Tags == nil {
			r.Tags = map[string]string{}
		}
		r.Tags[key] = value
	}
	return r, nil
}
