package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// save keeps the delegate's configuration for a container. The file appears whole or not at all.
func save(dir, container string, text []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// The leading dot keeps it from being a container's: ids start with a letter or digit.
	temporary := filepath.Join(dir, "."+container)
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, container))
}

// load returns what save kept. A container that is not known is fs.ErrNotExist; so is one whose
// file is empty, as a crash of the machine can leave it: nothing can be undone with that.
func load(dir, container string) (delegation, error) {
	text, err := os.ReadFile(filepath.Join(dir, container))
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("state of container %s is empty: %w", container, fs.ErrNotExist)
	}
	var d delegation
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("state of container %s: %w", container, err)
	}
	if d.kind() == "" {
		return nil, fmt.Errorf("state of container %s names no plugin", container)
	}
	return d, nil
}

// forget removes the state of conf's network for every container that has no valid attachment.
// State of other networks in the same directory stays.
func forget(conf config) error {
	valid := make(map[string]bool)
	for _, attachment := range conf.ValidAttachments {
		valid[attachment.ContainerID] = true
	}
	entries, err := os.ReadDir(conf.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		d, err := load(conf.DataDir, entry.Name())
		if err != nil || valid[entry.Name()] || d["name"] != conf.Name {
			continue
		}
		if err := os.Remove(filepath.Join(conf.DataDir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
