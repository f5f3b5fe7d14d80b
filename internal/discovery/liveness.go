package discovery

import "time"

// Times of failure detection. A machine that dies is Gone for everybody who reaches a built-in server after at most
// LeaseTTL + ConfirmAfter + judgeEvery, 7.5 s, and the way of a message; if a server that had the lease breaks before it has
// ended there, FreshFor is added, since the last word of that server is believed so long.
const (
	// LeaseTTL is how long a built-in server believes that a machine runs which does not renew its lease.
	LeaseTTL = 5 * time.Second
	// RenewEvery is how often leases are renewed, give or take a tenth. A lease outlives two renewals that are lost.
	RenewEvery = 1500 * time.Millisecond
	// FreshFor is how long after its last answer a built-in server's word counts. It is a little more than an interval
	// and a call that just makes it.
	FreshFor = 4500 * time.Millisecond
	// SettleAfter is how long a server must have been watched until the absence of a lease there means something: a server
	// that was restarted knows nothing until the machines have come back.
	SettleAfter = 5 * time.Second
	// ConfirmAfter is how long a machine is Suspect before it is Gone.
	ConfirmAfter = 2 * time.Second
	// FirstLeaseAfter is how long a machine that was never heard is Suspect before it is Gone. With SettleAfter it is less
	// than 10 s, so that who has just started knows as soon what the others know.
	FirstLeaseAfter = 4 * time.Second
)

// State is what an observer thinks of a machine. It is a mark, and never removes one.
type State uint8

const (
	// Unknown is the state of a machine that nobody has judged yet; no member of a view has it.
	Unknown State = iota
	// Alive: the machine holds a lease, or it has no leases and is registered.
	Alive
	// Suspect: it seems to hold none, or there is no server to ask.
	Suspect
	// Gone: it has not held any for long enough.
	Gone
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Evidence is what the servers say about a machine at one moment.
type Evidence uint8

const (
	// NoEvidence: no server that could know answers.
	NoEvidence Evidence = iota
	// Heard: a fresh server has a lease of the machine.
	Heard
	// Silent: no fresh server has one, and at least one of them has been watched for SettleAfter; or the machine's own
	// server has not answered for as long and there is no other to ask.
	Silent
)

// Mark is the state of a machine and what led to it. The zero Mark is that of a machine never judged.
type Mark struct {
	State State
	Since time.Time // when State began
	Heard time.Time // the last time of evidence Heard; zero if there was none
	// Silent is when the present row of Silent began; zero in any other.
	Silent time.Time
}

// Judge returns the mark that follows from m and the evidence at now, which must not go back from call to call. It is
// pure: how often it is called decides only how soon a change is seen.
//
// Silence makes Alive Suspect, and after ConfirmAfter of it without interruption Gone. Without evidence nobody becomes Gone:
// Alive becomes Suspect after LeaseTTL, and a Suspect's silence starts anew. Who is heard is Alive.
func Judge(m Mark, e Evidence, now time.Time) Mark {
	to := func(s State) {
		if m.State != s {
			m.State, m.Since = s, now
		}
	}
	if m.State == Unknown {
		to(Suspect)
	}
	switch e {
	case Heard:
		m.Heard, m.Silent = now, time.Time{}
		to(Alive)
	case NoEvidence:
		m.Silent = time.Time{}
		if m.State == Alive && now.Sub(m.Heard) >= LeaseTTL {
			to(Suspect)
		}
	case Silent:
		if m.Silent.IsZero() {
			m.Silent = now
		}
		if m.State == Alive {
			to(Suspect)
		}
		wait := ConfirmAfter
		if m.Heard.IsZero() {
			wait = FirstLeaseAfter
		}
		if now.Sub(m.Silent) >= wait {
			to(Gone)
		}
	}
	return m
}
