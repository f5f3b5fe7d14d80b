package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefaultLimit is how many nodes [Each] asks at a time.
const DefaultLimit = 32

// Result is what one node answered.
type Result[T any] struct {
	Node string
	// Value counts only if Err is nil, unless the call says otherwise.
	Value T
	Err   error
}

// Option changes [Each] or [EachMessage].
type Option func(*options)

type options struct {
	limit   int
	timeout time.Duration
}

// WithLimit is how many nodes are asked at a time; zero or less is all of them at once. EachMessage has no limit.
func WithLimit(n int) Option { return func(o *options) { o.limit = n } }

// WithTimeout is how long one node may take, from the start of its call; zero or less is as long as the context.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// TimeoutError is a node that did not answer in time.
type TimeoutError struct {
	// Node is empty for the endpoint itself.
	Node string
	// After is the time that the call had.
	After time.Duration
	// Waiting is what it waited for at the end, as part of a sentence.
	Waiting string
	// Err is the error of the call. It says more if there was no connection: see [ConnectionError].
	Err error
}

// Error names the time, what was waited for, and the cause if that is more than that the time was over.
func (e *TimeoutError) Error() string {
	text := fmt.Sprintf("no answer in %s: waited for %s", e.After, e.Waiting)

	if connection := (*ConnectionError)(nil); errors.As(e.Err, &connection) {
		text += ": " + connection.Error()
	}

	return text
}

// Unwrap returns Err.
func (e *TimeoutError) Unwrap() error { return e.Err }

// Is reports that it is [context.DeadlineExceeded], which a status of gRPC would not.
func (e *TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// GRPCStatus has the code DeadlineExceeded.
func (e *TimeoutError) GRPCStatus() *status.Status {
	return status.New(codes.DeadlineExceeded, e.Error())
}

// Each makes one call for each node and returns the results in the order of nodes, once every call has returned.
//
// call gets a context with the node ([WithNode]; an empty node is the endpoint itself) and the time limit, which it must
// heed. It is called from several goroutines, [DefaultLimit] at a time. A node that fails does not disturb the others. When
// ctx ends, nodes whose turn has not come are not asked, and their error is ctx's cause. The error of a call that ran
// into the time limit is a [*TimeoutError]; all other errors are those of call, unchanged. A node that is there twice is
// asked twice.
func Each[T any](ctx context.Context, nodes []string, call func(ctx context.Context, node string) (T, error), opts ...Option) []Result[T] {
	o := options{limit: DefaultLimit}
	for _, set := range opts {
		set(&o)
	}

	if o.limit <= 0 {
		o.limit = len(nodes)
	}

	var (
		results = make([]Result[T], len(nodes))
		next    = make(chan int)
		running sync.WaitGroup
	)

	for range min(o.limit, len(nodes)) {
		running.Go(func() {
			for i := range next {
				results[i] = askOne(ctx, nodes[i], o.timeout, call)
			}
		})
	}

	for i := range nodes {
		next <- i
	}

	close(next)
	running.Wait()

	return results
}

func askOne[T any](ctx context.Context, node string, timeout time.Duration, call func(context.Context, string) (T, error)) Result[T] {
	if ctx.Err() != nil {
		return Result[T]{Node: node, Err: context.Cause(ctx)}
	}

	turn := newTurn(node, timeout)

	ctx, cancel := turn.context(ctx)
	defer cancel()

	value, err := call(ctx, node)

	return Result[T]{Node: node, Value: value, Err: turn.late(ctx, err)}
}

// turn is the time in which one node is asked.
type turn struct {
	node     string
	timeout  time.Duration
	start    time.Time
	progress progress
}

func newTurn(node string, timeout time.Duration) *turn {
	t := &turn{node: node, timeout: timeout, start: time.Now()}
	t.progress.set("the call, which has not asked the node anything")

	return t
}

// context is for the call; the caller cancels it.
func (t *turn) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(WithNode(ctx, t.node), progressKey{}, &t.progress)
	if t.timeout > 0 {
		return context.WithTimeout(ctx, t.timeout)
	}

	return context.WithCancel(ctx)
}

// late makes a TimeoutError of err if the time of the turn is what ended it. A server that says that its own time was
// over is not that.
//
// It asks the clock and not ctx.Err: a server knows the deadline too, and its end of the stream may arrive before the
// timer of the context has run.
func (t *turn) late(ctx context.Context, err error) error {
	deadline, ok := ctx.Deadline()
	if err == nil || !ok || time.Now().Before(deadline) {
		return err
	}

	if status.Code(err) != codes.DeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}

	return &TimeoutError{
		Node: t.node, After: deadline.Sub(t.start).Round(time.Millisecond), Waiting: t.progress.String(), Err: err,
	}
}

// Message is one message of the stream of one node.
type Message[M any] struct {
	Node  string
	Value M
}

// EachMessage opens one stream for each node, all at once, and merges them: messages of one node stay in their order,
// between nodes there is none. A stream that ends well just has no more messages; one that fails yields its error once,
// with the node in the Message, and the others go on. The sequence ends when all streams have.
//
// open gets a context as the call of [Each] does, and the time limit is for the whole stream. A stream waits while its
// message is not taken, so that nothing piles up. When the loop is left, the streams are cancelled, and before it goes on
// all of them have ended: nothing is left behind. To range again opens the streams again.
func EachMessage[M any](ctx context.Context, nodes []string, open func(ctx context.Context, node string) (grpc.ServerStreamingClient[M], error), opts ...Option) iter.Seq2[Message[*M], error] {
	var o options
	for _, set := range opts {
		set(&o)
	}

	type item struct {
		message Message[*M]
		err     error
		ended   bool // no more of this node
	}

	return func(yield func(Message[*M], error) bool) {
		ctx, cancel := context.WithCancel(ctx)

		var (
			items   = make(chan item)
			left    = make(chan struct{})
			running sync.WaitGroup
		)

		// Deferred, so that it holds for a panic in the loop as well.
		defer func() {
			close(left)
			cancel()
			running.Wait()
		}()

		for _, node := range nodes {
			running.Go(func() {
				// Not ended by ctx: when that ends from outside, the loop still is there and is told so.
				send := func(value *M, err error, ended bool) bool {
					select {
					case items <- item{message: Message[*M]{Node: node, Value: value}, err: err, ended: ended}:
						return true
					case <-left:
						return false
					}
				}

				err := follow(ctx, node, o.timeout, open, func(value *M) bool { return send(value, nil, false) })
				send(nil, err, true)
			})
		}

		// Each stream says at its end that it has ended, and the loop counts: so there is no goroutine to close items.
		for streams := len(nodes); streams > 0; {
			it := <-items

			if it.ended {
				streams--
			}

			if (it.err != nil || !it.ended) && !yield(it.message, it.err) {
				return
			}
		}
	}
}

// follow passes on the messages of one stream until it ends or send does not want more.
func follow[M any](ctx context.Context, node string, timeout time.Duration, open func(context.Context, string) (grpc.ServerStreamingClient[M], error), send func(*M) bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}

	turn := newTurn(node, timeout)

	ctx, cancel := turn.context(ctx)
	defer cancel()

	s, err := open(ctx, node)
	if err != nil {
		return turn.late(ctx, err)
	}

	for {
		message, err := s.Recv()

		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return turn.late(ctx, err)
		case !send(message):
			return nil
		}
	}
}
