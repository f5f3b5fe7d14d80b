package diskkey

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"talos.internal/resource/block"
)

// Memory remembers how STATE is opened, in a place in clear that is there before STATE is: META. What has a secret is sealed by the TPM, if that can keep keys.
// It is safe for concurrent use.
type Memory struct {
	Keeper *Keeper // nil means that nothing can be sealed
	// Load returns what the place has, which may be empty; Save replaces it.
	Load func() string
	Save func(ctx context.Context, text []byte) error

	// What was there when it was read or written last, and what it says: the TPM opens it only in the first part of a start.
	mu        sync.Mutex
	raw, text string
}

// Keep writes how STATE is opened, if something else is there.
func (s *Memory) Keep(ctx context.Context, e block.Encryption) error {
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("keep the keys of STATE: %w", err)
	}
	// What cannot be opened is replaced.
	if have, err := s.read(); err == nil && have == string(text) {
		return nil
	}
	raw := text
	if secret(e) && s.Keeper != nil && s.Keeper.Seals() {
		if raw, err = s.Keeper.Wrap(text); err != nil {
			return fmt.Errorf("keep the keys of STATE: %w", err)
		}
	}
	if err := s.Save(ctx, raw); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw, s.text = string(raw), string(text)
	return nil
}

// secret reports whether somebody who reads how a volume is opened can open it.
func secret(e block.Encryption) bool {
	return slices.ContainsFunc(e.Keys, func(k block.EncryptionKey) bool { return k.Type == block.KeyStatic })
}

// read returns what is remembered, in clear.
func (s *Memory) read() (string, error) {
	raw := s.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case raw == s.raw:
		return s.text, nil
	case s.Keeper == nil:
		return raw, nil
	}
	text, err := s.Keeper.Unwrap([]byte(raw))
	if err != nil {
		return "", err
	}
	s.raw, s.text = raw, string(text)
	return s.text, nil
}

// Get returns how STATE is opened; ok is false if that is not remembered.
func (s *Memory) Get() (e block.Encryption, ok bool, err error) {
	text, err := s.read()
	if err == nil && text == "" {
		return e, false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &e)
	}
	if err != nil {
		return e, false, fmt.Errorf("how STATE is opened, as META has it: %w", err)
	}
	return e, true, nil
}
