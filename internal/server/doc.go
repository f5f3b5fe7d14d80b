// Package server is the machine API as machined offers it on its unix socket: the gRPC services, and who may use them.
//
// [New] makes a server from [Deps], the parts of the node that calls act on. Handlers translate, authorise and call; what they act
// on is behind small interfaces that this package declares. A part that is nil is one that this node does not have: the calls
// that need it answer FailedPrecondition or Unimplemented with the reason, as the capability table of the mode gives it.
//
// # Who may call
//
// A caller is known by its process, which the kernel names (SO_PEERCRED), and which Deps.ServiceOf finds among the services. What
// it asks for in metadata (talos-role) counts only as far as its service may have it: apid, which has judged certificates, any
// role; the dashboard those of a reader and of a writer of META; containerd that of a verifier of images; everybody else none.
// Then the table of package authz is asked, as apid did before. Resources that are called sensitive are for administrators alone,
// and nothing can be written through the API of the state.
//
// # What a call cannot do
//
// A panic of a handler ends the call with Internal and not PID 1. Messages are bounded, and so are streams of one connection and
// the time of a unary call. Errors have the code that fits their cause, in one place (statusOf). Handlers start no goroutine
// that they do not wait for, but for questions to file systems that do not answer (package hostinfo).
//
// Package hostinfo has the calls that only look at the host. The composition root and cmd/machined import this package.
package server
