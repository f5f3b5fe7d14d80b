package secret

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// needles are the forms in which secret octets can show up in a text.
func needles(secrets ...[]byte) []string {
	var out []string
	for _, s := range secrets {
		decimal := fmt.Sprint(s) // [1 2 3]

		out = append(out,
			string(s), strings.Trim(decimal, "[]"), strings.ReplaceAll(strings.Trim(decimal, "[]"), " ", ", "),
			hex.EncodeToString(s), strings.ToUpper(hex.EncodeToString(s)), base64.StdEncoding.EncodeToString(s),
			strings.Trim(fmt.Sprintf("%#v", s), "[]byte{}"))
	}

	return out
}

// keyNeedles are those of a private key: its PEM body and its numbers.
func keyNeedles(k Key) []string {
	body := strings.Split(string(k.PEM()), "\n")[1]
	out := []string{body}

	switch s := k.Signer().(type) {
	case ed25519.PrivateKey:
		out = append(out, needles(s.Seed())...)
	case *ecdsa.PrivateKey:
		raw, err := s.Bytes()
		if err != nil {
			return []string{"the key has no bytes: " + err.Error()}
		}
		out = append(out, append(needles(raw), new(big.Int).SetBytes(raw).String())...)
	case *rsa.PrivateKey:
		out = append(out, append(needles(s.D.Bytes()), s.D.String(), s.Primes[0].String())...)
	}

	return out
}

// renderings are all the ways in which a careless line of code writes a value.
func renderings(v any) map[string]string {
	type exported struct{ V any }

	type unexported struct{ v any }

	out := map[string]string{}

	for _, shape := range []struct {
		name  string
		value any
	}{
		{"itself", v},
		{"pointer", &v},
		{"exported field", exported{v}},
		{"unexported field", unexported{v}},
		{"pointer to unexported field", &unexported{v}},
		{"slice", []any{v}},
		{"map", map[string]any{"k": v}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%o"} {
			out[verb+" of "+shape.name] = fmt.Sprintf(verb, shape.value)
		}

		out["error with "+shape.name] = fmt.Errorf("error: %w", fmt.Errorf("%v", shape.value)).Error()

		var text, js bytes.Buffer

		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "k", shape.value)
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "k", shape.value)

		out["slog text of "+shape.name] = text.String()
		out["slog JSON of "+shape.name] = js.String()

		if data, err := json.Marshal(shape.value); err == nil {
			out["JSON of "+shape.name] = string(data)
		}

		if data, err := yaml.Marshal(shape.value); err == nil {
			out["YAML of "+shape.name] = string(data)
		}

		var g bytes.Buffer
		if gob.NewEncoder(&g).Encode(shape.value) == nil {
			out["gob of "+shape.name] = g.String()
		}
	}

	return out
}

func leaks(v any, secrets []string) []string {
	var found []string

	for how, text := range renderings(v) {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				found = append(found, how)

				break
			}
		}
	}

	return found
}

