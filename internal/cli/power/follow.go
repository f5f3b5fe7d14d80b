package power

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/cli/nodes"
	"talos.internal/internal/cli/services"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
)

// ending is what a node that was told to go is waited for.
type ending uint8

const (
	backAgain  ending = iota // it runs again, and all on it that should
	backErased               // it runs again, perhaps without a config
	backProved               // it runs another version, which has proved itself
	gone                     // it does not answer any more
)

const (
	// between two looks at a node that does not answer.
	between = time.Second
	// glance is how long one look may take.
	glance = 5 * time.Second
	// silent is how many looks in a row have to fail before a node is taken for gone: a connection may break for a moment.
	silent = 3
)

// tracker follows one node.
type tracker struct {
	s    *nodes.Session
	node string
	end  ending
	say  func(text string)

	said string // the last text
	last string // what was last seen, for the error when the time is over
}

// follow asks every node and follows all at once until each has come to its end.
func follow(ctx context.Context, s *nodes.Session, end ending, w *waiting, ask func(ctx context.Context, c *client.Client) (string, error)) error {
	var (
		out     sync.Mutex
		failed  error
		running sync.WaitGroup
	)
	for _, node := range s.Nodes() {
		t := &tracker{s: s, node: node, end: end, last: "nothing", say: func(text string) {
			out.Lock()
			defer out.Unlock()
			if _, err := fmt.Fprintf(s.Env().Stdout, "%s: %s\n", node, nodes.Clean(text)); err != nil && failed == nil {
				failed = err
			}
		}}
		running.Go(func() {
			within, cancel := context.WithTimeout(ctx, w.timeout)
			defer cancel()
			err := t.run(within, w, ask)
			if err != nil && ctx.Err() == nil && within.Err() != nil {
				err = fmt.Errorf("gave up after %s: waited for it to %s, and last saw: %s", w.timeout, t.aim(), t.last)
			}
			if err != nil {
				s.Fail(node, err)
			}
		})
	}
	running.Wait()
	return failed
}

// aim completes "waited for it to".
func (t *tracker) aim() string {
	return map[ending]string{backAgain: "be back and ready", backErased: "be back", backProved: "run the other version, and that to prove itself", gone: "be off"}[t.end]
}

// tell prints what is seen, if it is not what was seen before.
func (t *tracker) tell(format string, args ...any) {
	t.last = nodes.OneLine(fmt.Sprintf(format, args...))
	if t.last != t.said {
		t.said = t.last
		t.say(t.last)
	}
}

func (t *tracker) run(ctx context.Context, w *waiting, ask func(ctx context.Context, c *client.Client) (string, error)) error {
	before, err := t.bootID(ctx)
	if err != nil {
		return fmt.Errorf("read the boot ID: %w", err)
	}
	if w.debug {
		stop := t.debug(ctx)
		defer stop()
	}
	if w.drain > 0 {
		d, err := t.door(ctx, w.drain)
		if err != nil {
			return err
		}
		if err := d.shut(ctx); err != nil {
			return fmt.Errorf("it goes on as it was: %w", err)
		}
		return errors.Join(t.away(ctx, before, ask), d.open(ctx))
	}
	return t.away(ctx, before, ask)
}

// away asks the node to go and follows it to its end.
func (t *tracker) away(ctx context.Context, before string, ask func(ctx context.Context, c *client.Client) (string, error)) error {
	var old runtime.UpgradeStatus
	if t.end == backProved {
		var err error
		if old, err = spec[runtime.UpgradeStatus](ctx, t, runtime.UpgradeStatusID); err != nil {
			return fmt.Errorf("read what came of the last upgrade: %w", err)
		}
	}
	actor, err := nodes.One(ctx, t.s, t.node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (string, error) { return ask(ctx, c) })
	if err != nil {
		return err
	}
	t.tell("begun")
	if actor != "" {
		if err := t.events(ctx, actor, before); err != nil {
			return err
		}
	}
	switch t.end {
	case gone:
		return t.untilGone(ctx)
	case backProved:
		if err := t.untilBack(ctx, before); err != nil {
			return err
		}
		return t.outcome(ctx, old)
	case backAgain, backErased:
	}
	return t.untilBack(ctx, before)
}

