//go:build race

package server

// onTheWire is how many random requests each method gets over a connection. The race detector makes those ten times as dear; without
// a connection each method gets a thousand in any case.
const onTheWire = 100
