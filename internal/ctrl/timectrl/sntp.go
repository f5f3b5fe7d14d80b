package timectrl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/beevik/ntp"
)

// queryTimeout bounds one question to one server, the look-up of its name included.
const queryTimeout = 5 * time.Second

// SNTP asks a server, which is a name or an address, by the simple network time protocol.
func SNTP(ctx context.Context, server string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	r, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout: queryTimeout,
		Dialer: func(_, remote string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "udp", remote)
			if err == nil {
				context.AfterFunc(ctx, func() { conn.Close() }) // the library knows no contexts
			}
			return conn, err
		},
	})
	if err == nil {
		err = r.Validate()
	}
	if timeout, ok := errors.AsType[net.Error](err); err != nil && ctx.Err() != nil || ok && timeout.Timeout() {
		// Whichever of the limits was hit first, the reason is the same.
		if _, lookup := errors.AsType[*net.DNSError](err); lookup {
			err = errors.New("no name server answers")
		} else {
			err = errors.New("no answer")
		}
	}
	if err != nil {
		return 0, fmt.Errorf("ask time server %s: %w", server, err)
	}
	return r.ClockOffset, nil
}
