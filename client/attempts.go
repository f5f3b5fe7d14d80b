package client

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/codes"
)

// phase is how far the last attempt at an endpoint came.
type phase int

const (
	phaseNone      phase = iota // not tried yet
	phaseDialing                // the connection is being made
	phaseHandshake              // it is there, and TLS or HTTP/2 begin
	phaseConnected              // the server has said something after its handshake
	phaseFailed                 // there is an error
)

type attempt struct {
	phase phase
	err   error
}

// attempts is what is known of the endpoints of a client. It is safe for concurrent use.
type attempts struct {
	order  []string
	client *x509.Certificate // what the client shows; nil if that is not known

	mu   sync.Mutex
	last map[string]attempt
}

func newAttempts(endpoints []Endpoint, client *x509.Certificate) *attempts {
	a := &attempts{client: client, last: map[string]attempt{}}
	for _, e := range endpoints {
		a.order = append(a.order, e.String())
	}

	return a
}

func (a *attempts) set(endpoint string, now attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.last[endpoint] = now
}

// dialer writes down what dial does.
func (a *attempts) dialer(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		a.began(address, phaseDialing)

		conn, err := dial(ctx, address)
		if err != nil {
			a.failed(address, err)

			return nil, err
		}

		a.began(address, phaseHandshake)

		return conn, nil
	}
}

// began keeps the error of the attempt before: while the next one runs, that is the news of this endpoint.
func (a *attempts) began(endpoint string, p phase) {
	a.mu.Lock()
	defer a.mu.Unlock()

	a.last[endpoint] = attempt{phase: p, err: a.last[endpoint].err}
}

func (a *attempts) connected(endpoint string) { a.set(endpoint, attempt{phase: phaseConnected}) }

// failed ignores attempts that this side gave up because another was faster, and those that it closed: then it is as far
// as it was.
func (a *attempts) failed(endpoint string, err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	if errors.Is(err, context.Canceled) {
		if before := a.last[endpoint].err; before != nil {
			a.last[endpoint] = attempt{phase: phaseFailed, err: before}
		} else {
			delete(a.last, endpoint)
		}

		return
	}

	a.last[endpoint] = attempt{phase: phaseFailed, err: err}
}

// report is the error of a call that got no connection.
func (a *attempts) report(code codes.Code, method string, cause error) *ConnectionError {
	e := &ConnectionError{Method: method, code: code, cause: cause}

	a.mu.Lock()
	defer a.mu.Unlock()

	for _, endpoint := range a.order {
		e.Endpoints = append(e.Endpoints, judge(endpoint, a.last[endpoint], a.client))
	}

	return e
}
