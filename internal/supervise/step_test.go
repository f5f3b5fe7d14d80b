package supervise

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func (a activity) String() string {
	return [...]string{"resting", "pausing", "waiting", "preparing", "running"}[a]
}

// show renders a model and effects as one line of a table.
func show(m model, effects []effect) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v/%v", m.State, m.Activity)
	for _, flag := range []struct {
		set  bool
		name string
	}{{m.Again, "again"}, {m.Success, "success"}, {m.Killed, "killed"}, {m.Failures > 0, fmt.Sprintf("failures=%d", m.Failures)}} {
		if flag.set {
			b.WriteString(" " + flag.name)
		}
	}
	for _, e := range effects {
		switch e.kind {
		case doTell:
			fmt.Fprintf(&b, "; %v %q", e.state, e.message)
		case doBegin:
			fmt.Fprintf(&b, "; begin %v", e.activity)
			if e.delay > 0 {
				fmt.Fprintf(&b, " for %v", e.delay)
			}
		case doCancel:
			b.WriteString("; cancel")
		case doArm:
			fmt.Fprintf(&b, "; arm %v", e.delay)
		case doKill:
			b.WriteString("; kill")
		}
	}
	return b.String()
}

func TestStepDecidesWhatFollows(t *testing.T) {
	boom := errors.New("boom")
	stop := input{kind: orderStop, grace: time.Second}
	plain := rules{backoff: DefaultBackoff}
	needy := rules{backoff: DefaultBackoff, needs: "network", prepares: true}
	running1 := model{State: Running, Activity: running}
	for _, tc := range []struct {
		name  string
		rules rules
		m     model
		in    input
		want  string
	}{
		{"a start begins to run what needs nothing", plain, model{}, input{kind: orderStart},
			`Starting/running; Starting "Starting"; begin running`},
		{"a start waits first for what is needed", needy, model{}, input{kind: orderStart},
			`Waiting/waiting; Waiting "Waiting for network"; begin waiting`},
		{"after the waiting it is prepared", needy, model{State: Waiting, Activity: waiting}, input{kind: sawEnd},
			`Preparing/preparing; Preparing "Preparing"; begin preparing`},
		{"after the preparation it runs", needy, model{State: Preparing, Activity: preparing}, input{kind: sawEnd},
			`Starting/running; Starting "Starting"; begin running`},
		{"the runner says when it is there", plain, model{State: Starting, Activity: running}, input{kind: sawStarted, message: "PID 7"},
			`Running/running; Running "PID 7"`},
		{"it says so once", plain, running1, input{kind: sawStarted, message: "PID 7"}, `Running/running`},
		{"it says so too late when it is stopping", plain, model{State: Stopping, Activity: running}, input{kind: sawStarted, message: "PID 7"},
			`Stopping/running`},
		{"what is still needed is told", needy, model{State: Waiting, Activity: waiting}, input{kind: sawNeeds, message: "time"},
			`Waiting/waiting; Waiting "Waiting for time"`},
		{"but not while it stops", needy, model{State: Stopping, Activity: waiting}, input{kind: sawNeeds, message: "time"},
			`Stopping/waiting`},
		{"a second start changes nothing", plain, running1, input{kind: orderStart}, `Running/running`},
		{"a start cuts a pause short", plain, model{State: Waiting, Activity: pausing, Failures: 5}, input{kind: orderStart},
			`Waiting/pausing; cancel`},
		{"a pause that was cut short is followed by a start", plain, model{State: Waiting, Activity: pausing}, input{kind: sawEnd, err: boom},
			`Starting/running; Starting "Starting"; begin running`},

		{"a first crash is followed by a short pause", plain, running1, input{kind: sawEnd, err: boom},
			`Waiting/pausing failures=1; Failed "boom"; Waiting "Restarting in 100ms: boom (1 in a row)"; begin pausing for 100ms`},
		{"a loop of crashes by a long one", plain, model{State: Running, Activity: running, Failures: 9}, input{kind: sawEnd, err: boom},
			`Waiting/pausing failures=10; Failed "boom"; Waiting "Restarting in 5s: boom (10 in a row)"; begin pausing for 5s`},
		{"a long run ends the loop", plain, model{State: Running, Activity: running, Failures: 9}, input{kind: sawEnd, err: boom, ran: 10 * time.Second},
			`Waiting/pausing failures=1; Failed "boom"; Waiting "Restarting in 100ms: boom (1 in a row)"; begin pausing for 100ms`},
		{"long preparing does not", needy, model{State: Preparing, Activity: preparing, Failures: 9}, input{kind: sawEnd, err: boom, ran: time.Minute},
			`Waiting/pausing failures=10; Failed "boom"; Waiting "Restarting in 5s: boom (10 in a row)"; begin pausing for 5s`},
		{"always is also after a good end", plain, running1, input{kind: sawEnd},
			`Waiting/pausing failures=1; Finished "Ended without being told to"; Waiting "Restarting in 100ms: ended without being told to (1 in a row)"; begin pausing for 100ms`},
		{"until success ends with it", rules{restart: UntilSuccess, backoff: DefaultBackoff}, model{State: Running, Activity: running, Failures: 3}, input{kind: sawEnd},
			`Finished/resting success; Finished "Finished"`},
		{"until success goes on before it", rules{restart: UntilSuccess, backoff: DefaultBackoff}, running1, input{kind: sawEnd, err: boom},
			`Waiting/pausing failures=1; Failed "boom"; Waiting "Restarting in 100ms: boom (1 in a row)"; begin pausing for 100ms`},
		{"once is once: a crash", rules{restart: Once}, running1, input{kind: sawEnd, err: boom}, `Failed/resting; Failed "boom"`},
		{"once is once: a good end", rules{restart: Once}, running1, input{kind: sawEnd}, `Finished/resting success; Finished "Finished"`},
		{"a preparation may skip", needy, model{State: Preparing, Activity: preparing}, input{kind: sawEnd, err: Skip("no udev in a container")},
			`Skipped/resting; Skipped "no udev in a container"`},
		{"what is skipped can be started", plain, model{State: Skipped}, input{kind: orderStart}, `Starting/running; Starting "Starting"; begin running`},
		{"a start forgets failures", plain, model{State: Failed, Failures: 4}, input{kind: orderStart}, `Starting/running; Starting "Starting"; begin running`},

		{"a stop cancels and gives it time", plain, running1, stop, `Stopping/running; Stopping "Stopping"; cancel; arm 1s`},
		{"a stop of what rests is nothing", plain, model{State: Failed}, stop, `Failed/resting`},
		{"a stop ends a pause", plain, model{State: Waiting, Activity: pausing}, stop, `Stopping/pausing; Stopping "Stopping"; cancel; arm 1s`},
		{"a second stop only changes the time", plain, model{State: Stopping, Activity: running, Again: true}, stop, `Stopping/running; arm 1s`},
		{"it is killed when the time is over", plain, model{State: Stopping, Activity: running}, input{kind: sawGraceEnd, grace: time.Second},
			`Stopping/running killed; Stopping "Did not stop within 1s, killing it"; kill`},
		{"it is killed once", plain, model{State: Stopping, Activity: running, Killed: true}, input{kind: sawGraceEnd, grace: time.Second},
			`Stopping/running killed`},
		{"a timer that comes late kills nothing", plain, running1, input{kind: sawGraceEnd}, `Running/running`},
		{"what was stopped is not restarted", plain, model{State: Stopping, Activity: running}, input{kind: sawEnd, err: boom},
			`Finished/resting; Finished "Stopped: boom"`},
		{"nor does what was killed", plain, model{State: Stopping, Activity: running, Killed: true}, input{kind: sawEnd, err: boom},
			`Finished/resting killed; Finished "Killed"`},
		{"a start while stopping comes after it", plain, model{State: Stopping, Activity: running}, input{kind: orderStart}, `Stopping/running again`},
		{"and is done then", plain, model{State: Stopping, Activity: running, Again: true, Failures: 3}, input{kind: sawEnd},
			`Starting/running; Finished "Stopped"; Starting "Starting"; begin running`},
		{"a restart stops and starts again", plain, running1, input{kind: orderRestart, grace: time.Second},
			`Stopping/running again; Stopping "Stopping for a restart"; cancel; arm 1s`},
		{"a restart of what rests starts it", plain, model{State: Finished, Success: true}, input{kind: orderRestart},
			`Starting/running; Starting "Starting"; begin running`},
		{"an end that nobody waits for is nothing", plain, model{State: Finished}, input{kind: sawEnd}, `Finished/resting`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := show(tc.rules.step(tc.m, tc.in)); got != tc.want {
				t.Errorf("step(%+v, %+v) =\n%s; want\n%s", tc.m, tc.in, got, tc.want)
			}
		})
	}
}

