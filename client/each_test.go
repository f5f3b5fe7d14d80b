package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/google/go-cmp/cmp"

	"talos.internal/api/commonpb"
)

var errBroken = errors.New("broken")

func TestEachKeepsTheOrderAndIsolatesFailures(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		nodes := []string{"slow", "broken", "fast", "", "fast"}

		got := Each(t.Context(), nodes, func(ctx context.Context, node string) (string, error) {
			md, _ := metadata.FromOutgoingContext(ctx)

			switch node {
			case "broken":
				return "", errBroken
			case "slow":
				time.Sleep(time.Hour)
			}

			return fmt.Sprint(md["node"]), nil
		})

		want := []Result[string]{
			{Node: "slow", Value: "[slow]"}, {Node: "broken", Err: errBroken}, {Node: "fast", Value: "[fast]"},
			{Value: "[]"}, {Node: "fast", Value: "[fast]"},
		}
		if !slices.Equal(got, want) {
			t.Errorf("Each = %v; want %v", got, want)
		}
	})

	if got := Each(t.Context(), nil, func(context.Context, string) (int, error) { return 0, errBroken }); len(got) != 0 {
		t.Errorf("Each of no nodes = %v; want nothing", got)
	}
}

func TestEachLimit(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name string
		opts []Option
		want int64
	}{
		{"default", nil, DefaultLimit},
		{"given", []Option{WithLimit(3)}, 3},
		{"none", []Option{WithLimit(0)}, 100},
		{"more than nodes", []Option{WithLimit(1000)}, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			synctest.Test(t, func(t *testing.T) {
				var now, most atomic.Int64

				Each(t.Context(), make([]string, 100), func(context.Context, string) (int, error) {
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}

					time.Sleep(time.Second)
					now.Add(-1)

					return 0, nil
				}, tt.opts...)

				if got := most.Load(); got != tt.want {
					t.Errorf("calls at a time = %d; want %d", got, tt.want)
				}
			})
		})
	}
}

func TestEachTimeoutIsPerNodeAndSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		// One at a time: if the time ran from the beginning, the last would have none left.
		got := Each(t.Context(), []string{"hangs", "status", "fine", "server"}, func(ctx context.Context, node string) (int, error) {
			switch node {
			case "hangs":
				<-ctx.Done()

				return 0, fmt.Errorf("version: %w", ctx.Err())
			case "status":
				_, c := newCall(ctx, "/m/Version")
				c.progress.set("the answer to %s", c.method)
				<-ctx.Done()

				return 0, status.FromContextError(ctx.Err()).Err()
			case "server":
				return 0, status.Error(codes.DeadlineExceeded, "etcd took too long")
			}

			time.Sleep(4 * time.Second)

			return 7, nil
		}, WithLimit(1), WithTimeout(5*time.Second))

		var texts []string
		for _, r := range got {
			texts = append(texts, fmt.Sprint(r.Node, " ", r.Value, " ", r.Err))
		}

		want := []string{
			"hangs 0 no answer in 5s: waited for the call, which has not asked the node anything",
			"status 0 no answer in 5s: waited for the answer to /m/Version",
			"fine 7 <nil>",
			"server 0 rpc error: code = DeadlineExceeded desc = etcd took too long",
		}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("results differ (-want +got):\n%s", diff)
		}

		if err := got[0].Err; !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%v is not DeadlineExceeded", err)
		}
	})
}

func TestEachDoesNotAskAfterTheEnd(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())

		var asked atomic.Int64

		got := Each(ctx, []string{"a", "b", "c"}, func(ctx context.Context, _ string) (int, error) {
			asked.Add(1)
			cancel(errBroken)
			<-ctx.Done()

			return 0, ctx.Err()
		}, WithLimit(1))

		if asked.Load() != 1 || !errors.Is(got[0].Err, context.Canceled) || !errors.Is(got[1].Err, errBroken) || !errors.Is(got[2].Err, errBroken) || got[2].Node != "c" {
			t.Errorf("Each = %v after %d calls; want one call and then %v", got, asked.Load(), errBroken)
		}
	})
}

