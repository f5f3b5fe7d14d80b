package rtnl

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// receive adds what the kernel tells of, until the socket fails.
func (p *pending) receive(next func() ([]syscall.NetlinkMessage, *unix.SockaddrNetlink, error)) error {
	for {
		messages, from, err := next()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// The kernel had more to tell than the buffer holds.
			p.add(All)
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return err
		case from != nil && from.Pid != 0:
			continue // not from the kernel
		}
		var c Change
		for _, m := range messages {
			c |= changeOf(m.Header.Type)
		}
		p.add(c)
	}
}

func changeOf(kind uint16) Change {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return Links
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Addresses
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return Routes
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return Rules
	}
	return 0
}
