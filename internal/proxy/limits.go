package proxy

import "time"

// The limits of the port. What the published contract names is as it says; the others are ours, with their reasons.
const (
	// Port is where proxies listen, and where calls are forwarded to.
	Port = 50000

	// MaxMessage is the size of the largest request and reply in bytes, joined replies included.
	MaxMessage = 32 << 20

	// MaxNodes is how many nodes one call may name.
	MaxNodes = 1000

	// maxStreams is per connection. The public client makes one call per node on one connection: a smaller number than
	// MaxNodes would let such a client hang when it follows the logs of all nodes.
	maxStreams = 1024

	// maxHeader, in bytes, holds MaxNodes names of 253 bytes with HTTP/2's overhead of 32 (RFC 9113 section 6.5.2).
	maxHeader = 512 << 10

	handshakeTimeout = 10 * time.Second

	// Clients may ping that often, with or without calls; more often, and the connection is closed.
	minPing = 5 * time.Second

	// A peer that does not answer a ping is gone. It is asked after this time of silence, which is what NAT gateways and
	// firewalls are known to keep idle connections for at least.
	pingAfter   = 30 * time.Second
	pingTimeout = 20 * time.Second

	connectionIdle = 30 * time.Minute

	// A connection is closed for new calls after connectionAge, so that a certificate is shown anew from time to time.
	// Calls that are under way may go on: some follow a log all day.
	connectionAge      = time.Hour
	connectionAgeGrace = 24 * time.Hour

	// unaryTimeout is for callers who set no deadline. Upgrade and ImagePull of the first API answer only after a download.
	unaryTimeout = 30 * time.Minute

	// When a caller who asks many nodes has set a deadline, nodes must answer a little earlier, so that the caller gets what
	// the others said and the name of the slow one, and not just a deadline. The margin is an eighth of the time that is
	// left, at most maxMargin.
	marginDivisor = 8
	maxMargin     = time.Second

	// Connections to other nodes.
	peerIdle        = 15 * time.Minute // closed after that without a call
	peerIdleFailing = time.Minute      // … if it could not even be made
	peerConnect     = 5 * time.Second
	maxBackoff      = 15 * time.Second
	maxPeers        = 2 * MaxNodes

	// maxReason is the size in bytes of an error's text in joined replies, maxDetails that of its details.
	maxReason  = 1 << 10
	maxDetails = 1 << 10
	// reserved for each node in a joined reply, so that there is always room for an error: name, reason twice, details.
	reserved = 4 << 10
)
