// Package daemon has what the unprivileged programs of a node do: apid, which is the door of the API, and trustd.
//
// They are the binary of PID 1 under other names, run as users of their own without capabilities, and hold no file open but
// sockets. What they need to know (their certificates, whom to believe, the node's names) they watch in the state of PID 1,
// through a socket that shows them these resources and no others; [APIDRefs] and [TrustdRefs] are the two lists. When PID 1 changes one, they
// follow within milliseconds and no connection ends for it, unless it was made for another mode.
//
// The programs end when their context does. They are started and restarted by the supervisor; internal/node imports this
// package for the lists, cmd/machined to run the programs.
package daemon
