// Package discovery tells a machine which others belong to its cluster, and which of them run.
//
// # Model
//
// A [Client] keeps one machine registered with several servers at once, watches all of them, and merges what they say into
// one [View]. Servers are of two kinds. A built-in one runs on a control-plane machine (package rendezvous) and serves this
// cluster only. An external one may be public and of anybody's making. Each has its own connection and fails for itself;
// any one of them is enough.
//
// A machine's [affiliate.Payload] is sealed; a server sees an id and bytes. A record describes a machine and lives 30 minutes;
// it is renewed at half of that. At built-in servers a machine has a lease as well, an affiliate of its own that lives
// [LeaseTTL] and is renewed each [RenewEvery]; its bytes stay the same, so renewing it wakes nobody. That a lease ends
// is what failure detection is made from: see [Judge]. It marks, and removes nobody.
//
// # Newest wins
//
// A record carries a [affiliate.Version] inside of the seal: which life of the machine, and which statement of that life. So
// the merge depends neither on the order of messages nor on clocks of others, and a server cannot pass off old for new. A machine that
// finds a later life of itself at a server, because its clock was set back, takes a still later one.
//
// # Removal
//
// A machine leaves the view by [Client.Leave] or [Client.Forget], when its records end at the servers, or 30 minutes after
// any server last had it. A server that merely does not know it, having been restarted, does not remove it.
//
// Leaving and forgetting put a tombstone in the place of the record at built-in servers: so a server that was out of reach
// and comes back with the old record does not bring the machine back, and neither does a late update of it. A tombstone
// names a life. The machine returns when it begins a new one: at a restart, or by [Client.Rejoin]; or with the old one
// after 30 minutes, since hiding a machine that runs would then be wrong. External servers are told to delete
// instead, because published clients do not know tombstones.
//
// Clients bring to built-in servers what those lack and others have, tombstones and records alike, so servers that were apart agree again
// without knowing each other.
//
// # What it does not do
//
// It opens no port, reads no config, and does not remove etcd members or Kubernetes Nodes: internal/ctrl/discoveryctrl
// does, which imports it.
package discovery
