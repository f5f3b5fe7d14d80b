package nodes

import (
	"fmt"
	"strconv"
	"time"
)

// Bytes returns a size for people, in powers of a thousand: "980 B", "1.2 MB", "34 GB".
func Bytes(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		value /= 1000
		if value < 999.5 {
			break
		}
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}

// Ago says how long before now t was: "2m3s ago". It is empty for the zero time and for one that is not set (1970).
func Ago(now, t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return ""
	}
	d := now.Sub(t).Round(time.Second)
	if d < 0 {
		return (-d).String() + " ahead"
	}
	return d.String() + " ago"
}
