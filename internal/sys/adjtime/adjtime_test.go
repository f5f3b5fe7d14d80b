package adjtime

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStep(t *testing.T) {
	for _, tc := range []struct {
		offset    time.Duration
		sec, nano int64
	}{
		{0, 0, 0}, {1500 * time.Millisecond, 1, 5e8}, {-1500 * time.Millisecond, -2, 5e8}, {-time.Second, -1, 0}, {-1, -1, 999999999}, {time.Hour, 3600, 0},
	} {
		got := step(tc.offset)
		if got.Time.Sec != tc.sec || got.Time.Usec != tc.nano || got.Modes != unix.ADJ_SETOFFSET|unix.ADJ_NANO {
			t.Errorf("step(%v) = %+v; want %d s and %d ns", tc.offset, got, tc.sec, tc.nano)
		}
	}
}

func TestSlew(t *testing.T) {
	if got := slew(-20 * time.Millisecond); got.Offset != -20000 || got.Modes != unix.ADJ_OFFSET_SINGLESHOT {
		t.Errorf("slew(-20ms) = %+v", got)
	}
	if got := synchronised(); got.Status&unix.STA_UNSYNC != 0 || got.Modes&unix.ADJ_STATUS == 0 {
		t.Errorf("synchronised() = %+v", got)
	}
}
