package node

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"talos.internal/internal/ctrl/crictrl"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
)

// An upgrade that is asked for as soon as the API answers comes before what fetches its image.
func TestAnUpgradeWaitsForWhatFetchesItsImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, err := logring.NewSet(0)
		if err != nil {
			t.Fatal(err)
		}
		s := supervise.New(logs)
		runs := supervise.Func(func(ctx context.Context, _ io.Writer) error { <-ctx.Done(); return nil })
		begins := func(id string, after time.Duration) {
			time.Sleep(after)
			if err := errors.Join(s.Load(supervise.Service{ID: id, Runner: runs}), s.Start(id)); err != nil {
				t.Error(err)
			}
		}
		var said []string
		say := func(line string) error { said = append(said, line); return nil }
		if err := fetches(t.Context(), s, say); err == nil || !strings.Contains(err.Error(), "containerd to be up (not loaded)") {
			t.Errorf("without containerd: %v", err)
		}
		began := time.Now()
		go func() {
			begins(crictrl.RegistrydID, time.Minute)
			begins(crictrl.ContainerdID, time.Minute)
		}()
		said = nil
		if err := fetches(t.Context(), s, say); err != nil || time.Since(began) != 2*time.Minute {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if len(said) != 1 || !strings.Contains(said[0], "waits until containerd is up") {
			t.Errorf("it says %q", said)
		}
		said = nil
		if err := fetches(t.Context(), s, say); err != nil || len(said) > 0 {
			t.Errorf("when all is up: %v, and it says %q", err, said)
		}
		gone := errors.New("the caller is gone")
		if err := s.Stop(t.Context(), crictrl.ContainerdID); err != nil {
			t.Fatal(err)
		}
		if err := fetches(t.Context(), s, func(string) error { return gone }); !errors.Is(err, gone) {
			t.Errorf("for nobody: %v", err)
		}
		s.Shutdown(t.Context(), time.Second)
		synctest.Wait()
	})
}
