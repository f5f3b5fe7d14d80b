package controller_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"talos.internal/controller"
	"talos.internal/controller/controllertest"
)

// trying is a controller whose work fails as it is told.
type trying struct {
	answers []error // of one try after the other; the last for ever
	at      []time.Duration
	said    []string
	began   time.Time
}

func (*trying) Name() string { return "test.Trying" }

func (*trying) Inputs() []controller.Input { return nil }

func (*trying) Outputs() []controller.Output { return nil }

func (c *trying) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	say := func(away error) { c.said = append(c.said, away.Error()) }
	return controller.Retried(ctx, rt, 5*time.Second, say, func(context.Context) (away, err error) {
		if c.began.IsZero() {
			c.began = time.Now()
		}
		c.at = append(c.at, time.Since(c.began))
		return c.answers[min(len(c.at), len(c.answers))-1], nil
	})
}

func TestRetriedTriesAgainAndSaysEachReasonOnce(t *testing.T) {
	away, other := errors.New("away"), errors.New("another reason")
	c := &trying{answers: []error{away, away, other, nil}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		h.Advance(time.Hour)
		if want := []time.Duration{0, 5 * time.Second, 10 * time.Second, 15 * time.Second}; !slices.Equal(c.at, want) {
			h.T.Errorf("tried at %v; want %v, and no more after it worked", c.at, want)
		}
		if want := []string{"away", "another reason"}; !slices.Equal(c.said, want) {
			h.T.Errorf("said %q; want %q", c.said, want)
		}
	}, c)
}
