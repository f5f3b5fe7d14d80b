// Package adjtime sets the clock of the machine (adjtimex(2)).
//
// The clock is the kernel's, for all processes and containers; setting it needs CAP_SYS_TIME. What the time should be is not decided
// here. Linux only; anything may import it that may import internal/sys.
package adjtime

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is the clock of the machine that runs this process.
type Kernel struct{}

// Step sets the clock forward by offset at once; a negative one sets it back. What is left of a slew is dropped.
func (Kernel) Step(offset time.Duration) error {
	return do(fmt.Sprintf("set the clock by %v", offset), still(), step(offset), synchronised())
}

// Slew does the same bit by bit, by at most half a millisecond in each second, so that no moment is left out or comes twice. A later
// call replaces what is left of it.
func (Kernel) Slew(offset time.Duration) error {
	return do(fmt.Sprintf("slew the clock by %v", offset), slew(offset), synchronised())
}

func do(what string, changes ...unix.Timex) error {
	for _, t := range changes {
		if _, err := unix.Adjtimex(&t); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// step adds an offset; the part below a second may not be negative.
func step(offset time.Duration) unix.Timex {
	seconds, rest := offset/time.Second, offset%time.Second
	if rest < 0 {
		seconds, rest = seconds-1, rest+time.Second
	}
	return unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO, Time: unix.Timeval{Sec: int64(seconds), Usec: int64(rest)}}
}

// slew is what adjtime(3) does, in microseconds.
func slew(offset time.Duration) unix.Timex {
	return unix.Timex{Modes: unix.ADJ_OFFSET_SINGLESHOT, Offset: offset.Microseconds()}
}

// still ends a slew.
func still() unix.Timex { return slew(0) }

// synchronised says that the clock is right: then the kernel also sets the clock that runs while the machine is off. It forgets that when
// it is not told for hours.
func synchronised() unix.Timex {
	return unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR}
}
