// Package logship sends logs to receivers on the network, as JSON objects: over TCP one on a line, over UDP one in a datagram.
//
// A [Message] is one line of a service's log or one record of the kernel's. [ParseLine] finds level and time in what services write: log
// lines in the form of slog and logfmt, JSON, and klog; any other line is a message as it is. [Message.Append] writes the object. A [Sender] is the
// connection to one receiver: it connects when there is something to send, and again with growing pauses.
//
// Nothing is kept here. What was not sent yet is still in the ring that it came from (package logring, or the kernel's), which is
// bounded: a receiver that is away for too long gets a line that says how many it has missed. With TCP what the kernel had taken when a
// connection broke may be lost; there are no receipts in this protocol.
//
// Controllers import it.
package logship