// debug prints the kernel's log of the node to standard error until it is stopped.
func (t *tracker) debug(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		lines := nodes.NewLines(t.s.Env().Stderr)
		for data, err := range nodes.StreamOne(ctx, t.s, t.node, 0, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
			return c.Machine().Dmesg(ctx, &machinepb.DmesgRequest{Follow: true, Tail: true})
		}) {
			// A log that cannot be had or written is no reason to stop watching the node; its end is what ends this.
			if err != nil || lines.Write(t.node, data.GetBytes()) != nil {
				return
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// events tells what the actor does on the node until the node does not say more, or is seen to have gone: a machine that restarts need not
// end its connections, and nobody would tell. before is its boot ID. The error is one that the node reports.
func (t *tracker) events(ctx context.Context, actor, before string) error {
	listening, hangUp := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		defer hangUp()
		t.untilAway(listening, before)
	})
	defer watch.Wait()
	defer hangUp()
	for e, err := range nodes.StreamOne(listening, t.s, t.node, 0, func(ctx context.Context, c *client.Client, _ string) (grpc.ServerStreamingClient[machinepb.Event], error) {
		return c.Machine().Events(ctx, &machinepb.EventsRequest{TailEvents: -1, WithActorId: actor})
	}) {
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			if listening.Err() == nil {
				t.tell("does not answer: %s", client.Explain(err))
			}
			return nil // which is what should happen
		}
		kind, source, message := services.Describe(e)
		t.tell("%s %s: %s", strings.ToLower(strings.TrimSuffix(kind, "Event")), source, message)
		if sequence := new(machinepb.SequenceEvent); e.GetData().MessageIs(sequence) && e.GetData().UnmarshalTo(sequence) == nil && sequence.GetError() != nil {
			return fmt.Errorf("%s did not work: %s", sequence.GetSequence(), sequence.GetError().GetMessage())
		}
	}
	return nil
}

// untilAway waits until the node does not answer any more or runs anew.
func (t *tracker) untilAway(ctx context.Context, before string) {
	for failures := 0; failures < silent; {
		if pause(ctx) != nil {
			return
		}
		switch id, err := t.bootID(ctx); {
		case err != nil:
			failures++
		case id != before:
			return
		default:
			failures = 0
		}
	}
}

// pause waits between two looks.
func pause(ctx context.Context) error {
	timer := time.NewTimer(between)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

func (t *tracker) untilGone(ctx context.Context) error {
	for failures := 0; failures < silent; {
		if _, err := t.bootID(ctx); err != nil {
			failures++
			t.tell("does not answer: %s", client.Explain(err))
		} else {
			failures = 0
			t.tell("still answers")
		}
		if failures < silent {
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
	t.tell("is off")
	return nil
}

// untilBack waits until the node runs another boot than before and is ready.
func (t *tracker) untilBack(ctx context.Context, before string) error {
	booted, away := false, false
	for {
		id, err := t.bootID(ctx)
		switch {
		case err != nil && t.end == backErased && t.unconfigured(ctx, err):
			t.tell("is back, and waits for a config")
			return nil
		case err != nil:
			away = true
			t.tell("does not answer: %s", client.Explain(err))
		case !booted && id == before && (id != "" || !away):
			t.tell("still runs the old boot")
		default:
			booted = true
			ready, err := t.ready(ctx)
			if ready {
				t.tell("is back and ready")
				return nil
			}
			if err != nil {
				t.tell("is back; %s", client.Explain(err))
			}
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// unconfigured reports whether the node runs without a config: its own address answers to anybody.
func (t *tracker) unconfigured(ctx context.Context, err error) bool {
	if errors.Is(err, client.CauseMaintenance) {
		return true
	}
	c, err := client.New(client.Options{Endpoints: []string{t.node}, Maintenance: &client.Maintenance{}})
	if err != nil {
		return false // the node is known to the endpoint by a name that means nothing here
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	_, err = client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
	return err == nil
}

// spec reads one resource of the node. What is not there is zero.
func spec[S resource.Spec](ctx context.Context, t *tracker, id string) (S, error) {
	kind := resource.KindOf[S]()
	return nodes.One(ctx, t.s, t.node, glance, func(ctx context.Context, c *client.Client, _ string) (S, error) {
		var out S
		r, err := c.State().Get(ctx, &statepb.GetRequest{Namespace: kind.Namespace, Type: kind.Type, Id: id})
		if status.Code(err) == codes.NotFound {
			return out, nil
		}
		if err == nil {
			err = yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &out)
		}
		return out, err
	})
}

func (t *tracker) bootID(ctx context.Context) (string, error) {
	s, err := spec[runtime.BootID](ctx, t, runtime.BootIDID)
	return s.Value, err
}

// ready reports whether all runs on the node that should; if not, the error says what does not.
func (t *tracker) ready(ctx context.Context) (bool, error) {
	m, err := spec[runtime.MachineStatus](ctx, t, runtime.MachineStatusID)
	if err != nil {
		return false, err
	}
	if m.Status.Ready && m.Stage == runtime.StageRunning {
		return true, nil
	}
	var why []string
	for _, c := range m.Status.UnmetConditions {
		why = append(why, c.Name+": "+c.Reason)
	}
	if len(why) == 0 {
		return false, fmt.Errorf("its stage is %s", m.Stage)
	}
	return false, fmt.Errorf("its stage is %s; %s", m.Stage, strings.Join(why, "; "))
}
