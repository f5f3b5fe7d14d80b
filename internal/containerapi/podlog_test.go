package containerapi

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// buffer is a writer that can be read meanwhile.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const stamp = "2026-11-28T14:00:00.000000000Z stdout "

func TestPodLogPrintsTheText(t *testing.T) {
	file := filepath.Join(t.TempDir(), "0.log")
	text := stamp + "F one\n" + stamp + "P tw\n" + stamp + "F o\n" + stamp + "F \n" + "no format\n" + stamp + "F unfinished"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	find := func(context.Context) (string, error) { return file, nil }
	for _, tc := range []struct {
		name string
		tail int
		want string
	}{
		{"all", -1, "one\ntwo\n\nno format\nunfinished"},
		{"none", 0, ""},
		{"the last", 1, "unfinished"},
		{"some", 3, "\nno format\nunfinished"},
		{"more than there are", 100, "one\ntwo\n\nno format\nunfinished"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out buffer
			if err := (podLog{find}).copy(t.Context(), &out, tc.tail, false); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != tc.want {
				t.Errorf("copy(tail %d) = %q; want %q", tc.tail, got, tc.want)
			}
		})
	}
}

func TestPodLogFollowsIntoTheNextFile(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	current := filepath.Join(dir, "0.log")
	find := func(context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return current, nil
	}
	write := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write(current, stamp+"F first\n"+stamp+"F ha")
	ctx, cancel := context.WithCancel(t.Context())
	var out buffer
	done := make(chan error, 1)
	go func() { done <- (podLog{find}).copy(ctx, &out, -1, true) }()
	until := func(want string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); out.String() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after 10 s the log is %q; want %q", out.String(), want)
			}
		}
	}
	until("first\n")
	write(current, "lf\n")
	until("first\nhalf\n")
	next := filepath.Join(dir, "1.log")
	write(next, stamp+"F second\n")
	mu.Lock()
	current = next
	mu.Unlock()
	until("first\nhalf\nsecond\n")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("copy = %v; want nil at the end of its context", err)
	}
}
