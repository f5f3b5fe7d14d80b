package timectrl

import (
	"context"
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
	if err != nil {
		return 0, fmt.Errorf("ask time server %s: %w", server, err)
	}
	return r.ClockOffset, nil
}
