package provision

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestAProvisionerTouchesItsOwnClustersAlone(t *testing.T) {
	own := Own{Store: Store{Dir: t.TempDir()}, Provisioner: "mine"}
	for _, name := range []string{"mine", "theirs", "folder"} {
		if err := os.MkdirAll(own.Path(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "folder" {
			continue // its create was interrupted at once
		}
		if err := own.Save(&State{Name: name, Provisioner: name, Phase: Created}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		cluster      string
		load, remove error // of Load and Change, and of Destroy
		text         string
		destroyed    string // the phase that Destroy shows; "" if it shows none
	}{
		{"mine", nil, nil, "", string(Destroying)},
		{"theirs", ErrInvalid, ErrInvalid, "it was made by provisioner theirs", ""},
		{"folder", fs.ErrNotExist, nil, "interrupted before it began", ""},
		{"none", fs.ErrNotExist, fs.ErrNotExist, "there is no cluster none", ""},
		{"No Name", ErrInvalid, ErrInvalid, "", ""},
	} {
		t.Run(tc.cluster, func(t *testing.T) {
			shown := 0
			for what, err := range map[string]error{
				"Load":   func() error { _, err := own.Load(tc.cluster); return err }(),
				"Change": own.Change(context.Background(), tc.cluster, func(*State) error { shown++; return nil }),
			} {
				if !errors.Is(err, tc.load) || err != nil && !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%s = %v; want %v with %q", what, err, tc.load, tc.text)
				}
			}
			if want := tc.load == nil; shown != 0 != want {
				t.Errorf("Change called %d times", shown)
			}
			phase := ""
			if err := own.Destroy(context.Background(), tc.cluster, func(s *State) error {
				kept, err := own.Load(tc.cluster)
				phase = string(kept.Phase)
				return err
			}); !errors.Is(err, tc.remove) {
				t.Errorf("Destroy = %v; want %v", err, tc.remove)
			}
			if phase != tc.destroyed {
				t.Errorf("Destroy shows phase %q; want %q", phase, tc.destroyed)
			}
		})
	}
	if _, err := os.Stat(own.Path("folder")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder that a create has left is there after the destroy: %v", err)
	}
}
