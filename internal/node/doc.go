// Package node puts a node together: it is what PID 1 does.
//
// [Run] carries out the boot plan, makes the state, the controllers, the supervisor and the servers, joins them, and waits for
// a cause to end; then it carries out the shutdown plan. The order is in docs/arch/node.md. All logic is in the packages that
// it composes; what is here is wiring: which socket has which mode, which service waits for what, and what a call of the API
// that ends the machine sets in motion.
//
// It is the only package that knows all others. cmd/machined imports it.
package node
