package layer2

import "time"

const (
	// agesAfter is the time after which an address that sent nothing is forgotten (IEEE 802.1D, table 7-5).
	agesAfter = 5 * time.Minute
	// mostAddresses bounds the table. A machine that invents addresses fills it, and then the others' are flooded.
	mostAddresses = 4096
)

// place is where an address was seen.
type place struct {
	port string
	seen time.Time
}

// table knows which address is behind which port.
type table map[mac]place

// learn notes that an address sent something from a port.
func (t table) learn(m mac, port string, now time.Time) {
	if m.group() { // no station has such an address
		return
	}
	if _, known := t[m]; !known && len(t) >= mostAddresses {
		for m, p := range t {
			if now.Sub(p.seen) > agesAfter {
				delete(t, m)
			}
		}
		if len(t) >= mostAddresses {
			return
		}
	}
	t[m] = place{port, now}
}

// lookup returns the port of an address; false if it is not known, or is one of several stations.
func (t table) lookup(m mac, now time.Time) (string, bool) {
	p, ok := t[m]
	return p.port, ok && now.Sub(p.seen) <= agesAfter
}

// forget removes the addresses of a port.
func (t table) forget(port string) {
	for m, p := range t {
		if p.port == port {
			delete(t, m)
		}
	}
}