// TestNoActivityBeginsBesideAnother walks through every state that the inputs can lead to.
func TestNoActivityBeginsBesideAnother(t *testing.T) {
	inputs := []input{
		{kind: orderStart}, {kind: orderStop, grace: time.Second}, {kind: orderRestart, grace: time.Second}, {kind: sawNeeds, message: "x"},
		{kind: sawStarted, message: "x"}, {kind: sawEnd}, {kind: sawEnd, err: errors.New("x")}, {kind: sawEnd, err: Skip("x")},
		{kind: sawEnd, ran: time.Hour, err: errors.New("x")}, {kind: sawGraceEnd},
	}
	for _, restart := range []Restart{Always, UntilSuccess, Once} {
		r := rules{restart: restart, backoff: DefaultBackoff, needs: "x", prepares: true}
		seen := map[model]bool{}
		todo := []model{{}}
		for len(todo) > 0 {
			m := todo[0]
			todo = todo[1:]
			if seen[m] {
				continue
			}
			seen[m] = true
			for _, in := range inputs {
				next, effects := r.step(m, in)
				begins := 0
				for _, e := range effects {
					if e.kind == doBegin {
						begins++
					}
					if (e.kind == doCancel || e.kind == doKill || e.kind == doArm) && m.Activity == resting {
						t.Errorf("%v: step(%+v, %+v) touches an activity, and there is none", restart, m, in)
					}
				}
				if begins > 1 || begins == 1 && in.kind != sawEnd && m.Activity != resting {
					t.Errorf("%v: step(%+v, %+v) begins an activity beside another", restart, m, in)
				}
				atRest := next.State == Initialized || next.State >= Finished
				if atRest != (next.Activity == resting) {
					t.Errorf("%v: step(%+v, %+v) = %+v; state and activity disagree", restart, m, in, next)
				}
				if next.Failures <= 2 {
					todo = append(todo, next)
				}
			}
		}
		if len(seen) < 15 {
			t.Fatalf("%v: saw %d models; the walk has lost its way", restart, len(seen))
		}
	}
}

func TestBackoffDoublesUpToItsMaximum(t *testing.T) {
	var got []string
	for n := 1; n <= 8; n++ {
		got = append(got, DefaultBackoff.pause(n).String())
	}
	if got, want := strings.Join(got, " "), "100ms 200ms 400ms 800ms 1.6s 3.2s 5s 5s"; got != want {
		t.Errorf("DefaultBackoff.pause(1…8) = %s; want %s", got, want)
	}
	if got := (Backoff{First: 8 * time.Second}).orDefault().pause(1); got != 5*time.Second {
		t.Errorf("pause(1) of a first pause above the maximum = %v; want 5s", got)
	}
}
