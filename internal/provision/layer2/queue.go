package layer2

import (
	"bufio"
	"container/heap"
	"io"
	"time"
)

// waiting is a frame on its way to a port.
type waiting struct {
	frame Frame
	due   time.Time
	turn  uint64 // frames that are due at once keep their order
}

type schedule []waiting

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	if !s[i].due.Equal(s[j].due) {
		return s[i].due.Before(s[j].due)
	}
	return s[i].turn < s[j].turn
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(waiting)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	w := (*s)[last]
	(*s)[last] = waiting{}
	*s = (*s)[:last]
	return w
}

// mostWaiting is how many frames wait for one port. What comes on top is lost.
const mostWaiting = 2048

// write writes the frames of in to w when they are due, until in is closed or w fails. Frames that are due are written
// together, so that a burst costs few system calls. free is called for each frame that no longer waits.
func write(in <-chan waiting, w io.Writer, free func()) error {
	var (
		late  schedule
		turn  uint64
		timer = time.NewTimer(0)
		out   = bufio.NewWriterSize(w, 256<<10)
	)
	defer timer.Stop()
	for {
		// One that is not due waits in the schedule; so does one that came after it and is due at the same time.
		for len(late) > 0 && !late[0].due.After(time.Now()) {
			f := heap.Pop(&late).(waiting).frame
			free()
			if _, err := out.Write(f); err != nil {
				return err
			}
		}
		var next <-chan time.Time
		if len(late) > 0 {
			timer.Reset(time.Until(late[0].due))
			next = timer.C
		}
		var f waiting
		var ok bool
		select {
		case f, ok = <-in:
		default: // nothing more at once
			if err := out.Flush(); err != nil {
				return err
			}
			select {
			case f, ok = <-in:
			case <-next:
				continue
			}
		}
		if !ok {
			return out.Flush()
		}
		turn++
		f.turn = turn
		heap.Push(&late, f)
	}
}
