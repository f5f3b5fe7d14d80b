package main

import (
	"runtime/debug"
	"time"

	"talos.internal/internal/sys/process"
)

// settleAfter is when a start is over: the API of a node answers after half a second, that of a machine in emulation after ten.
const settleAfter = 30 * time.Second

// How much garbage there may be, in percent of what is in use. These programs hold a few tens of MiB for ever, and memory is worth more
// than the collector's time; but a start makes everything at once, and the collector would go through a small heap again and again.
const (
	garbageAtStart = 200
	garbageLater   = 50
)

// settleLater gives back, once, the memory that only the start needed.
func settleLater(complain func(error)) {
	debug.SetGCPercent(garbageAtStart)
	time.AfterFunc(settleAfter, func() {
		debug.SetGCPercent(garbageLater)
		if err := process.Settle(); err != nil {
			complain(err)
		}
	})
}
