package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// monitor is a connection to QEMU's monitor (QEMU's docs/interop/qmp-spec.txt). QEMU takes one at a time; another waits.
type monitor struct {
	conn io.ReadWriteCloser
	in   *json.Decoder
	stop func() bool
}

// monitorLimit bounds a conversation with QEMU, which answers at once unless it is stuck.
const monitorLimit = 10 * time.Second

// dialMonitor connects to a monitor. The connection ends with ctx. The caller closes it.
func dialMonitor(ctx context.Context, path string) (*monitor, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("QEMU's monitor: %w", err)
	}
	return newMonitor(ctx, conn)
}

// newMonitor begins a conversation. An event may come before QEMU's greeting, meant for who was connected before.
func newMonitor(ctx context.Context, conn io.ReadWriteCloser) (*monitor, error) {
	m := &monitor{conn: conn, in: json.NewDecoder(conn)}
	m.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	var err error
	for greeted := false; err == nil && !greeted; {
		var message map[string]json.RawMessage
		if err = m.in.Decode(&message); err != nil {
			break
		}
		if _, greeted = message["QMP"]; !greeted && message["event"] == nil {
			err = fmt.Errorf("expected a greeting of QEMU's, got a message with %q", slices.Sorted(maps.Keys(message)))
		}
	}
	if err == nil {
		err = m.run(ctx, "qmp_capabilities", nil, nil)
	}
	if err != nil {
		m.close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("QEMU's monitor: begin: %w", err)
	}
	return m, nil
}

func (m *monitor) close() {
	m.stop()
	_ = m.conn.Close() // nothing is lost by it
}

// run carries out a command. Its arguments are marshalled from args, nil for none; what it returns is unmarshalled into out, if
// that is not nil. Events that come meanwhile are passed over.
func (m *monitor) run(ctx context.Context, command string, args, out any) error {
	fail := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("QEMU's monitor: %s: %w", command, err)
	}
	request := map[string]any{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return fail(err)
	}
	for {
		var r struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
			Event string `json:"event"`
		}
		if err := m.in.Decode(&r); err != nil {
			return fail(err)
		}
		switch {
		case r.Error != nil:
			return fail(fmt.Errorf("it says: %s", r.Error.Desc))
		case r.Return == nil: // an event
			continue
		case out == nil:
			return nil
		}
		if err := json.Unmarshal(r.Return, out); err != nil {
			return fail(err)
		}
		return nil
	}
}

// human carries out a command of the monitor for people and returns what it says.
func (m *monitor) human(ctx context.Context, line string) (string, error) {
	var out string
	err := m.run(ctx, "human-monitor-command", map[string]string{"command-line": line}, &out)
	return strings.TrimSpace(out), err
}

// ask is one conversation with the monitor at a path.
func ask(ctx context.Context, path string, talk func(ctx context.Context, m *monitor) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, monitorLimit, fmt.Errorf("no answer within %v", monitorLimit))
	defer cancel()
	m, err := dialMonitor(ctx, path)
	if err != nil {
		return err
	}
	defer m.close()
	return talk(ctx, m)
}
