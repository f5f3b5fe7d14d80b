package layer2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Socket is the name of the socket for orders in the folder of a switch.
const Socket = "switch"

// order is what a client asks for: a JSON value on a connection of its own.
type order struct {
	Do     string `json:"do"`
	Name   string `json:"name,omitempty"`   // add, remove: the port
	Socket string `json:"socket,omitempty"` // add
	Rule   Rule   `json:"rule,omitzero"`    // rule
	File   string `json:"file,omitempty"`   // capture
}

// answer is the answer to an order.
type answer struct {
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"` // of the error: see kinds
	Ports []Port `json:"ports,omitempty"`
	Rules []Rule `json:"rules,omitempty"`
}

// kinds are the kinds of errors that are told apart on both sides.
var kinds = map[string]error{"exists": fs.ErrExist, "none": fs.ErrNotExist, "invalid": fs.ErrInvalid}

const (
	mostOrder  = 64 << 10 // bytes
	orderLimit = 10 * time.Second
	// lookEvery is how often a switch looks whether its folder is still there.
	lookEvery = time.Second
)

// carry carries out an order.
func (s *Switch) carry(o order) (answer, error) {
	switch o.Do {
	case "ports":
		return answer{Ports: s.Ports()}, nil
	case "add":
		return answer{}, s.Add(o.Name, o.Socket, dialSocket(o.Socket))
	case "remove":
		return answer{}, s.Remove(o.Name)
	case "rule":
		return answer{}, s.SetRule(o.Rule)
	case "rules":
		return answer{Rules: s.Rules()}, nil
	case "clear":
		s.ClearRules()
		return answer{}, nil
	case "capture":
		return answer{}, s.Capture(o.File)
	case "end":
		return answer{}, s.EndCapture()
	}
	return answer{}, fmt.Errorf("order %q: %w: it is not known; the switch is of another version", o.Do, fs.ErrInvalid)
}

// Run is a switch that takes orders on the socket in a folder. It ends without an error when ctx does, and when the socket is
// removed or replaced: nobody can give it orders then. The error is fs.ErrExist if another one takes orders there.
func Run(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	path := filepath.Join(dir, Socket)
	if _, err := (Client{Path: path}).Ports(ctx); err == nil {
		return fmt.Errorf("switch: another one takes orders at %s: %w", path, fs.ErrExist)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("switch: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("switch: take orders: %w", err)
	}
	mine, err := os.Stat(path)
	if err != nil {
		return errors.Join(fmt.Errorf("switch: %w", err), l.Close())
	}
	// Removing it is for whoever made it: another one's may be in its place.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	s := NewSwitch(nil)
	var work sync.WaitGroup
	work.Go(func() {
		for there(path, mine) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookEvery):
			}
		}
		cancel()
	})
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if err != nil {
			select { // too many open files, for a moment
			case <-ctx.Done():
			case <-time.After(again):
			}
			continue
		}
		work.Go(func() { serve(conn, s) })
	}
	work.Wait()
	err = s.Close()
	if there(path, mine) {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// there reports whether a file is the one that it was.
func there(path string, was fs.FileInfo) bool {
	is, err := os.Stat(path)
	return err == nil && os.SameFile(was, is)
}

// serve takes one order.
func serve(conn net.Conn, s *Switch) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(orderLimit)) // a connection that has none does not wait either
	var o order
	if err := json.NewDecoder(io.LimitReader(conn, mostOrder)).Decode(&o); err != nil {
		return // whoever looked whether a switch is here, or is no client
	}
	a, err := s.carry(o)
	if err != nil {
		a.Error = err.Error()
		for kind, is := range kinds {
			if errors.Is(err, is) {
				a.Kind = kind
			}
		}
	}
	_ = json.NewEncoder(conn).Encode(a) // the client says that it has no answer
}

// Client gives orders to a switch. Each is a connection of its own, bounded by a few seconds.
type Client struct {
	Path string // of the socket
}

// Ports returns the ports of the switch, sorted by name.
func (c Client) Ports(ctx context.Context) ([]Port, error) {
	a, err := c.do(ctx, order{Do: "ports"})
	return a.Ports, err
}

// Add adds a port for the machine that listens, or will listen, at a unix socket. The error is fs.ErrExist if there is one of
// that name.
func (c Client) Add(ctx context.Context, name, socket string) error {
	_, err := c.do(ctx, order{Do: "add", Name: name, Socket: socket})
	return err
}

// Remove removes a port. The error is fs.ErrNotExist if there is none of that name.
func (c Client) Remove(ctx context.Context, name string) error {
	_, err := c.do(ctx, order{Do: "remove", Name: name})
	return err
}

// SetRule sets the rule of a direction.
func (c Client) SetRule(ctx context.Context, r Rule) error {
	if err := r.Check(); err != nil { // NaN cannot be told
		return err
	}
	_, err := c.do(ctx, order{Do: "rule", Rule: r})
	return err
}

// Rules returns the rules, sorted.
func (c Client) Rules(ctx context.Context) ([]Rule, error) {
	a, err := c.do(ctx, order{Do: "rules"})
	return a.Rules, err
}

// ClearRules removes all rules.
func (c Client) ClearRules(ctx context.Context) error {
	_, err := c.do(ctx, order{Do: "clear"})
	return err
}

// Capture writes what machines send into a file, which is replaced, until EndCapture. The path is absolute.
func (c Client) Capture(ctx context.Context, file string) error {
	_, err := c.do(ctx, order{Do: "capture", File: file})
	return err
}

// EndCapture ends the capture. It is no error if there is none.
func (c Client) EndCapture(ctx context.Context) error {
	_, err := c.do(ctx, order{Do: "end"})
	return err
}

func (c Client) do(ctx context.Context, o order) (answer, error) {
	fail := func(err error) (answer, error) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return answer{}, fmt.Errorf("order %q to the switch at %s: %w", o.Do, c.Path, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, orderLimit, fmt.Errorf("no answer within %v", orderLimit))
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Path)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := json.NewEncoder(conn).Encode(o); err != nil {
		return fail(err)
	}
	var a answer
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return fail(err)
	}
	if a.Error != "" {
		return answer{}, &orderError{a.Error, kinds[a.Kind]}
	}
	return a, nil
}

// orderError is the error of an order as the switch has it.
type orderError struct {
	text string
	kind error // nil for none that is told apart
}

func (e *orderError) Error() string { return "switch: " + e.text }
func (e *orderError) Unwrap() error { return e.kind }