func TestPrivateValuesDoNotLeak(t *testing.T) {
	rsaKey := must(rsaKey())(t)
	ed := must(GenerateKey(Ed25519))(t)
	ec := must(GenerateKey(ECDSAP256))(t)
	token := must(ParseToken("abcdef.0123456789abcdef"))(t)
	parts := publicParts(t)
	bundle := must(BundleFromParts(parts))(t)

	var all []string
	for _, text := range []Text{
		parts.ClusterSecret, parts.BootstrapToken, parts.SecretboxSecret, parts.MachineToken,
	} {
		all = append(all, text.Reveal())
	}

	for _, key := range []Key{
		bundle.Etcd.Key(), bundle.Kubernetes.Key(), bundle.FrontProxy.Key(), bundle.OS.Key(), bundle.ServiceAccount,
	} {
		all = append(all, keyNeedles(key)...)
	}

	os := bundle.OS

	for _, tt := range []struct {
		name    string
		value   any
		secrets []string
	}{
		{"Text", NewText("opensesame"), needles([]byte("opensesame"))},
		{"pointer to Text", ptr(NewText("opensesame")), needles([]byte("opensesame"))},
		{"Token", token, needles([]byte("0123456789abcdef"))},
		{"Ed25519 Key", ed, keyNeedles(ed)},
		{"pointer to Key", &ed, keyNeedles(ed)},
		{"ECDSA Key", ec, keyNeedles(ec)},
		{"RSA Key", rsaKey, keyNeedles(rsaKey)},
		{"Pair", os.Pair(), keyNeedles(os.Key())},
		{"pointer to Pair", ptr(os.Pair()), keyNeedles(os.Key())},
		{"Authority", os, keyNeedles(os.Key())},
		{"value of Authority", *os, keyNeedles(os.Key())},
		{"Bundle", bundle, all},
		{"value of Bundle", *bundle, all},
		{"Parts", parts, all},
		{"PairParts", parts.OS, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, how := range leaks(tt.value, tt.secrets) {
				t.Errorf("%s shows private material", how)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// The harness must see what an unprotected type shows, most of all in an unexported field.
func TestLeakHarnessSeesUnprotectedValues(t *testing.T) {
	type naive struct{ value string }

	type stringer struct{ text stringerText }

	ed := must(GenerateKey(Ed25519))(t)

	for _, tt := range []struct {
		name    string
		value   any
		secrets []string
		via     string
	}{
		{"string", "opensesame", needles([]byte("opensesame")), "JSON of itself"},
		{"unexported string", naive{"opensesame"}, needles([]byte("opensesame")), "%v of unexported field"},
		{"String method only", stringer{"opensesame"}, needles([]byte("opensesame")), "%v of itself"},
		{"standard library's key", ed.Signer(), keyNeedles(ed), "%v of unexported field"},
		{"key in hexadecimal", ed.Signer(), keyNeedles(ed), "%x of itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := strings.Join(leaks(tt.value, tt.secrets), "\n")
			if !strings.Contains(found, tt.via) {
				t.Errorf("leaks(%s) = %q; want %q among them", tt.name, found, tt.via)
			}
		})
	}
}

func TestPrivateValuesPrintAsRedacted(t *testing.T) {
	for name, v := range map[string]any{
		"Text": NewText("x"), "zero Text": Text{}, "Token": must(NewToken(nil))(t), "Key": must(GenerateKey(Ed25519))(t),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%8.3f"} {
			if got := fmt.Sprintf(verb, v); got != Redacted {
				t.Errorf("Sprintf(%s, %s) = %s; want %s", verb, name, got, Redacted)
			}
		}

		if got := slog.AnyValue(v).Resolve().String(); got != Redacted {
			t.Errorf("slog value of %s = %s; want %s", name, got, Redacted)
		}
	}
}

type stringerText string

func (stringerText) String() string { return Redacted }

func TestPrivateValuesRefuseToBeEncoded(t *testing.T) {
	for name, v := range map[string]any{
		"Text":  NewText("x"),
		"Token": must(NewToken(nil))(t),
		"Key":   must(GenerateKey(Ed25519))(t),
	} {
		t.Run(name, func(t *testing.T) {
			if data, err := json.Marshal(v); err == nil {
				t.Errorf("json.Marshal(%s) = %s; want an error", name, data)
			}

			if data, err := yaml.Marshal(v); !errors.Is(err, errMarshal) {
				t.Errorf("yaml.Marshal(%s) = %s, %v; want errMarshal", name, data, err)
			}

			if err := gob.NewEncoder(&bytes.Buffer{}).Encode(v); err == nil {
				t.Errorf("gob of %s succeeds; want an error", name)
			}
		})
	}
}

func TestText(t *testing.T) {
	a, b, zero := NewText("a"), NewText("a"), NewText("")

	for _, tt := range []struct {
		name string
		x, y Text
		want bool
	}{
		{"same content", a, b, true},
		{"other content", a, NewText("b"), false},
		{"prefix", a, NewText("aa"), false},
		{"empty and not", zero, a, false},
		{"both empty", zero, Text{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.x.Equal(tt.y); got != tt.want {
				t.Errorf("Equal = %t; want %t", got, tt.want)
			}
		})
	}

	if !zero.IsZero() || a.IsZero() || zero.Reveal() != "" || a.Reveal() != "a" {
		t.Errorf("IsZero, Reveal = %t %t %q %q; want true false \"\" a", zero.IsZero(), a.IsZero(), zero.Reveal(), a.Reveal())
	}
}