// fakeStream has messages and then an error; with hang it waits for the context in place of the end.
type fakeStream struct {
	grpc.ClientStream

	ctx      context.Context
	messages []string
	pause    time.Duration
	end      error
	hang     bool
}

func (s *fakeStream) Recv() (*commonpb.Data, error) {
	time.Sleep(s.pause)

	if len(s.messages) == 0 {
		if s.hang {
			<-s.ctx.Done()

			return nil, status.FromContextError(s.ctx.Err()).Err()
		}

		return nil, s.end
	}

	m := s.messages[0]
	s.messages = s.messages[1:]

	return &commonpb.Data{Bytes: []byte(m)}, nil
}

func fakes(streams map[string]fakeStream) func(context.Context, string) (grpc.ServerStreamingClient[commonpb.Data], error) {
	return func(ctx context.Context, node string) (grpc.ServerStreamingClient[commonpb.Data], error) {
		s, ok := streams[node]
		if !ok {
			return nil, errBroken
		}

		s.ctx = ctx

		return &s, nil
	}
}

func TestEachMessageMerges(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		got := map[string]string{}

		for m, err := range EachMessage(t.Context(), []string{"a", "b", "c", "d", "e"}, fakes(map[string]fakeStream{
			"a": {messages: []string{"1", "2", "3"}, pause: time.Second, end: io.EOF},
			"b": {messages: []string{"x", "y"}, pause: 3 * time.Second, end: errBroken},
			"c": {end: io.EOF},
			"e": {messages: []string{"z"}, hang: true},
		}), WithTimeout(time.Minute)) {
			if err != nil {
				got[m.Node] += "!" + strings.SplitN(err.Error(), ":", 2)[0]
			} else {
				got[m.Node] += string(m.Value.GetBytes())
			}
		}

		want := map[string]string{"a": "123", "b": "xy!broken", "d": "!broken", "e": "z!no answer in 1m0s"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("messages differ (-want +got):\n%s", diff)
		}
	})
}

// synctest fails a test whose bubble still has a goroutine that can never go on; that nothing is left when the loop has
// been left is counted here.
func TestEachMessageLeavesNothingBehind(t *testing.T) {
	t.Parallel()

	for _, tt := range []struct {
		name string
		run  func(t *testing.T, ctx context.Context, open func(context.Context, string) (grpc.ServerStreamingClient[commonpb.Data], error))
	}{
		{"break", func(t *testing.T, ctx context.Context, open func(context.Context, string) (grpc.ServerStreamingClient[commonpb.Data], error)) {
			for range EachMessage(ctx, []string{"a", "b", "c"}, open) {
				break
			}
		}},
		{"panic in the loop", func(t *testing.T, ctx context.Context, open func(context.Context, string) (grpc.ServerStreamingClient[commonpb.Data], error)) {
			defer func() {
				if recover() == nil {
					t.Error("the panic is gone")
				}
			}()

			for range EachMessage(ctx, []string{"a", "b", "c"}, open) {
				panic("in the loop")
			}
		}},
		{"the context ends", func(t *testing.T, ctx context.Context, open func(context.Context, string) (grpc.ServerStreamingClient[commonpb.Data], error)) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()

			var errs int
			for _, err := range EachMessage(ctx, []string{"a", "b", "c"}, open) {
				if err != nil {
					errs++
				}
			}

			if errs != 3 {
				t.Errorf("errors = %d; want one of each node", errs)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()

			synctest.Test(t, func(t *testing.T) {
				var open atomic.Int64

				tt.run(t, t.Context(), func(ctx context.Context, _ string) (grpc.ServerStreamingClient[commonpb.Data], error) {
					open.Add(1)
					context.AfterFunc(ctx, func() { open.Add(-1) })

					return &fakeStream{ctx: ctx, messages: []string{"1", "2"}, hang: true}, nil
				})

				synctest.Wait()

				if n := open.Load(); n != 0 {
					t.Errorf("streams left open = %d; want 0", n)
				}
			})
		})
	}
}
