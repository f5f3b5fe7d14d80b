// Package trust is how a node without the key of the cluster's authority gets the certificate of its API: trustd, which runs on
// control-plane nodes and signs, and its client, which a worker uses.
//
// # The exchange
//
// A worker makes a key, and sends a certificate signing request to the SecurityService on [Port] of a control-plane node. The
// connection is TLS 1.3; the worker knows the server by the authorities of its machine config. The server knows the worker by the
// machine token alone, which it shows in the gRPC metadata under [TokenKey].
//
// # What a token is good for
//
// Whoever has the token is taken for a worker of the cluster. It gets a certificate for a server, for one day, with the addresses
// and names that it asks for and nothing else: no organisation (hence no role), no client usage, no authority. It cannot call
// anybody with it.
//
// The server does not compare the names with the address that the request comes from. A worker behind address translation comes
// from another one; and addresses that many nodes share, such as a load balancer's, are in the config of all of them. The address
// and the names are logged instead. So a token is a secret: with it, and a place on the path of the traffic, one can pretend to
// be a node towards its callers until the token is replaced.
//
// # What it does not do
//
// It does not know resources or machine configs: a [Source] gives the server what it signs with, so that it can run in a process
// without privileges. It renews nothing by itself. The command machined imports it, as trustd, and the controllers of secrets.
package trust
