package supervise

import (
	"fmt"
	"time"
)

// State is where a service is. The names are those of the published API.
type State uint8

// The states. Initialized, Finished, Failed and Skipped are at rest: nothing of the service is under way.
const (
	Initialized State = iota // loaded, never started
	Waiting                  // for what it needs, or for the time of the next try
	Preparing                // its Prepare runs
	Starting                 // its Runner was called and has not said that the service is there
	Running                  // it is there
	Stopping                 // told to stop, not gone yet
	Finished                 // it ended well, or was stopped
	Failed                   // it ended with an error
	Skipped                  // this machine does not need it
)

var stateNames = [...]string{"Initialized", "Waiting", "Preparing", "Starting", "Running", "Stopping", "Finished", "Failed", "Skipped"}

// String returns the name of the state.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// activity is what of a service is under way.
type activity uint8

const (
	resting activity = iota
	pausing          // until the time of the next try
	waiting          // for services and conditions
	preparing
	running
)

// model is what step knows of a service.
type model struct {
	State    State
	Activity activity
	// Again: when it has stopped, start it.
	Again bool
	// Success: it is Finished because it ended well, and not by an order.
	Success bool
	// Failures are the failed runs in a row.
	Failures int
	// Killed: the time to stop was over.
	Killed bool
}

// rules are what a service's description says about changes of state.
type rules struct {
	restart  Restart
	backoff  Backoff
	needs    string // all that it waits for, for people; empty if nothing
	prepares bool
}

type inputKind uint8

const (
	orderStart inputKind = iota
	orderStop            // within input.grace
	orderRestart
	sawNeeds    // what is still waited for is input.message
	sawStarted  // the runner says so: input.message
	sawEnd      // of the activity, after input.ran, with input.err
	sawGraceEnd // the time to stop is over
)

type input struct {
	kind    inputKind
	message string
	err     error
	ran     time.Duration
	grace   time.Duration
}

type effectKind uint8

const (
	doTell   effectKind = iota // record the event effect.state, effect.message
	doBegin                    // effect.activity; pausing for effect.delay
	doCancel                   // the activity
	doArm                      // sawGraceEnd after effect.delay, in place of an earlier one
	doKill                     // by force
)

type effect struct {
	kind     effectKind
	state    State
	message  string
	activity activity
	delay    time.Duration
}

// step decides what follows from in for a service that is at m. It does nothing itself.
//
// The only way out of an activity is its sawEnd: no effect begins one while another is under way.
func (r rules) step(m model, in input) (model, []effect) {
	s := stepping{rules: r, m: m}
	switch in.kind {
	case orderStart:
		s.start()
	case orderStop:
		s.stop(in.grace, false)
	case orderRestart:
		if m.Activity == resting {
			s.start()
		} else {
			s.stop(in.grace, true)
		}
	case sawNeeds:
		if m.Activity == waiting && m.State == Waiting {
			s.tell(Waiting, "Waiting for "+in.message)
		}
	case sawStarted:
		if m.State == Starting {
			s.tell(Running, in.message)
		}
	case sawEnd:
		s.end(in)
	case sawGraceEnd:
		if m.State == Stopping && !m.Killed {
			s.m.Killed = true
			s.tell(Stopping, fmt.Sprintf("Did not stop within %v, killing it", in.grace))
			s.do(effect{kind: doKill})
		}
	}
	return s.m, s.out
}

type stepping struct {
	rules
	m   model
	out []effect
}

func (s *stepping) do(e effect) { s.out = append(s.out, e) }

func (s *stepping) tell(to State, message string) {
	s.m.State = to
	s.do(effect{kind: doTell, state: to, message: message})
}

func (s *stepping) begin(a activity, to State, message string, delay time.Duration) {
	s.m.Activity = a
	s.tell(to, message)
	s.do(effect{kind: doBegin, activity: a, delay: delay})
}

func (s *stepping) start() {
	switch {
	case s.m.Activity == resting:
		s.m.Failures, s.m.Success = 0, false
		s.beginWaiting()
	case s.m.State == Stopping:
		s.m.Again = true
	case s.m.Activity == pausing:
		// Somebody wants it now: the pause ends, and with it the memory of failures.
		s.m.Failures = 0
		s.do(effect{kind: doCancel})
	}
}

func (s *stepping) stop(grace time.Duration, again bool) {
	if s.m.Activity == resting {
		return
	}
	s.m.Again = again
	if s.m.State != Stopping {
		message := "Stopping"
		if again {
			message = "Stopping for a restart"
		}
		s.m.Killed = false
		s.tell(Stopping, message)
		s.do(effect{kind: doCancel})
	}
	s.do(effect{kind: doArm, delay: grace})
}

func (s *stepping) beginWaiting() {
	if s.needs == "" {
		s.beginPreparing()
		return
	}
	s.begin(waiting, Waiting, "Waiting for "+s.needs, 0)
}

func (s *stepping) beginPreparing() {
	if !s.prepares {
		s.begin(running, Starting, "Starting", 0)
		return
	}
	s.begin(preparing, Preparing, "Preparing", 0)
}

// end follows the end of the activity.
func (s *stepping) end(in input) {
	was := s.m.Activity
	s.m.Activity = resting
	switch {
	case was == resting:
	case s.m.State == Stopping:
		s.stopped(in)
	case was == pausing:
		s.beginWaiting()
	case skipped(in.err):
		s.tell(Skipped, in.err.Error())
	case was == waiting && in.err == nil:
		s.beginPreparing()
	case was == preparing && in.err == nil:
		s.begin(running, Starting, "Starting", 0)
	default:
		s.ended(in, was)
	}
}

func (s *stepping) stopped(in input) {
	message := "Stopped"
	switch {
	case s.m.Killed:
		message = "Killed"
	case in.err != nil:
		message = "Stopped: " + in.err.Error()
	}
	s.tell(Finished, message)
	if s.m.Again {
		s.m.Again = false
		s.m.Failures = 0
		s.beginWaiting()
	}
}

// ended follows a run that ended by itself, or something before it that failed.
func (s *stepping) ended(in input, was activity) {
	why := "ended without being told to"
	switch {
	case in.err != nil:
		why = in.err.Error()
		s.tell(Failed, why)
	case s.restart == Always:
		s.tell(Finished, "Ended without being told to")
	default:
		s.m.Success = true
		s.m.Failures = 0
		s.tell(Finished, "Finished")
	}
	if s.restart == Once || s.restart == UntilSuccess && in.err == nil {
		return
	}
	if was == running && in.ran >= s.backoff.Stable {
		s.m.Failures = 0
	}
	s.m.Failures++
	pause := s.backoff.pause(s.m.Failures)
	s.begin(pausing, Waiting, fmt.Sprintf("Restarting in %v: %s (%d in a row)", pause, why, s.m.Failures), pause)
}
