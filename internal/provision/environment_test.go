package provision

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestUserdataGetsThroughTheKernel(t *testing.T) {
	noise := make([]byte, 98_296)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(noise) // never fails
	for _, tc := range []struct {
		name   string
		config []byte
		want   string // how the value begins
	}{
		{"small", []byte("version: v1alpha1"), "USERDATA=dmVyc2lvbjog"},
		// USERDATA= and base64 of n bytes; 131,072 bytes with the 0 at the end are one too many.
		{"the largest as it is", make([]byte, 98_000), "USERDATA=AAAA"},
		{"too large as it is", make([]byte, 98_296), "USERDATA=H4sI"},
		{"a platform's manifests", bytes.Repeat([]byte("apiVersion: v1\nkind: ConfigMap\n"), 40_000), "USERDATA=H4sI"},
		{"too large in any way", noise, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env, err := Environment(StateNode{Name: "a"}, tc.config)
			if tc.want == "" {
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("Environment = %v; want an error that is ErrInvalid", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := env[2]; !strings.HasPrefix(got, tc.want) || len(got) >= maxVariable {
				t.Errorf("%.30s… of %d bytes; want %s… of less than %d", got, len(got), tc.want, maxVariable)
			}
			if got, err := ConfigOf(env); err != nil || !bytes.Equal(got, tc.config) {
				t.Errorf("ConfigOf = %.30q…, %v; want what was put in", got, err)
			}
		})
	}
}

func TestSKU(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cpus   float64
		memory int64
		want   string
	}{
		{"as published", 2, 2 << 30, "2CPU-2048RAM"},
		{"a part of a core", 1.5, 512 << 20, "1.5CPU-512RAM"},
		{"no limits", 0, 0, ""},
		{"memory alone", 0, 1 << 30, "1024RAM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := sku(StateNode{CPUs: tc.cpus, Memory: tc.memory}); got != tc.want {
				t.Errorf("sku = %q; want %q", got, tc.want)
			}
		})
	}
}

func TestConfigOfOthersEnvironments(t *testing.T) {
	if _, err := ConfigOf([]string{"PATH=/bin"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ConfigOf = %v; want fs.ErrNotExist", err)
	}
	for name, v := range map[string]string{"no base64": "USERDATA=?", "cut off": "USERDATA=H4sI"} {
		if got, err := ConfigOf([]string{v}); err == nil {
			t.Errorf("%s: ConfigOf = %q; want an error", name, got)
		}
	}
}

func FuzzConfigOf(f *testing.F) {
	f.Add("dmVyc2lvbg==")
	f.Add("H4sIAAAAAAAC/wMAAAAAAAAAAAA=")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ConfigOf([]string{"USERDATA=" + text}); err != nil && got != nil {
			t.Errorf("ConfigOf(%q) = %q, %v", text, got, err)
		}
	})
}
