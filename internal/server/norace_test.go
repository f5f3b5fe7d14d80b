//go:build !race

package server

// onTheWire is how many random requests each method gets over a connection.
const onTheWire = 1000
