package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// tally is what came of the requests to a server.
type tally struct {
	mu sync.Mutex

	Total, Failed int
	// Pause is the longest time in milliseconds from one answer to the next.
	Pause int64
	Last  string // error
}

// count asks a server ten times a second, each time on a new connection and within 2 s, and answers every request itself with what came
// of it.
func count(ctx context.Context, url string) error {
	var all tally
	s := http.Server{Addr: port, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		all.mu.Lock()
		defer all.mu.Unlock()
		_ = json.NewEncoder(w).Encode(&all)
	})}
	go func() { _ = s.ListenAndServe() }()
	defer func() { _ = s.Close() }()
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answered := time.Time{}
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		err := ask(ctx, &c, url)
		if ctx.Err() != nil {
			return nil
		}
		all.mu.Lock()
		switch now := time.Now(); {
		case err == nil:
			if !answered.IsZero() {
				all.Pause = max(all.Pause, now.Sub(answered).Milliseconds())
			}
			answered = now
			all.Total++
		case !answered.IsZero(): // until the first answer the server is not there yet
			all.Total++
			all.Failed++
			all.Last = err.Error()
			fmt.Println(now.UTC().Format(time.TimeOnly), err)
		}
		all.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func ask(ctx context.Context, c *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	reply, err := c.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if _, err := io.Copy(io.Discard, reply.Body); err != nil {
		return err
	}
	if reply.StatusCode != http.StatusOK {
		return errors.New(reply.Status)
	}
	return nil
}
