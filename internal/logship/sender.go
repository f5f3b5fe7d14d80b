package logship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"time"
)

// Limits of a connection.
const (
	dialMost  = 10 * time.Second
	writeMost = 10 * time.Second
	minPause  = 500 * time.Millisecond
	maxPause  = 30 * time.Second
	idleProbe = 15 * time.Second
	// maxDatagram is what a datagram holds beside its headers, over IPv4 and IPv6.
	maxDatagram = 65487
)

// Dial connects to a receiver.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Sender is the connection to one receiver. It is for one goroutine.
type Sender struct {
	network, address string
	dial             Dial
	log              *slog.Logger

	conn  net.Conn
	pause time.Duration
	told  string // what was said about the receiver last
}

// NewSender returns a sender to a receiver: a tcp or udp URL with a port. It does not connect yet. dial may be nil.
//
// It says on log when the receiver cannot be reached, once for each reason, and when it is reached again: what it says may be what it sends.
func NewSender(to *url.URL, dial Dial, log *slog.Logger) (*Sender, error) {
	if to.Scheme != "tcp" && to.Scheme != "udp" || to.Port() == "" {
		return nil, fmt.Errorf("send logs to %s: expected a tcp or udp URL with a port such as tcp://10.5.0.1:5000", to.Redacted())
	}
	if dial == nil {
		d := &net.Dialer{Timeout: dialMost, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idleProbe, Interval: idleProbe, Count: 3}}
		dial = d.DialContext
	}
	return &Sender{network: to.Scheme, address: to.Host, dial: dial, log: log.With("receiver", to.Scheme+"://"+to.Host)}, nil
}

// Send sends messages, each a JSON object, and returns when the kernel has taken all of them, however long that takes; or when ctx ends. After a
// connection broke all of them are sent again, because nobody knows which have arrived.
func (s *Sender) Send(ctx context.Context, messages [][]byte) error {
	for {
		err := s.try(ctx, messages)
		if err == nil {
			if s.told != "" {
				s.log.Info("logs are sent again")
			}
			s.told, s.pause = "", 0
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if text := err.Error(); text != s.told {
			s.told = text
			s.log.Warn("logs are not sent; it is tried again until it works", "error", err)
		}
		s.pause = min(max(2*s.pause, minPause), maxPause)
		// Machines that lost a receiver together do not return together.
		wait := time.NewTimer(s.pause*3/4 + rand.N(s.pause/2))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return context.Cause(ctx)
		}
	}
}

func (s *Sender) try(ctx context.Context, messages [][]byte) (err error) {
	if s.conn == nil {
		dialing, cancel := context.WithTimeout(ctx, dialMost)
		defer cancel()
		if s.conn, err = s.dial(dialing, s.network, s.address); err != nil {
			s.conn = nil
			return err
		}
	}
	conn := s.conn
	// The end of the context interrupts a write.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.network == "udp" {
		for _, m := range messages {
			if err := s.write(ctx, datagram(m)); err != nil {
				return err
			}
		}
		return nil
	}
	var all []byte
	for _, m := range messages {
		all = append(append(all, m...), '\n')
	}
	return s.write(ctx, all)
}

func (s *Sender) write(ctx context.Context, b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeMost)); err != nil {
		return err
	}
	if ctx.Err() != nil { // it may have ended just before the deadline was set
		return context.Cause(ctx)
	}
	_, err := s.conn.Write(b)
	return err
}

// datagram is a message as it fits in one: a text that is too long becomes a message that says so.
func datagram(m []byte) []byte {
	if len(m) <= maxDatagram {
		return m
	}
	const most = 16 << 10 // as JSON it may have six bytes for each, with quotes
	cut := Message{Service: "unknown", Level: Warn, Time: time.Now(), Text: "a message too long for a datagram begins: " + string(m[:most/2])}
	return cut.Append(nil, nil)
}

// Close ends the connection, if there is one.
func (s *Sender) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
