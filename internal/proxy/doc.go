// Package proxy is the heart of apid: it takes the calls of the machine API on one port, finds out who calls, decides
// whether that is allowed and where it goes, and carries the bytes there and back.
//
// # Model
//
// A connection is TLS 1.3 with a client certificate that one of the cluster's authorities signed for clients. A [caller]
// has the roles of that certificate. Only a caller with [secret.RoleImpersonator], which is another node's proxy, may say
// in metadata (talos-role) that it speaks for somebody else; from everybody else that key is ignored.
//
// For each call a pure function, decide, makes a plan from the method, the metadata and the caller: refuse; answer here;
// forward to one node (metadata node); or ask many and join what they say (metadata nodes). What is answered here goes to
// machined over a unix socket; what goes to another node goes to that node's proxy, with this node's impersonator
// certificate, the caller's roles, and the key proxyfrom, which says that the call has been forwarded and must not be again.
//
// Requests and replies are not decoded. A call to one node is a relay of frames ([frame]) in both directions, one at a time,
// so that flow control reaches from end to end and nothing piles up here. Replies of many nodes are joined on the level of
// the wire format: every reply is { repeated X messages = 1 }, every X has common.Metadata as its field 1, so that
// concatenated replies are a reply, and metadata appended to an X are part of it. A node that fails is an X with nothing
// but metadata: its name and the error. Of streams, the frames are the X.
//
// # What it does not do
//
// It does not decide about what is inside a request: that a sensitive resource is for administrators is enforced by who
// serves resources (see [talos.internal/internal/proxy/authz.Sensitive]). It does not make or renew certificates: it asks
// [Identities] at each handshake and each call. It has no health, reflection or other service of its own.
//
// The command machined imports it, when it runs as apid.
package proxy
